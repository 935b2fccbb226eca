//! `fold`: all items folded into one, from a first value on.

use super::aggregate::FoldFrom;
use super::job::{Background, Job};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::Row;
use crate::ship::{Code, Plain};
use tryworks_base::{Op, Result};

impl<P: Pipe<Item: Row>> Dataset<P> {
    /// Folds the items of each partition from `zero` on, and what comes out of the partitions from `zero` on, in the
    /// order of the partitions. So `zero` has to be neutral.
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
    pub fn fold<F: Fn(P::Item, P::Item) -> P::Item + Code>(&self, zero: P::Item, function: F) -> Result<P::Item> {
        self.background().fold(zero, function)?.wait()
    }
}

impl<P: Pipe<Item: Row>> Background<'_, P> {
    /// [`Dataset::fold`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn fold<F: Fn(P::Item, P::Item) -> P::Item + Code>(&self, zero: P::Item, function: F) -> Result<Job<P::Item>> {
        const { assert!(size_of::<F>() == 0, "this closure captures something: fold it into the first value") }
        let op = Op::here("fold");
        self.prove_given(op, &zero)?;
        let action = FoldFrom { zero: zero.clone(), function: Plain(function), op };
        self.begin_job(op, action, move |parts| {
            Ok(parts.in_order()?.into_iter().fold(zero, |a, b| op.call(|| function(a, b))))
        })
    }
}
