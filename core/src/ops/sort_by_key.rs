//! `sort_by_key` and `sort_by`: sort items by their keys, into partitions that are ranges of keys.

use super::each::{Each, Nothing};
use super::key_by::Keying;
use super::values::TakingValues;
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::exchange::{Buckets, Shuffled, no_partitions};
use crate::lineage::{Exchange, Input, Node, Partitioning, Shape};
use crate::pipe::{Cursor, Flow, Pipe, Step};
use crate::row::Row;
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing, ship};
use crate::sort::{Bounds, BoundsStage, Merge, RunBlock, RunsStage};
use crate::task::TaskContext;
use crate::with::With;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::sort_by_key`].
pub struct SortByKey<K, V> {
    runs: Shuffled,
    bounds: Shuffled,
    op: Op,
    row: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for SortByKey<K, V> {
    fn clone(&self) -> Self {
        SortByKey { runs: self.runs.clone(), bounds: self.bounds.clone(), op: self.op, row: PhantomData }
    }
}

ship!([K, V] SortByKey<K, V> { runs: ship, bounds: ship, op: value, row: none });

impl<K: Row + Ord, V: Row> Pipe for SortByKey<K, V> {
    type Item = (K, V);
    type Cursor = SortByKeyCursor<K, V>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let bounds = self.bounds.blocks::<Bounds<K>>(task)?;
        let range = partition as usize;
        let bounds = bounds.into_iter().next().filter(|bounds| range <= bounds.keys.len());
        // There may be fewer distinct keys than ranges; then the last ranges are empty.
        let Some(bounds) = bounds else { return Ok(SortByKeyCursor { merge: None }) };
        let blocks = self.runs.blocks::<RunBlock<K, V>>(task)?;
        Ok(SortByKeyCursor { merge: Some(Merge::new(self.runs.id(), self.op, blocks, bounds, range, task)?) })
    }
}

/// One range.
pub struct SortByKeyCursor<K, V> {
    merge: Option<Merge<K, V>>,
}

impl<K: Row + Ord, V: Row> Cursor for SortByKeyCursor<K, V> {
    type Item = (K, V);
    const EXPANDS: bool = false;

    fn advance<S: FnMut((K, V)) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let Some(merge) = &mut self.merge else { return Ok(Step::Done) };
        for _ in 0..budget {
            let Some(row) = merge.next()? else { return Ok(Step::Done) };
            if sink(row).is_break() {
                break;
            }
        }
        Ok(Step::More)
    }
}

/// # Order
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    fn sorted(&self, op: Op) -> Dataset<SortByKey<K, V>>
    where
        K: Row + Ord,
        V: Row,
    {
        let ranges = self.readers();
        let plain = Buckets::plain(ranges.max(1));
        let stage = RunsStage { input: self.pipe.clone(), ranges, op };
        // Three stages: map tasks make runs, one task picks the bounds of the ranges, readers merge.
        let runs = Arc::new(Exchange::new(&self.node, Arc::new(stage), ranges, "sorted runs", &self.runner));
        let read = Shuffled::new(&runs, plain);
        let pick = BoundsStage::<K, V> { runs: Shuffled::new(&runs, Buckets::plain(1)), ranges, op, row: PhantomData };
        let picked =
            Node::new(op, Shape::Wide, 1, vec![Input::Shuffle(runs.clone())]).with_detail("bounds of the ranges");
        let bounds = Arc::new(Exchange::new(&Arc::new(picked), Arc::new(pick), ranges, "bounds", &self.runner));
        let inputs = vec![Input::Shuffle(runs), Input::Shuffle(bounds.clone())];
        let node = Node::new(op, Shape::Wide, ranges, inputs).with_partitioning(Some(Partitioning::Range(bounds.id)));
        let node = node.with_fault(no_partitions(op, ranges));
        self.chain(SortByKey { runs: read, bounds: Shuffled::new(&bounds, plain), op, row: PhantomData }, node)
    }

    /// Sorts pairs by their keys in ascending order. Pairs with equal keys stay in their order. For descending order,
    /// wrap keys in a [`Reverse`](std::cmp::Reverse).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.parallelize(vec![(2, 'x'), (1, 'y'), (2, 'a')]);
    /// assert_eq!(pairs.sort_by_key().collect()?, [(1, 'y'), (2, 'x'), (2, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by_key(&self) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P>>
    where
        K: Row + Ord,
        V: Row,
    {
        self.sorted(Op::here("sort_by_key"))
    }
}

/// # Order
impl<P: Pipe> Dataset<P> {
    /// Sorts items in ascending order of the key that `function` makes from each. Items with equal keys stay in their
    /// order.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// use std::cmp::Reverse;
    /// assert_eq!(cx.range(0..5).sort_by(|n| Reverse(*n)).collect()?, [4, 3, 2, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by<K: Row + Ord, F: Fn(&P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, K, F>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.sorted_by(Op::here("sort_by"), Plain(function))
    }

    fn sorted_by<K, F>(&self, op: Op, function: F) -> Dataset<Each<SortByKey<K, P::Item>, Nothing, TakingValues>>
    where
        K: Row + Ord,
        F: for<'a> Call1<&'a P::Item, Out = K>,
        P::Item: Row,
    {
        let keyed = self.of(Each::<_, _, Keying<K>>::new(self.pipe.clone(), function, op));
        let sorted = keyed.sorted(op);
        sorted.of(Each::new(sorted.pipe.clone(), Nothing, op))
    }
}

/// # Order
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::sort_by`] with the given value first.
    #[track_caller]
    pub fn sort_by<K: Row + Ord, F: Fn(&E::Value, &P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, E, K, F>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.sorted_by(Op::here("sort_by"), self.given(function))
    }
}
