//! `left_join`: pairs the values of equal keys of two datasets, and keeps the left values without a match.

use crate::dataset::Dataset;
use crate::join::Outer;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use tryworks_base::Op;

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// As [`join`](Dataset::join), and each value of this dataset whose key `other` does not have comes out once, with
    /// `None`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// assert_eq!(ages.left_join(&names).sort_by_key().collect()?, [(1, (30, None)), (2, (40, Some('A')))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn left_join<W: Row, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, (V, Option<W>))> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let readers = self.join_readers(&other.node);
        let (left, right) = (self.scattered(readers), other.scattered(readers));
        self.joined::<Outer, _, _, _, _>(Op::here("left_join"), readers, other, left, right)
    }
}
