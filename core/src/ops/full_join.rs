//! `full_join`: pairs the values of equal keys of two datasets, and keeps the values of both without a match.

use super::each::Each;
use super::join::node_of_join;
use super::map_values::MappingValues;
use super::union::Union;
use crate::dataset::Dataset;
use crate::join::{Anti, Join, Outer};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::Plain;
use std::marker::PhantomData;
use tryworks_base::Op;

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// As [`join`](Dataset::join), and each value of either dataset whose key the other one does not have comes out
    /// once, with `None`. In each partition, the values of `other` without a match come last. Both sides are held in
    /// memory, one after the other, as far as they fit.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// let expected = [(1, (Some(30), None)), (2, (Some(40), Some('A'))), (3, (None, Some('P')))];
    /// assert_eq!(ages.full_join(&names).sort_by_key().collect()?, expected);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn full_join<W: Row, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, (Option<V>, Option<W>))> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let (op, readers) = (Op::here("full_join"), self.join_readers(&other.node));
        let (left, right) = (self.scattered(readers), other.scattered(readers));
        let outer = Join::<Outer, _, _, _> { left: left.side.clone(), right: right.side.clone(), kind: PhantomData };
        let rest = Join::<Anti, _, _, _> { left: right.side, right: left.side, kind: PhantomData };
        let outer =
            Each::<_, _, MappingValues>::new(outer, Plain(|(left, right): (V, Option<W>)| (Some(left), right)), op);
        let rest = Each::<_, _, MappingValues>::new(rest, Plain(|right: W| (None::<V>, Some(right))), op);
        let node = node_of_join(op, readers, left.input, right.input).with_fault(other.beside(op));
        self.chain(Union::of_partitions(outer, rest), node)
    }
}
