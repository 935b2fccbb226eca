//! `reduce_by_key_locally`: the values of each key folded into one, as a map on the driver.

use super::job::{Background, Job};
use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::collections::BTreeMap;
use tryworks_base::{Op, Result};

/// # Actions
impl<K: Key + Ord, V: Row, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// [`reduce_by_key`](Dataset::reduce_by_key), with the result as a map on the driver. Values are folded where the
    /// tasks run; the driver gets each key once.
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the map takes more than `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let sums = cx.range(0..10).map(|n| (n % 3, n)).reduce_by_key_locally(|a, b| a + b)?;
    /// assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(0, 18), (1, 12), (2, 15)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_locally<F: Fn(V, V) -> V + NoCaptures>(&self, function: F) -> Result<BTreeMap<K, V>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().reduced_to_map(Op::here("reduce_by_key_locally"), Plain(function))?.wait()
    }
}

/// # Actions
impl<K: Key + Ord, V: Row, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::reduce_by_key_locally`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn reduce_by_key_locally<F: Fn(&E::Value, V, V) -> V + NoCaptures>(
        &self,
        function: F,
    ) -> Result<BTreeMap<K, V>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().reduced_to_map(Op::here("reduce_by_key_locally"), self.given(function))?.wait()
    }
}

/// # Actions
impl<K: Key + Ord, V: Row, P: Pipe<Item = (K, V)>> Background<'_, P> {
    /// [`Dataset::reduce_by_key_locally`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn reduce_by_key_locally<F: Fn(V, V) -> V + NoCaptures>(&self, function: F) -> Result<Job<BTreeMap<K, V>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.reduced_to_map(Op::here("reduce_by_key_locally"), Plain(function))
    }
}

/// # Actions
impl<K: Key + Ord, V: Row, P: Pipe<Item = (K, V)>, E: Env> Background<'_, P, E> {
    /// [`With::reduce_by_key_locally`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn reduce_by_key_locally<F: Fn(&E::Value, V, V) -> V + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<BTreeMap<K, V>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.reduced_to_map(Op::here("reduce_by_key_locally"), self.given(function))
    }
}

impl<K: Key + Ord, V: Row, P: Pipe<Item = (K, V)>, E> Background<'_, P, E> {
    fn reduced_to_map<F: Call2<V, V, Out = V>>(&self, op: Op, function: F) -> Result<Job<BTreeMap<K, V>>> {
        self.of(&self.data.reduced_by_key(op, function)).mapped(op)
    }
}
