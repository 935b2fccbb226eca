//! `sort_by_key` and `sort_by`: items in order of their keys, over partitions that are ranges.

use super::each::Each;
use super::key_by::KeyBy;
use super::values::{TakingValues, Values};
use crate::call::{Env, Given};
use crate::dataset::Dataset;
use crate::exchange::{Buckets, Shuffled, default_readers, no_partitions};
use crate::lineage::{Exchange, Input, Layout, Node, Shape};
use crate::pipe::{Cursor, Flow, Pipe, Step};
use crate::row::Row;
use crate::ship::{Code, Decoder, Encoder, Plain, Ship, captures_nothing};
use crate::sort::{Bounds, BoundsStage, Merge, RunBlock, RunsStage};
use crate::task::Task;
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

impl<K, V> Ship for SortByKey<K, V> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.runs.encode(to)?;
        self.bounds.encode(to)?;
        to.value(&self.op)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let (runs, bounds) = (Shuffled::decode(from)?, Shuffled::decode(from)?);
        Ok(SortByKey { runs, bounds, op: from.value()?, row: PhantomData })
    }
}

impl<K: Row + Ord, V: Row> Pipe for SortByKey<K, V> {
    type Item = (K, V);
    type Cursor = SortByKeyCursor<K, V>;

    fn open(&self, partition: u32, task: &Task) -> Result<Self::Cursor> {
        let bounds = self.bounds.blocks::<Bounds<K>>(task)?;
        let range = partition as usize;
        let bounds = bounds.into_iter().next().filter(|bounds| range <= bounds.keys.len());
        // There may be fewer different keys than ranges.
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

impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    fn sorted(&self, op: Op, ranges: u32) -> Dataset<SortByKey<K, V>>
    where
        K: Row + Ord,
        V: Row,
    {
        let plain = Buckets::plain(ranges.max(1));
        let stage = RunsStage { input: self.pipe.clone(), ranges, op };
        let runs = Arc::new(Exchange::new(&self.node, Arc::new(stage), ranges, "sorted runs", &self.runner));
        let read = Shuffled::new(&runs, plain);
        let pick = BoundsStage::<K, V> { runs: Shuffled::new(&runs, Buckets::plain(1)), ranges, op, row: PhantomData };
        let picked =
            Node::new(op, Shape::Wide, 1, vec![Input::Shuffle(runs.clone())]).with_detail("bounds of the ranges");
        let bounds = Arc::new(Exchange::new(&Arc::new(picked), Arc::new(pick), ranges, "bounds", &self.runner));
        let inputs = vec![Input::Shuffle(runs), Input::Shuffle(bounds.clone())];
        let node = Node::new(op, Shape::Wide, ranges, inputs).with_layout(Some(Layout::Range(bounds.id)));
        let node = node.with_fault(no_partitions(op, ranges));
        self.chain(SortByKey { runs: read, bounds: Shuffled::new(&bounds, plain), op, row: PhantomData }, node)
    }

    /// Sorts pairs by their keys, ascending; pairs with equal keys stay in their order. For descending order, sort by
    /// a [`Reverse`](std::cmp::Reverse) of the key.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.parallelize(vec![(2, 'x'), (1, 'y'), (2, 'a')]);
    /// assert_eq!(pairs.sort_by_key().collect()?, [(1, 'y'), (2, 'x'), (2, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by_key(&self) -> Dataset<SortByKey<K, V>>
    where
        K: Row + Ord,
        V: Row,
    {
        self.sorted(Op::here("sort_by_key"), default_readers(&[&self.node]))
    }

    /// [`sort_by_key`](Dataset::sort_by_key) into a given number of partitions.
    #[track_caller]
    pub fn sort_by_key_in(&self, partitions: u32) -> Dataset<SortByKey<K, V>>
    where
        K: Row + Ord,
        V: Row,
    {
        self.sorted(Op::here("sort_by_key"), partitions)
    }
}

impl<P: Pipe> Dataset<P> {
    /// Sorts items by the key that `function` makes of each, ascending; items with equal keys stay in their order.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// use std::cmp::Reverse;
    /// assert_eq!(cx.range(0..5).sort_by(|n| Reverse(*n)).collect()?, [4, 3, 2, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by<K: Row + Ord, F: Fn(&P::Item) -> K + Code>(
        &self,
        function: F,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>() }
        self.sorted_by(
            Op::here("sort_by"),
            default_readers(&[&self.node]),
            KeyBy::new(self.pipe.clone(), Plain(function), Op::here("sort_by")),
        )
    }

    /// [`sort_by`](Dataset::sort_by) into a given number of partitions.
    #[track_caller]
    pub fn sort_by_in<K: Row + Ord, F: Fn(&P::Item) -> K + Code>(
        &self,
        partitions: u32,
        function: F,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>() }
        self.sorted_by(
            Op::here("sort_by"),
            partitions,
            KeyBy::new(self.pipe.clone(), Plain(function), Op::here("sort_by")),
        )
    }

    fn sorted_by<K: Row + Ord>(
        &self,
        op: Op,
        ranges: u32,
        keyed: impl Pipe<Item = (K, P::Item)>,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        let keyed = Dataset { pipe: keyed, node: self.node.clone(), runner: self.runner.clone() };
        let sorted = keyed.sorted(op, ranges);
        let pipe = Each::<_, _, TakingValues>::new(sorted.pipe.clone(), super::each::Nothing, op);
        Dataset { pipe, node: sorted.node.clone(), runner: sorted.runner.clone() }
    }
}

impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::sort_by`] with the given value first.
    #[track_caller]
    pub fn sort_by<K: Row + Ord, F: Fn(&E::Value, &P::Item) -> K + Code>(
        &self,
        function: F,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>() }
        self.sorted_with(Op::here("sort_by"), default_readers(&[&self.data.node]), function)
    }

    /// [`Dataset::sort_by_in`] with the given value first.
    #[track_caller]
    pub fn sort_by_in<K: Row + Ord, F: Fn(&E::Value, &P::Item) -> K + Code>(
        &self,
        partitions: u32,
        function: F,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>() }
        self.sorted_with(Op::here("sort_by"), partitions, function)
    }

    fn sorted_with<K: Row + Ord, F: Fn(&E::Value, &P::Item) -> K + Code>(
        &self,
        op: Op,
        ranges: u32,
        function: F,
    ) -> Dataset<Values<SortByKey<K, P::Item>>>
    where
        P::Item: Row,
    {
        let keyed: KeyBy<P, Given<E, F>, K> = KeyBy::new(self.data.pipe.clone(), self.given(function), op);
        self.data.sorted_by(op, ranges, keyed)
    }
}
