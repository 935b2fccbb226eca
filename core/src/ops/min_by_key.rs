//! `min_by_key`: the least value of each key.

use crate::dataset::Dataset;
use crate::extremes::least;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::Plain;
use tryworks_base::Op;

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The least value of each key; of equal values the first. For floats, see [`total`](crate::total).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.min_by_key().sort_by_key().collect()?, [(0, 0), (1, 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by_key(&self) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Ord,
    {
        self.reduced_by_key(Op::here("min_by_key"), Plain(least))
    }
}
