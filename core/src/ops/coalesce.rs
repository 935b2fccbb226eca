//! `coalesce`: fewer partitions without a shuffle, by reading neighbouring partitions one after another.

use crate::data::Boxed;
use crate::dataset::Dataset;
use crate::lineage::{Input, Node, Shape};
use crate::links::{Link, run_of};
use crate::pipe::{CONTINUE, Cursor, Flow, Pipe, Step};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use std::ops::Range;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::coalesce`].
#[derive(Clone)]
pub struct Coalesce<P> {
    input: P,
    from: u32,
    to: u32,
}

ship!([P: Ship] Coalesce<P> { input: ship, from: value, to: value });

impl<P: Pipe> Pipe for Coalesce<P> {
    type Item = P::Item;
    type Cursor = CoalesceCursor<P>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        Ok(CoalesceCursor {
            input: self.input.clone(),
            left: run_of(partition, self.from, self.to),
            current: None,
            task: task.clone(),
        })
    }

    fn link(&self) -> Option<Link> {
        Some(Link::coalesced(Boxed::links(&self.input), self.from, self.to))
    }
}

/// One coalesced partition.
pub struct CoalesceCursor<P: Pipe> {
    input: P,
    left: Range<u32>,
    current: Option<P::Cursor>,
    task: TaskContext,
}

impl<P: Pipe> Cursor for CoalesceCursor<P> {
    type Item = P::Item;
    const EXPANDS: bool = P::Cursor::EXPANDS;

    fn advance<S: FnMut(P::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let cursor = match &mut self.current {
            Some(cursor) => cursor,
            None => match self.left.next() {
                Some(partition) => self.current.insert(self.input.open(partition, &self.task.at(partition))?),
                None => return Ok(Step::Done),
            },
        };
        if cursor.advance(budget, sink)? == Step::Done {
            self.current = None;
        }
        Ok(Step::More)
    }

    fn rest<S: FnMut(P::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        self.current.as_mut().map_or(Ok(CONTINUE), |cursor| cursor.rest(sink))
    }
}

/// # Partitions
impl<P: Pipe> Dataset<P> {
    /// Joins neighbouring partitions, so that at most `partitions` remain. One task reads the partitions of each group
    /// one after another; there is no shuffle. For more partitions, or partitions of the same size, see
    /// [`repartition`](Dataset::repartition).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let few = cx.range(0..100).coalesce(3);
    /// assert_eq!((few.partitions(), few.count()?), (3, 100));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn coalesce(&self, partitions: u32) -> Dataset<impl Pipe<Item = P::Item> + use<P>> {
        let op = Op::here("coalesce");
        let fault = (partitions == 0).then(|| op.fault("coalesce: there must be at least one partition"));
        let from = self.node.partitions;
        let to = partitions.min(from).max(1);
        let node = Node::new(op, Shape::Narrow, to.min(from), vec![Input::Narrow(self.node.clone())]);
        let node = node.with_detail(format!("{from} into {}", to.min(from))).with_fault(fault);
        self.narrow(Coalesce { input: self.pipe.clone(), from, to }, node)
    }
}
