//! `max_by_key`: the greatest value of each key.

use crate::dataset::Dataset;
use crate::extremes::greatest;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::Plain;
use tryworks_base::Op;

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The greatest value of each key; of equal values the first. For floats, see [`total`](crate::total).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.max_by_key().sort_by_key().collect()?, [(0, 8), (1, 9)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by_key(&self) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Ord,
    {
        self.reduced_by_key(Op::here("max_by_key"), Plain(greatest))
    }
}
