//! `zip`: pairs the items of two datasets, one to one.

use crate::dataset::Dataset;
use crate::gather::gather;
use crate::lineage::{Input, Node, Shape};
use crate::pipe::{Cursor, Flow, Pipe, Step};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use tryworks_base::{Error, Op, Result, Site};

/// The pipe of [`Dataset::zip`].
#[derive(Clone)]
pub struct Zip<P, Q> {
    left: P,
    right: Q,
    op: Op,
}

ship!([P: Ship, Q: Ship] Zip<P, Q> { left: ship, right: ship, op: value });

impl<P: Pipe, Q: Pipe> Pipe for Zip<P, Q> {
    type Item = (P::Item, Q::Item);
    type Cursor = ZipCursor<P::Cursor, Q::Cursor>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        Ok(ZipCursor {
            left: Ahead::new(self.left.open(partition, task)?),
            right: Ahead::new(self.right.open(partition, task)?),
            partition,
            site: self.op.site,
            task: task.clone(),
        })
    }
}

/// One partition of a zip.
pub struct ZipCursor<C: Cursor, D: Cursor> {
    left: Ahead<C>,
    right: Ahead<D>,
    partition: u32,
    site: Site,
    task: TaskContext,
}

/// A cursor, with items that it yielded before they were needed.
struct Ahead<C: Cursor> {
    cursor: C,
    items: std::vec::IntoIter<C::Item>,
    done: bool,
}

impl<C: Cursor> Ahead<C> {
    fn new(cursor: C) -> Self {
        Ahead { cursor, items: Vec::new().into_iter(), done: false }
    }

    /// Reads until there is an item or the partition ends. A step may yield no items, or more than the other side does.
    fn fill(&mut self, budget: usize, task: &TaskContext) -> Result<()> {
        while self.items.as_slice().is_empty() && !self.done {
            let mut items = Vec::new();
            self.done = gather(&mut self.cursor, budget, task, &mut items, |_| 0)? == Step::Done;
            self.items = items.into_iter();
        }
        Ok(())
    }
}

impl<C: Cursor<Item: Send>, D: Cursor<Item: Send>> Cursor for ZipCursor<C, D> {
    type Item = (C::Item, D::Item);
    const EXPANDS: bool = false;

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        self.left.fill(budget, &self.task)?;
        self.right.fill(budget, &self.task)?;
        let (left, right) = (self.left.items.len(), self.right.items.len());
        // A side is empty here only at its end.
        if (left == 0) != (right == 0) {
            let longer = if left == 0 { "right" } else { "left" };
            let message = format!(
                "zip: partition {} of the {longer} side has more items than that of the other; both sides need the \
                 same number of items in each partition",
                self.partition
            );
            return Err(Error::Plan { message, site: self.site });
        }
        let pairs = left.min(right);
        for pair in self.left.items.by_ref().take(pairs).zip(&mut self.right.items) {
            if sink(pair).is_break() {
                break;
            }
        }
        Ok(if pairs == 0 { Step::Done } else { Step::More })
    }
}

/// # Several datasets
impl<P: Pipe> Dataset<P> {
    /// Pairs item `i` of each partition with item `i` of the same partition of `other`. Both datasets need the same
    /// number of partitions, and the same number of items in each. The first is checked when the job is planned, the
    /// second when it runs.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let numbers = cx.range(0..3);
    /// assert_eq!(numbers.zip(&numbers.map(|n| n * n)).collect()?, [(0, 0), (1, 1), (2, 4)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn zip<Q: Pipe>(&self, other: &Dataset<Q>) -> Dataset<impl Pipe<Item = (P::Item, Q::Item)> + use<P, Q>> {
        let op = Op::here("zip");
        let (left, right) = (self.node.partitions, other.node.partitions);
        let fault = (left != right).then(|| {
            let message = format!(
                "zip: the left side has {left} partitions and the right side {right}; both need the same number"
            );
            op.fault(message)
        });
        let inputs = vec![Input::Narrow(self.node.clone()), Input::Narrow(other.node.clone())];
        let node = Node::new(op, Shape::Narrow, left, inputs).with_fault(fault).with_fault(other.beside(op));
        self.narrow(Zip { left: self.pipe.clone(), right: other.pipe.clone(), op }, node)
    }
}
