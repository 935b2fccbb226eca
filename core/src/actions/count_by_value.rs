//! `count_by_value`: how often each item occurs, as a map.

use super::job::{Background, Job};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::Key;
use std::collections::BTreeMap;
use tryworks_base::{Op, Result};

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// Each distinct item with the number of times that it occurs, as a map on the driver. The transformation
    /// [`counts`](Dataset::counts) makes a dataset of the same.
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the map takes more than `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let counts = cx.range(0..10).map(|n| n % 3).count_by_value()?;
    /// assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(0, 4), (1, 3), (2, 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value(&self) -> Result<BTreeMap<P::Item, u64>>
    where
        P::Item: Key + Ord,
    {
        self.background().counted(Op::here("count_by_value"))?.wait()
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::count_by_value`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn count_by_value(&self) -> Result<Job<BTreeMap<P::Item, u64>>>
    where
        P::Item: Key + Ord,
    {
        self.counted(Op::here("count_by_value"))
    }
}

impl<P: Pipe> Background<'_, P> {
    fn counted(&self, op: Op) -> Result<Job<BTreeMap<P::Item, u64>>>
    where
        P::Item: Key + Ord,
    {
        self.of(&self.data.counted(op)).mapped(op)
    }
}
