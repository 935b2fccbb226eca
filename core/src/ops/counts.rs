//! `counts`: how often each item occurs.

use super::counts_by_key::add;
use super::each::{At, Each, Itemwise, Nothing};
use super::reduce_by_key::Reducing;
use crate::dataset::Dataset;
use crate::lineage::Partitioning;
use crate::pipe::{Flow, Pipe};
use crate::row::Key;
use crate::ship::Plain;
use tryworks_base::{Op, Result};

/// Turns an item into a key that was seen once.
struct OneOf;

impl<T: Send + 'static> Itemwise<T, Nothing> for OneOf {
    type Out = (T, u64);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((T, u64)) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: T, sink: &mut S) -> Result<Flow> {
        Ok(sink((item, 1)))
    }
}

/// # Sets
impl<P: Pipe> Dataset<P> {
    /// Each distinct item with the number of times that it occurs. The action
    /// [`count_by_value`](Dataset::count_by_value) returns the same as a map.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..10).map(|n| n % 3).counts().sort_by_key().collect()?, [(0, 4), (1, 3), (2, 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn counts(&self) -> Dataset<impl Pipe<Item = (P::Item, u64)> + use<P>>
    where
        P::Item: Key,
    {
        self.counted(Op::here("counts"))
    }

    pub(crate) fn counted(&self, op: Op) -> Dataset<impl Pipe<Item = (P::Item, u64)> + use<P>>
    where
        P::Item: Key,
    {
        let (readers, aggregate) = (self.readers(), Reducing::new(Plain(add)));
        let ones = self.of(Each::<_, _, OneOf>::new(self.pipe.clone(), Nothing, op));
        // In a dataset that is partitioned by key, equal pairs are in the same partition.
        let in_place = self.node.partitioning.is_some() && self.node.partitions == readers;
        let side = if in_place { ones.in_place() } else { ones.combined(aggregate.clone(), op, readers) };
        let partitioning = (!in_place).then_some(Partitioning::Hash(readers));
        ones.grouped(side, aggregate, op, readers, partitioning)
    }
}
