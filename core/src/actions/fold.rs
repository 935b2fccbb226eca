//! `fold`: folds all items into one, beginning with a given value.

use super::job::{Background, Job};
use crate::call::Env;
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::Row;
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// # Actions
impl<P: Pipe<Item: Row>> Dataset<P> {
    /// Folds the items of each partition into `zero`, then the results of the partitions into `zero`, in the order of
    /// the partitions. Since `zero` takes part several times, it has to be neutral.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..100).fold(0, |a, b| a.max(b))?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold<F: Fn(P::Item, P::Item) -> P::Item + NoCaptures>(&self, zero: P::Item, function: F) -> Result<P::Item> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().folded(Op::here("fold"), zero, Plain(function), Plain(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Row>, E: Env> With<P, E> {
    /// [`Dataset::fold`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn fold<F: Fn(&E::Value, P::Item, P::Item) -> P::Item + NoCaptures>(
        &self,
        zero: P::Item,
        function: F,
    ) -> Result<P::Item> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().folded(Op::here("fold"), zero, self.given(function), self.given(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Row>> Background<'_, P> {
    /// [`Dataset::fold`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn fold<F: Fn(P::Item, P::Item) -> P::Item + NoCaptures>(
        &self,
        zero: P::Item,
        function: F,
    ) -> Result<Job<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.folded(Op::here("fold"), zero, Plain(function), Plain(function))
    }
}

/// # Actions
impl<P: Pipe<Item: Row>, E: Env> Background<'_, P, E> {
    /// [`With::fold`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn fold<F: Fn(&E::Value, P::Item, P::Item) -> P::Item + NoCaptures>(
        &self,
        zero: P::Item,
        function: F,
    ) -> Result<Job<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.folded(Op::here("fold"), zero, self.given(function), self.given(function))
    }
}
