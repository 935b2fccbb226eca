//! `join`: pairs the values of equal keys of two datasets.

use crate::dataset::Dataset;
use crate::exchange::no_partitions;
use crate::join::Join;
use crate::lineage::{Input, Node, Partitioning, Shape, default_readers};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use tryworks_base::Op;

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
        let readers = self.shuffle_into.unwrap_or_else(|| default_readers(&[&self.node, &other.node]));
        let (left, right) = (self.scattered(readers), other.scattered(readers));
        let detail = match (&left.input, &right.input) {
            (Input::Shuffle(_), Input::Shuffle(_)) => "",
            (Input::Narrow(_), Input::Shuffle(_)) => "the left side is already partitioned by key",
            (Input::Shuffle(_), Input::Narrow(_)) => "the right side is already partitioned by key",
            (Input::Narrow(_), Input::Narrow(_)) => "no shuffle: both sides are already partitioned by key",
        };
        let in_place = matches!((&left.input, &right.input), (Input::Narrow(_), Input::Narrow(_)));
        let shape = if in_place { Shape::Narrow } else { Shape::Wide };
        let node = Node::new(op, shape, readers, vec![left.input, right.input]).with_detail(detail);
        let node = node.with_partitioning(Some(Partitioning::Hash(readers))).with_fault(no_partitions(op, readers));
        let node = node.with_fault(other.beside(op));
        self.chain(Join { left: left.side, right: right.side }, node)
    }
}
