//! `try_flat_map`: one item to any number of items, by a function that may fail.

use super::each::{At, Itemwise, pour, pour_rest};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result, UserError};

/// What `try_flat_map` does to an item.
pub struct TryFlatMapping<I>(PhantomData<fn() -> I>);

impl<A, I, F> Itemwise<A, F> for TryFlatMapping<I>
where
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    F: Call1<A, Out = Result<I, UserError>>,
{
    const EXPANDS: bool = true;
    type Out = I::Item;
    type State = Option<I::IntoIter>;

    fn rest<S: FnMut(I::Item) -> Flow>(open: &mut Self::State, at: &At, sink: &mut S) -> Result<Flow> {
        pour_rest(open, at, sink)
    }

    #[inline(always)]
    fn each<S: FnMut(I::Item) -> Flow>(
        open: &mut Self::State,
        at: &At,
        function: &F,
        item: A,
        sink: &mut S,
    ) -> Result<Flow> {
        match at.op.call(|| function.call(item)) {
            Ok(items) => pour(open, at, at.op.call(|| items.into_iter()), sink),
            Err(error) => Err(at.failed(error)),
        }
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe> Dataset<P> {
    /// As [`flat_map`](Dataset::flat_map), with a function that may fail: its first error stops the job.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let texts = cx.parallelize(vec!["2".to_string(), "3".to_string()]);
    /// assert_eq!(texts.try_flat_map(|text| Ok(0..text.parse::<u32>()?)).collect()?, [0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_flat_map<I, F>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, I, F>>
    where
        F: Fn(P::Item) -> Result<I, UserError> + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<TryFlatMapping<I>, _>(Op::here("try_flat_map"), Plain(function))
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::try_flat_map`] with the given value first.
    #[track_caller]
    pub fn try_flat_map<I, F>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, E, I, F>>
    where
        F: Fn(&E::Value, P::Item) -> Result<I, UserError> + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<TryFlatMapping<I>, _>(Op::here("try_flat_map"), self.given(function))
    }
}
