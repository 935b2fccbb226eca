//! `for_each`: calls a function for its effect.

use super::job::{Background, Job, PartAction};
use crate::call::{Call1, Callable, Env};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, STOP, drive};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use tryworks_base::{Op, Result, TaskSite, UserError};

struct ForEach<F> {
    function: F,
    op: Op,
}

ship!([F: Ship] ForEach<F> { function: ship, op: value });

impl<P: Pipe, F: Call1<P::Item, Out = Result<(), UserError>>> PartAction<P> for ForEach<F> {
    type Out = ();

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<()> {
        self.function.ready(&self.op, task.place())?;
        // A sink cannot return an error, so it keeps the error and stops.
        let mut failed = None;
        drive(&mut cursor, task, &mut |item| match self.op.call(|| self.function.call(item)) {
            Ok(()) => CONTINUE,
            Err(error) => {
                failed = Some(self.op.failed(error, task.place()));
                STOP
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// Turns a function that cannot fail into one that could.
#[derive(Clone)]
pub(super) struct Surely<F>(pub(super) F);

ship!([F: Ship] Surely<F> { 0: ship });

impl<F: Callable> Callable for Surely<F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.0.ready(op, place)
    }
}

impl<A, F: Call1<A, Out = ()>> Call1<A> for Surely<F> {
    type Out = Result<(), UserError>;

    fn call(&self, item: A) -> Self::Out {
        self.0.call(item);
        Ok(())
    }
}

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// Calls `function` with each item, where the task runs. If a task is tried again, `function` is called again for
    /// its items. An effect that must happen once belongs in a sink.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// cx.range(0..3).for_each(|n| assert!(n < 3))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each<F: Fn(P::Item) + NoCaptures>(&self, function: F) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().called(Op::here("for_each"), Surely(Plain(function)))?.wait()
    }

    /// As [`for_each`](Dataset::for_each), with a function that may fail: its first error stops the job.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let failed = cx.range(0..3).try_for_each(|n| if n < 2 { Ok(()) } else { Err(UserError::msg("too large")) });
    /// assert!(failed.unwrap_err().to_string().contains("too large"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_for_each<F: Fn(P::Item) -> Result<(), UserError> + NoCaptures>(&self, function: F) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().called(Op::here("try_for_each"), Plain(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::for_each`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn for_each<F: Fn(&E::Value, P::Item) + NoCaptures>(&self, function: F) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().called(Op::here("for_each"), Surely(self.given(function)))?.wait()
    }

    /// [`Dataset::try_for_each`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn try_for_each<F: Fn(&E::Value, P::Item) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().called(Op::here("try_for_each"), self.given(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::for_each`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn for_each<F: Fn(P::Item) + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.called(Op::here("for_each"), Surely(Plain(function)))
    }

    /// [`Dataset::try_for_each`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn try_for_each<F: Fn(P::Item) -> Result<(), UserError> + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.called(Op::here("try_for_each"), Plain(function))
    }
}

/// # Actions
impl<P: Pipe, E: Env> Background<'_, P, E> {
    /// [`With::for_each`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn for_each<F: Fn(&E::Value, P::Item) + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.called(Op::here("for_each"), Surely(self.given(function)))
    }

    /// [`With::try_for_each`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn try_for_each<F: Fn(&E::Value, P::Item) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.called(Op::here("try_for_each"), self.given(function))
    }
}

impl<P: Pipe, E> Background<'_, P, E> {
    fn called<F: Call1<P::Item, Out = Result<(), UserError>>>(&self, op: Op, function: F) -> Result<Job<()>> {
        self.begin_job(op, ForEach { function, op }, |parts| parts.in_order().map(drop))
    }
}
