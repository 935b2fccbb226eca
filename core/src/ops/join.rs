//! `join`: pairs the values of equal keys of two datasets.

use crate::dataset::Dataset;
use crate::exchange::{KeyedSide, no_partitions};
use crate::join::{Inner, Join, Kind};
use crate::lineage::{Input, Node, Partitioning, Shape, default_readers};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::Op;

/// The node of a join of two sides.
pub(super) fn node_of_join(op: Op, readers: u32, left: Input, right: Input) -> Node {
    let detail = match (&left, &right) {
        (Input::Shuffle(_), Input::Shuffle(_)) => "",
        (Input::Narrow(_), Input::Shuffle(_)) => "the left side is already partitioned by key",
        (Input::Shuffle(_), Input::Narrow(_)) => "the right side is already partitioned by key",
        (Input::Narrow(_), Input::Narrow(_)) => "no shuffle: both sides are already partitioned by key",
    };
    let in_place = matches!((&left, &right), (Input::Narrow(_), Input::Narrow(_)));
    let shape = if in_place { Shape::Narrow } else { Shape::Wide };
    let node = Node::new(op, shape, readers, vec![left, right]).with_detail(detail);
    node.with_partitioning(Some(Partitioning::Hash(readers))).with_fault(no_partitions(op, readers))
}

impl<P: Pipe> Dataset<P> {
    /// How many partitions a join with `other` makes.
    pub(super) fn join_readers(&self, other: &Arc<Node>) -> u32 {
        self.shuffle_into.unwrap_or_else(|| default_readers(&[&self.node, other]))
    }

    /// The dataset of a join of two sides. `self` is the dataset that the join was called on, and `other` its argument.
    pub(super) fn joined<J: Kind<V, W>, K: Key, V: Row, W: Row, Q: Pipe>(
        &self,
        op: Op,
        readers: u32,
        other: &Dataset<Q>,
        left: KeyedSide<(K, V)>,
        right: KeyedSide<(K, W)>,
    ) -> Dataset<Join<J, K, V, W>> {
        let node = node_of_join(op, readers, left.input, right.input).with_fault(other.beside(op));
        self.chain(Join { left: left.side, right: right.side, kind: PhantomData }, node)
    }
}
/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Pairs every value of this dataset with every value of `other` that has the same key. A side that is already
    /// partitioned by key is not shuffled. Put the smaller side on the right: it is held in memory.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, "Ahab".to_string()), (3, "Pip".to_string())]);
    /// assert_eq!(ages.join(&names).collect()?, [(2, (40, "Ahab".to_string()))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn join<W: Row, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, (V, W))> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let op = Op::here("join");
        let readers = self.join_readers(&other.node);
        self.joined::<Inner, _, _, _, _>(op, readers, other, self.scattered(readers), other.scattered(readers))
    }
}
