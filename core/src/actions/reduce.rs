//! `reduce`, `min` and `max`: fold all items into one.

use super::job::{Background, Job, PartAction};
use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::extremes::{greatest, least};
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Op, Result, TaskSite};

struct Reduce<F> {
    function: F,
    op: Op,
}

ship!([F: Ship] Reduce<F> { function: ship, op: value });

impl<P, F> PartAction<P> for Reduce<F>
where
    P: Pipe<Item: Serialize + DeserializeOwned>,
    F: Call2<P::Item, P::Item, Out = P::Item>,
{
    type Out = Option<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Option<P::Item>> {
        self.function.ready(&self.op, task.place())?;
        let mut reduced: Option<P::Item> = None;
        drive(&mut cursor, task, &mut |item| {
            reduced = Some(match reduced.take() {
                Some(before) => self.op.call(|| self.function.call(before, item)),
                None => item,
            });
            CONTINUE
        })?;
        Ok(reduced)
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// Folds all items into one: first the items of each partition, then the results of the partitions, in order. The
    /// function has to be associative. `None` if there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(1..6).reduce(|a, b| a * b)?, Some(120));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce<F: Fn(P::Item, P::Item) -> P::Item + NoCaptures>(&self, function: F) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().reduced(Op::here("reduce"), Plain(function))?.wait()
    }

    /// The least item; of equal items the first. `None` if there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).min()?, Some(0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min(&self) -> Result<Option<P::Item>>
    where
        P::Item: Ord,
    {
        self.background().reduced(Op::here("min"), Plain(least))?.wait()
    }

    /// The greatest item; of equal items the first. `None` if there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).max()?, Some(8));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max(&self) -> Result<Option<P::Item>>
    where
        P::Item: Ord,
    {
        self.background().reduced(Op::here("max"), Plain(greatest))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> With<P, E> {
    /// [`Dataset::reduce`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn reduce<F: Fn(&E::Value, P::Item, P::Item) -> P::Item + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().reduced(Op::here("reduce"), self.given(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::reduce`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn reduce<F: Fn(P::Item, P::Item) -> P::Item + NoCaptures>(&self, function: F) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.reduced(Op::here("reduce"), Plain(function))
    }

    /// [`Dataset::min`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn min(&self) -> Result<Job<Option<P::Item>>>
    where
        P::Item: Ord,
    {
        self.reduced(Op::here("min"), Plain(least))
    }

    /// [`Dataset::max`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn max(&self) -> Result<Job<Option<P::Item>>>
    where
        P::Item: Ord,
    {
        self.reduced(Op::here("max"), Plain(greatest))
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> Background<'_, P, E> {
    /// [`With::reduce`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn reduce<F: Fn(&E::Value, P::Item, P::Item) -> P::Item + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.reduced(Op::here("reduce"), self.given(function))
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>, E> Background<'_, P, E> {
    fn reduced<F: Call2<P::Item, P::Item, Out = P::Item>>(&self, op: Op, function: F) -> Result<Job<Option<P::Item>>> {
        self.begin_job(op, Reduce { function: function.clone(), op }, move |parts| {
            let parts = parts.in_order()?;
            // Tasks may have run in other processes. Then what the function needs does not exist in this one yet.
            function.ready(&op, TaskSite::default())?;
            Ok(parts.into_iter().flatten().reduce(|a, b| op.call(|| function.call(a, b))))
        })
    }
}
