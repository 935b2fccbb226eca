//! `count_by_key`: how many values each key has, as a map.

use super::job::{Background, Job};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::Key;
use std::collections::BTreeMap;
use tryworks_base::{Op, Result};

/// # Actions
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The number of values of each key, as a map on the driver. The transformation
    /// [`counts_by_key`](Dataset::counts_by_key) makes a dataset of the same.
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the map takes more than `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let counts = cx.range(0..10).map(|n| (n % 3, ())).count_by_key()?;
    /// assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(0, 4), (1, 3), (2, 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_key(&self) -> Result<BTreeMap<K, u64>>
    where
        K: Key + Ord,
    {
        self.background().counted_by_key(Op::here("count_by_key"))?.wait()
    }
}

/// # Actions
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Background<'_, P> {
    /// [`Dataset::count_by_key`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn count_by_key(&self) -> Result<Job<BTreeMap<K, u64>>>
    where
        K: Key + Ord,
    {
        self.counted_by_key(Op::here("count_by_key"))
    }
}

impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Background<'_, P> {
    fn counted_by_key(&self, op: Op) -> Result<Job<BTreeMap<K, u64>>>
    where
        K: Key + Ord,
    {
        self.of(&self.data.counted_by_key(op)).mapped(op)
    }
}
