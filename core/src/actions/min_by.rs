//! `min_by` and `max_by`: the item with the least key, and the one with the greatest.

use super::job::{Background, Job};
use crate::call::{Call1, Callable, Env};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::with::With;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Reverse;
use tryworks_base::{Op, Result, TaskSite};

/// Reverses the order of the keys that a function makes.
#[derive(Clone)]
pub struct Reversing<F>(F);

ship!([F: Ship] Reversing<F> { 0: ship });

impl<F: Callable> Callable for Reversing<F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.0.ready(op, place)
    }
}

impl<A, F: Call1<A>> Call1<A> for Reversing<F> {
    type Out = Reverse<F::Out>;

    #[inline(always)]
    fn call(&self, item: A) -> Self::Out {
        Reverse(self.0.call(item))
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// The item with the least key, which `function` makes from each item; of items with equal keys the first. `None` if
    /// there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..100).min_by(|n| n % 7)?, Some(0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(&self, function: F) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().one_ordered(Op::here("min_by"), Plain(function))?.wait()
    }

    /// The item with the greatest key, which `function` makes from each item; of items with equal keys the first. `None` if
    /// there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..100).max_by(|n| n % 7)?, Some(6));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(&self, function: F) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().one_ordered(Op::here("max_by"), Reversing(Plain(function)))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> With<P, E> {
    /// [`Dataset::min_by`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn min_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().one_ordered(Op::here("min_by"), self.given(function))?.wait()
    }

    /// [`Dataset::max_by`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn max_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Option<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().one_ordered(Op::here("max_by"), Reversing(self.given(function)))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::min_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn min_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.one_ordered(Op::here("min_by"), Plain(function))
    }

    /// [`Dataset::max_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn max_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.one_ordered(Op::here("max_by"), Reversing(Plain(function)))
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> Background<'_, P, E> {
    /// [`With::min_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn min_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.one_ordered(Op::here("min_by"), self.given(function))
    }

    /// [`With::max_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn max_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.one_ordered(Op::here("max_by"), Reversing(self.given(function)))
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>, E> Background<'_, P, E> {
    fn one_ordered<O: Ord + 'static, F: for<'a> Call1<&'a P::Item, Out = O>>(
        &self,
        op: Op,
        function: F,
    ) -> Result<Job<Option<P::Item>>> {
        Ok(self.ordered(op, 1, function)?.map(|mut first| Ok(first.pop())))
    }
}
