//! `repartition`: deals the items out evenly over another number of partitions.

use crate::dataset::Dataset;
use crate::exchange::{BucketWriter, Buckets, Rows, Shuffled, no_partitions, unless_failed};
use crate::lineage::{Exchange, Input, Node, Shape};
use crate::pipe::{Cursor, Flow, Pipe, Step, drive};
use crate::row::Row;
use crate::ship::{Ship, ship};
use crate::stage::{Output, StageCode};
use crate::task::TaskContext;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::repartition`].
pub struct Repartition<T> {
    dealt: Shuffled,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for Repartition<T> {
    fn clone(&self) -> Self {
        Repartition { dealt: self.dealt.clone(), item: PhantomData }
    }
}

ship!([T] Repartition<T> { dealt: ship, item: none });

impl<T: Row> Pipe for Repartition<T> {
    type Item = T;
    type Cursor = RepartitionCursor<T>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        Ok(RepartitionCursor { rows: self.dealt.dealt(partition, task)? })
    }
}

/// One new partition: its items are in the order of the map tasks.
pub struct RepartitionCursor<T> {
    rows: Rows<T>,
}

impl<T: Row> Cursor for RepartitionCursor<T> {
    type Item = T;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(T) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let Some(rows) = self.rows.next(budget)? else { return Ok(Step::Done) };
        for (at, row) in rows.iter().enumerate() {
            if sink(row.clone()).is_break() {
                let left = rows.len() - at - 1;
                self.rows.give_back(left);
                break;
            }
        }
        Ok(Step::More)
    }
}

/// The map tasks: each puts item `i` into bucket `i`, modulo the number of buckets. Readers decide which bucket of each
/// map task is theirs (`Shuffled::dealt`).
struct DealStage<P> {
    input: P,
    buckets: Buckets,
}

ship!([P: Ship] DealStage<P> { input: ship, buckets: value });

impl<P: Pipe<Item: Row>> StageCode for DealStage<P> {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let mut cursor = self.input.open(partition, task)?;
        let mut writer = BucketWriter::new(self.buckets, task)?;
        let count = self.buckets.count() as usize;
        // Buckets in turn without a division for each item.
        let mut next = 0;
        let mut failed = None;
        drive(&mut cursor, task, &mut |item| {
            let bucket = next;
            next = if next + 1 == count { 0 } else { next + 1 };
            unless_failed(writer.push(bucket, item), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        writer.finish()
    }
}

/// # Partitions
impl<P: Pipe> Dataset<P> {
    /// Deals the items out over `partitions` partitions, one to each in turn, by a shuffle. So the sizes of partitions
    /// differ by at most one. For fewer partitions without a shuffle, see [`coalesce`](Dataset::coalesce).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let dealt = cx.range(0..100).filter(|n| *n < 10).repartition(5);
    /// assert_eq!(dealt.map_partitions(|items| [items.count()]).collect()?, [2, 2, 2, 2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn repartition(&self, partitions: u32) -> Dataset<impl Pipe<Item = P::Item> + use<P>>
    where
        P::Item: Row,
    {
        let op = Op::here("repartition");
        let buckets = Buckets::plain(partitions.max(1));
        let stage = DealStage { input: self.pipe.clone(), buckets };
        let mut exchange = Exchange::new(
            &self.node,
            Arc::new(stage),
            partitions,
            format!("dealt out over {partitions}"),
            &self.runner,
        );
        exchange.dealt = true;
        let exchange = Arc::new(exchange);
        let dealt = Shuffled::new(&exchange, buckets);
        let node = Node::new(op, Shape::Wide, partitions, vec![Input::Shuffle(exchange)]);
        self.narrow(Repartition { dealt, item: PhantomData }, node.with_fault(no_partitions(op, partitions)))
    }
}
