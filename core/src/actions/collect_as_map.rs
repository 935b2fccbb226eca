//! `collect_as_map`: all pairs as a map on the driver.

use super::job::{Background, Job};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use tryworks_base::{Op, Result};

/// # Actions
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// All pairs as a map on the driver. Of several values of a key, the last one stays.
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the map takes more than `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let map = cx.parallelize(vec![(1, 'a'), (2, 'b'), (1, 'c')]).collect_as_map()?;
    /// assert_eq!(map.into_iter().collect::<Vec<_>>(), [(1, 'c'), (2, 'b')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect_as_map(&self) -> Result<BTreeMap<K, V>>
    where
        K: Ord + Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        self.background().mapped(Op::here("collect_as_map"))?.wait()
    }
}

/// # Actions
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Background<'_, P> {
    /// [`Dataset::collect_as_map`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn collect_as_map(&self) -> Result<Job<BTreeMap<K, V>>>
    where
        K: Ord + Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        self.mapped(Op::here("collect_as_map"))
    }
}

impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E> Background<'_, P, E> {
    /// Collects the pairs into a map.
    pub(super) fn mapped(&self, op: Op) -> Result<Job<BTreeMap<K, V>>>
    where
        K: Ord + Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        Ok(self.collected(op)?.map(move |pairs| Ok(op.call(|| pairs.into_iter().collect()))))
    }
}
