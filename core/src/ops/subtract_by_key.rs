//! `subtract_by_key`: Spark's name of `anti_join`.

use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use tryworks_base::Op;

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The same as [`anti_join`](Dataset::anti_join), by the name that it has in Spark.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (1, 31), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// assert_eq!(ages.subtract_by_key(&names).collect()?, [(1, 30), (1, 31)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn subtract_by_key<W: Send + 'static, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        self.anti_joined(Op::here("subtract_by_key"), other)
    }
}
