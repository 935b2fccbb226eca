//! `distinct`: keeps each item once.

use super::each::{At, Each, Itemwise, Nothing};
use super::keys::TakingKeys;
use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Merge};
use crate::pipe::{Flow, Pipe};
use crate::row::Key;
use crate::ship::ship;
use tryworks_base::{Op, Result};

/// What `distinct` does to the occurrences of an item.
#[derive(Clone)]
pub struct Once;

ship!([] Once {});

impl Callable for Once {}

impl Aggregate<()> for Once {
    type State = ();
    type Out = ();
    const GROWS: bool = false;

    fn create(&self, _: &Op, (): ()) {}

    fn fold(&self, _: &Op, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }

    fn finish(&self, (): ()) {}
}

impl Merge<()> for Once {
    fn merge(&self, _: &Op, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }
}

/// Turns an item into a key without a value.
pub(super) struct Alone;

impl<T: Send + 'static> Itemwise<T, Nothing> for Alone {
    type Out = (T, ());
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((T, ())) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: T, sink: &mut S) -> Result<Flow> {
        Ok(sink((item, ())))
    }
}

/// # Sets
impl<P: Pipe> Dataset<P> {
    /// Keeps one of each set of equal items.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let mut rests = cx.range(0..100).map(|n| n % 3).distinct().collect()?;
    /// rests.sort();
    /// assert_eq!(rests, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> Dataset<impl Pipe<Item = P::Item> + use<P>>
    where
        P::Item: Key,
    {
        let (op, readers) = (Op::here("distinct"), self.readers());
        let alone = self.of(Each::<_, _, Alone>::new(self.pipe.clone(), Nothing, op));
        // In a dataset that is partitioned by key, equal pairs are in the same partition.
        let in_place = self.node.partitioning.is_some() && self.node.partitions == readers;
        let side = if in_place { alone.in_place() } else { alone.combined(Once, op, readers) };
        // One call makes one node. After a shuffle the items are partitioned by their own hash, not by the hash of
        // their keys.
        let grouped = alone.grouped(side, Once, op, readers, self.node.partitioning.filter(|_| in_place));
        grouped.of(Each::<_, _, TakingKeys>::new(grouped.pipe.clone(), Nothing, op))
    }
}
