//! `intersection`: the items that two datasets have in common.

use super::distinct::{Alone, Once};
use super::each::{Each, Nothing};
use crate::dataset::Dataset;
use crate::join::Semi;
use crate::lineage::Partitioning;
use crate::pipe::Pipe;
use crate::row::Key;
use tryworks_base::Op;

/// # Sets
impl<P: Pipe> Dataset<P> {
    /// The items that are in both datasets, each once.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let both = cx.parallelize(vec![1, 1, 2, 3]).intersection(&cx.parallelize(vec![3, 1, 1, 4]));
    /// assert_eq!(both.sort_by(|n| *n).collect()?, [1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn intersection<Q: Pipe<Item = P::Item>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, Q>>
    where
        P::Item: Key,
    {
        let (op, readers) = (Op::here("intersection"), self.join_readers(&other.node));
        let alone = self.of(Each::<_, _, Alone>::new(self.pipe.clone(), Nothing, op));
        let once = alone.grouped(self.items_once(op, readers), Once, op, readers, Some(Partitioning::Hash(readers)));
        self.sifted::<Semi, _>(op, readers, other, once.in_place())
    }
}
