//! `anti_join`: keeps the pairs whose keys another dataset does not have.

use crate::dataset::Dataset;
use crate::join::{Anti, Join};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use tryworks_base::Op;

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Keeps the pairs whose key `other` does not have, whatever its values are. Only the keys of `other` are shuffled.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (1, 31), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// assert_eq!(ages.anti_join(&names).collect()?, [(1, 30), (1, 31)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn anti_join<W: Send + 'static, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        self.anti_joined(Op::here("anti_join"), other)
    }

    pub(super) fn anti_joined<W: Send + 'static, Q: Pipe<Item = (K, W)>>(
        &self,
        op: Op,
        other: &Dataset<Q>,
    ) -> Dataset<Join<Anti, K, V, ()>>
    where
        K: Key,
        V: Row,
    {
        let readers = self.join_readers(&other.node);
        let (left, right) = (self.scattered(readers), other.keys_once(op, readers));
        self.joined(op, readers, other, left, right)
    }
}
