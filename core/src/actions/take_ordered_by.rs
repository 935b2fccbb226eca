//! `take_ordered_by`: the first items in the order of a key.

use super::first_few::FirstFew;
use super::job::{Background, Job, PartAction, bytes_of};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::exchange::unless_failed;
use crate::pipe::{Pipe, drive};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Aspect, Op, Result, TaskSite};

struct TakeOrdered<F, O> {
    n: usize,
    function: F,
    op: Op,
    order: PhantomData<fn() -> O>,
}

ship!([F: Ship, O] TakeOrdered<F, O> { n: value, function: ship, op: value, order: none });

impl<P, F, O> PartAction<P> for TakeOrdered<F, O>
where
    P: Pipe<Item: Serialize + DeserializeOwned>,
    O: Ord + 'static,
    F: for<'a> Call1<&'a P::Item, Out = O>,
{
    type Out = Vec<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<P::Item>> {
        self.function.ready(&self.op, task.place())?;
        let mut first = FirstFew::new(&self.op, self.n, Some(task));
        let mut failed = None;
        drive(&mut cursor, task, &mut |item| {
            let order = self.op.call(|| self.function.call(&item));
            unless_failed(first.push((order, item)), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        Ok(first.finish()?.into_iter().map(|(_, item)| item).collect())
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("number of items", self.n)]
    }

    fn prove(items: &mut Vec<P::Item>, check: bool) -> Result<()> {
        prove_rows(items, check)
    }

    fn bytes(items: &Vec<P::Item>) -> u64 {
        bytes_of(items)
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// The first `n` items in ascending order of a key, which `function` makes from each item. Of items with equal
    /// keys, earlier items come first. To get the greatest items, order by a [`Reverse`](std::cmp::Reverse).
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// use std::cmp::Reverse;
    /// assert_eq!(cx.range(0..100).take_ordered_by(2, |n| Reverse(*n))?, [99, 98]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(
        &self,
        n: usize,
        function: F,
    ) -> Result<Vec<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().ordered(Op::here("take_ordered_by"), n, Plain(function))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::take_ordered_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn take_ordered_by<O: Ord + 'static, F: Fn(&P::Item) -> O + NoCaptures>(
        &self,
        n: usize,
        function: F,
    ) -> Result<Job<Vec<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.ordered(Op::here("take_ordered_by"), n, Plain(function))
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> Background<'_, P, E> {
    /// [`With::take_ordered_by`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn take_ordered_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        n: usize,
        function: F,
    ) -> Result<Job<Vec<P::Item>>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.ordered(Op::here("take_ordered_by"), n, self.given(function))
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>, E> Background<'_, P, E> {
    pub(super) fn ordered<O: Ord + 'static, F: for<'a> Call1<&'a P::Item, Out = O>>(
        &self,
        op: Op,
        n: usize,
        function: F,
    ) -> Result<Job<Vec<P::Item>>> {
        let action = TakeOrdered { n, function: function.clone(), op, order: PhantomData };
        self.begin_job(op, action, move |parts| {
            let parts = parts.in_order()?.into_iter().flatten();
            // Tasks may have run in other processes. Then what the function needs does not exist in this one yet.
            function.ready(&op, TaskSite::default())?;
            let mut first = FirstFew::new(&op, n, None);
            for item in parts {
                first.push((op.call(|| function.call(&item)), item))?;
            }
            Ok(first.finish()?.into_iter().map(|(_, item)| item).collect())
        })
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>, E: Env> With<P, E> {
    /// [`Dataset::take_ordered_by`] with the given value first.
    ///
    /// # Errors
    /// Why the job failed.
    #[track_caller]
    pub fn take_ordered_by<O: Ord + 'static, F: Fn(&E::Value, &P::Item) -> O + NoCaptures>(
        &self,
        n: usize,
        function: F,
    ) -> Result<Vec<P::Item>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.background().ordered(Op::here("take_ordered_by"), n, self.given(function))?.wait()
    }
}
