//! Building keyed operators: through an exchange, or directly if the input is already partitioned the right way.

use super::aggregate::{Aggregate, Merge};
use super::combine::CombineStage;
use super::grouped::Grouped;
use super::hash::Buckets;
use super::keep::{AsItIs, AsStr};
use super::read::{Shuffled, Side};
use super::scatter::ScatterStage;
use crate::data::Boxed;
use crate::dataset::Dataset;
use crate::lineage::{Exchange, Input, Node, Partitioning, Shape};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::stage::Stage;
use std::sync::Arc;
use tryworks_base::{Error, Op};

/// One input of a keyed operator, as a pipe and as lineage.
pub(crate) struct KeyedSide<T> {
    pub(crate) side: Side<T>,
    pub(crate) input: Input,
}

/// The mistake of asking for no partitions.
pub(crate) fn no_partitions(op: Op, partitions: u32) -> Option<Error> {
    let message = format!("{}: there must be at least one partition", op.name);
    (partitions == 0).then_some(op.fault(message))
}

/// The node of a keyed operator over its one input.
fn grouped(op: Op, input: Input, readers: u32, partitioning: Option<Partitioning>) -> Node {
    let (shape, detail) = match &input {
        Input::Shuffle(_) => (Shape::Wide, String::new()),
        Input::Narrow(_) => (Shape::Narrow, "no shuffle: the input is already partitioned by key".into()),
    };
    let node = Node::new(op, shape, readers, vec![input]).with_detail(detail).with_partitioning(partitioning);
    node.with_fault(no_partitions(op, readers))
}

impl<P: Pipe> Dataset<P> {
    /// The input of a wide operator that runs `stage` as its map tasks.
    pub(crate) fn exchanged<T>(&self, stage: Arc<dyn Stage>, buckets: Buckets, detail: String) -> KeyedSide<T> {
        let exchange = Arc::new(Exchange::new(&self.node, stage, buckets.readers, detail, &self.runner));
        KeyedSide { side: Side::Shuffled(Shuffled::new(&exchange, buckets)), input: Input::Shuffle(exchange) }
    }

    /// The input of an operator that reads the partitions in place.
    pub(crate) fn in_place(&self) -> KeyedSide<P::Item> {
        KeyedSide { side: Side::Direct(Boxed::new(&self.pipe)), input: Input::Narrow(self.node.clone()) }
    }

    /// The dataset of a keyed operator with one input.
    pub(crate) fn grouped<K: Key, V: Row, A: Aggregate<V>>(
        &self,
        side: KeyedSide<(K, V)>,
        aggregate: A,
        op: Op,
        readers: u32,
        partitioning: Option<Partitioning>,
    ) -> Dataset<Grouped<K, V, A>> {
        let node = grouped(op, side.input, readers, partitioning);
        self.chain(Grouped::new(side.side, aggregate, op), node)
    }
}

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The rows partitioned by the hash of their key, without combining.
    pub(crate) fn scattered(&self, readers: u32) -> KeyedSide<(K, V)> {
        if self.node.partitioning == Some(Partitioning::Hash(readers)) {
            return self.in_place();
        }
        self.shuffled(readers)
    }

    /// As [`scattered`](Dataset::scattered), for keys by which the dataset is not partitioned yet.
    pub(crate) fn shuffled(&self, readers: u32) -> KeyedSide<(K, V)> {
        let buckets = Buckets::hashed(readers.max(1));
        let stage = ScatterStage { input: self.pipe.clone(), buckets };
        self.exchanged(Arc::new(stage), buckets, format!("by hash into {readers}"))
    }
}

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The rows partitioned by the hash of their key. Where that helps, each map task folds the rows of a key into one.
    /// For this, `create` and `finish` of the aggregate must return their value unchanged, so that readers can continue
    /// a partial fold.
    pub(crate) fn combined<A>(&self, aggregate: A, op: Op, readers: u32) -> KeyedSide<(K, V)>
    where
        A: Merge<V, State = V, Out = V>,
    {
        if self.node.partitioning == Some(Partitioning::Hash(readers)) {
            return self.in_place();
        }
        self.folded_before(aggregate, op, readers)
    }

    /// The states of all keys, partitioned by the hash of the key. Where that helps, each map task folds the rows of a
    /// key into one state before.
    pub(crate) fn folded_before<A: Merge<V>>(&self, aggregate: A, op: Op, readers: u32) -> KeyedSide<(K, A::State)> {
        let buckets = Buckets::hashed(readers.max(1));
        let input = self.pipe.clone();
        let stage: Arc<dyn Stage> = if const { AsStr::might_keep::<K>() } && AsStr::can_keep::<K>() {
            Arc::new(CombineStage::<AsStr, _, _, K, V, A::State>::new(input, aggregate, buckets, op))
        } else {
            Arc::new(CombineStage::<AsItIs, _, _, K, V, A::State>::new(input, aggregate, buckets, op))
        };
        self.exchanged(stage, buckets, format!("by hash into {readers}, combined before"))
    }
}
