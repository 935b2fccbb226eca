//! `subtract`: keeps the items that another dataset does not have.

use super::distinct::{Alone, Once};
use super::each::{Each, Nothing};
use super::join::node_of_join;
use super::keys::TakingKeys;
use crate::dataset::Dataset;
use crate::exchange::KeyedSide;
use crate::join::{Anti, Join, Kind};
use crate::pipe::Pipe;
use crate::row::Key;
use std::marker::PhantomData;
use tryworks_base::Op;

impl<P: Pipe<Item: Key>> Dataset<P> {
    /// The items as keys, as the right side of a join: each map task leaves an item once. They are shuffled even if
    /// this is a dataset of pairs that is partitioned by their keys.
    pub(super) fn items_once(&self, op: Op, readers: u32) -> KeyedSide<(P::Item, ())> {
        self.of(Each::<_, _, Alone>::new(self.pipe.clone(), Nothing, op)).folded_before(Once, op, readers)
    }

    /// The items of `left` for which a join of the kind `J` with the items of `other` says so.
    pub(super) fn sifted<J: Kind<(), (), Out = ()>, Q: Pipe<Item = P::Item>>(
        &self,
        op: Op,
        readers: u32,
        other: &Dataset<Q>,
        left: KeyedSide<(P::Item, ())>,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, J, Q>> {
        let right = other.items_once(op, readers);
        // The items are partitioned by their own hash, not by that of a key in them.
        let node = node_of_join(op, readers, left.input, right.input).with_partitioning(None);
        let join = Join::<J, _, _, _> { left: left.side, right: right.side, kind: PhantomData };
        self.chain(Each::<_, _, TakingKeys>::new(join, Nothing, op), node.with_fault(other.beside(op)))
    }
}

/// # Sets
impl<P: Pipe> Dataset<P> {
    /// Keeps the items that `other` does not have, including duplicates.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let left = cx.parallelize(vec![1, 1, 2, 3]).subtract(&cx.parallelize(vec![2, 2, 4]));
    /// assert_eq!(left.sort_by(|n| *n).collect()?, [1, 1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn subtract<Q: Pipe<Item = P::Item>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, Q>>
    where
        P::Item: Key,
    {
        let (op, readers) = (Op::here("subtract"), self.join_readers(&other.node));
        let left = self.of(Each::<_, _, Alone>::new(self.pipe.clone(), Nothing, op)).shuffled(readers);
        self.sifted::<Anti, _>(op, readers, other, left)
    }
}
