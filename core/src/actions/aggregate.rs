//! `aggregate`: folds all items into a value of another type.

use super::job::{Background, Job, PartAction};
use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::Row;
use crate::runner::guarded;
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use tryworks_base::{Op, Result, TaskSite};

/// Folds a partition, beginning with a given value.
struct FoldFrom<A, F> {
    zero: A,
    function: F,
    op: Op,
}

ship!([A: Row, F: Ship] FoldFrom<A, F> { zero: given, function: ship, op: value });

impl<P: Pipe, A: Row, F: Call2<A, P::Item, Out = A>> PartAction<P> for FoldFrom<A, F> {
    type Out = A;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<A> {
        self.function.ready(&self.op, task.place())?;
        let mut folded = Some(self.zero.clone());
        drive(&mut cursor, task, &mut |item| {
            folded = folded.take().map(|folded| self.op.call(|| self.function.call(folded, item)));
            CONTINUE
        })?;
        Ok(folded.unwrap_or_else(|| unreachable!("it is only taken to be put back")))
    }
}

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// Folds the items of each partition into `zero` by `fold`. Then folds the results of the partitions into `zero` by
    /// `merge`, in the order of the partitions.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let (sum, count) = cx.range(0..11).aggregate((0, 0), |(s, c), n| (s + n, c + 1), |a, b| (a.0 + b.0, a.1 + b.1))?;
    /// assert_eq!(sum / count, 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate<A: Row, F: Fn(A, P::Item) -> A + NoCaptures, G: Fn(A, A) -> A + NoCaptures>(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<A> {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<G>(GIVE_IT) }
        self.background().folded(Op::here("aggregate"), zero, Plain(fold), Plain(merge))?.wait()
    }
}

/// # Actions
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::aggregate`] with the given value first, in both functions.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn aggregate<
        A: Row,
        F: Fn(&E::Value, A, P::Item) -> A + NoCaptures,
        G: Fn(&E::Value, A, A) -> A + NoCaptures,
    >(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<A> {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<G>(GIVE_IT) }
        self.background().folded(Op::here("aggregate"), zero, self.given(fold), self.given(merge))?.wait()
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::aggregate`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn aggregate<A: Row, F: Fn(A, P::Item) -> A + NoCaptures, G: Fn(A, A) -> A + NoCaptures>(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<Job<A>> {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<G>(GIVE_IT) }
        self.folded(Op::here("aggregate"), zero, Plain(fold), Plain(merge))
    }
}

/// # Actions
impl<P: Pipe, E: Env> Background<'_, P, E> {
    /// [`With::aggregate`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn aggregate<
        A: Row,
        F: Fn(&E::Value, A, P::Item) -> A + NoCaptures,
        G: Fn(&E::Value, A, A) -> A + NoCaptures,
    >(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<Job<A>> {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<G>(GIVE_IT) }
        self.folded(Op::here("aggregate"), zero, self.given(fold), self.given(merge))
    }
}

impl<P: Pipe, E> Background<'_, P, E> {
    /// Folds the items of each partition into `zero` by `fold`, and the results into `zero` by `merge`.
    pub(super) fn folded<A, F, G>(&self, op: Op, zero: A, fold: F, merge: G) -> Result<Job<A>>
    where
        A: Row,
        F: Call2<A, P::Item, Out = A>,
        G: Call2<A, A, Out = A>,
    {
        self.prove_given(op, &zero)?;
        let first = guarded(|code| self.data.runner.guard(op, code), || Ok(zero.clone()))?;
        let action = FoldFrom { zero: first, function: fold, op };
        self.begin_job(op, action, move |parts| {
            let parts = parts.in_order()?;
            // Tasks may have run in other processes. Then what the function needs does not exist in this one yet.
            merge.ready(&op, TaskSite::default())?;
            Ok(parts.into_iter().fold(zero, |a, b| op.call(|| merge.call(a, b))))
        })
    }
}
