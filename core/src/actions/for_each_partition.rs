//! `for_each_partition`: calls a function with each partition for its effect.

use super::for_each::Surely;
use super::job::{Background, Job, PartAction};
use crate::call::{Call1, Call2, Callable, Env};
use crate::dataset::Dataset;
use crate::ops::Items;
use crate::pipe::{Pipe, STOP, drive};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use tryworks_base::{Op, Result, TaskSite, UserError};

/// Turns the effect on a partition into its error, if there is one.
#[derive(Clone)]
struct Effect<F>(F);

ship!([F: Ship] Effect<F> { 0: ship });

impl<F: Callable> Callable for Effect<F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.0.ready(op, place)
    }
}

impl<A, F: Call1<A, Out = Result<(), UserError>>> Call2<u32, A> for Effect<F> {
    type Out = Option<UserError>;

    fn call(&self, _: u32, items: A) -> Option<UserError> {
        self.0.call(items).err()
    }
}

/// Fails with the error of a partition.
struct Effects {
    op: Op,
}

ship!([] Effects { op: value });

impl<P: Pipe<Item = UserError>> PartAction<P> for Effects {
    type Out = ();

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<()> {
        let mut failed = None;
        drive(&mut cursor, task, &mut |error| {
            failed = Some(self.op.failed(error, task.place()));
            STOP
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// Calls `function` once for each partition, where its task runs, with an iterator over its items. If a task is tried
    /// again, `function` is called again. An effect that must happen once belongs in a sink.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// cx.range(0..100).for_each_partition(|numbers| assert!(numbers.count() <= 100))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_partition<F: Fn(Items<P::Cursor>) + NoCaptures>(&self, function: F) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().effected(Op::here("for_each_partition"), Surely(Plain(function)))?.wait()
    }

    /// As [`for_each_partition`](Dataset::for_each_partition), with a function that may fail: its first error stops the
    /// job.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let failed = cx.range(0..9).try_for_each_partition(|mut numbers| match numbers.find(|n| *n == 7) {
    ///     Some(_) => Err(UserError::msg("there is a seven")),
    ///     None => Ok(()),
    /// });
    /// assert!(failed.unwrap_err().to_string().contains("there is a seven"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_for_each_partition<F: Fn(Items<P::Cursor>) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().effected(Op::here("try_for_each_partition"), Plain(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::for_each_partition`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn for_each_partition<F: Fn(&E::Value, Items<P::Cursor>) + NoCaptures>(&self, function: F) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().effected(Op::here("for_each_partition"), Surely(self.given(function)))?.wait()
    }

    /// [`Dataset::try_for_each_partition`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn try_for_each_partition<F: Fn(&E::Value, Items<P::Cursor>) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<()> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().effected(Op::here("try_for_each_partition"), self.given(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::for_each_partition`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn for_each_partition<F: Fn(Items<P::Cursor>) + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.effected(Op::here("for_each_partition"), Surely(Plain(function)))
    }

    /// [`Dataset::try_for_each_partition`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn try_for_each_partition<F: Fn(Items<P::Cursor>) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.effected(Op::here("try_for_each_partition"), Plain(function))
    }
}

/// # Actions
impl<P: Pipe, E: Env> Background<'_, P, E> {
    /// [`With::for_each_partition`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn for_each_partition<F: Fn(&E::Value, Items<P::Cursor>) + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.effected(Op::here("for_each_partition"), Surely(self.given(function)))
    }

    /// [`With::try_for_each_partition`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn try_for_each_partition<F: Fn(&E::Value, Items<P::Cursor>) -> Result<(), UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<()>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.effected(Op::here("try_for_each_partition"), self.given(function))
    }
}

impl<P: Pipe, E> Background<'_, P, E> {
    fn effected<F: Call1<Items<P::Cursor>, Out = Result<(), UserError>>>(
        &self,
        op: Op,
        function: F,
    ) -> Result<Job<()>> {
        let errors = self.data.partitions_mapped(op, Effect(function));
        self.of(&errors).begin_job(op, Effects { op }, |parts| {
            while parts.next()?.is_some() {}
            Ok(())
        })
    }
}
