//! `mean_by_key`: the mean of the values of each key.

use super::each::Each;
use super::map_values::MappingValues;
use super::stats_by_key::Measuring;
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::Plain;
use crate::stats::{Number, Stats};
use tryworks_base::Op;

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The mean of the values of each key. [`stats_by_key`](Dataset::stats_by_key) has more.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.mean_by_key().sort_by_key().collect()?, [(0, 4.0), (1, 5.0)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean_by_key(&self) -> Dataset<impl Pipe<Item = (K, f64)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Number,
    {
        let op = Op::here("mean_by_key");
        let stats = self.folded_by_key(op, Measuring);
        // A key has at least one value.
        let mean = |stats: Stats| stats.mean().unwrap_or(f64::NAN);
        stats.of(Each::<_, _, MappingValues>::new(stats.pipe.clone(), Plain(mean), op))
    }
}
