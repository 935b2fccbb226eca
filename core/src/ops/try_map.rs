//! `try_map`: one item to one item, by a function that may fail.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result, UserError};

/// What `try_map` does to an item.
pub struct TryMapping<B>(PhantomData<fn() -> B>);

impl<A, B: Send + 'static, F: Call1<A, Out = Result<B, UserError>>> Itemwise<A, F> for TryMapping<B> {
    type Out = B;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(B) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        match at.op.call(|| function.call(item)) {
            Ok(item) => Ok(sink(item)),
            Err(error) => Err(at.failed(error)),
        }
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe> Dataset<P> {
    /// As [`map`](Dataset::map), with a function that may fail: its first error stops the job.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let numbers = cx.parallelize(["1", "x"].map(String::from));
    /// let error = numbers.try_map(|text| Ok(text.parse::<u32>()?)).collect().unwrap_err();
    /// assert!(error.to_string().contains("invalid digit"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_map<B: Send + 'static, F: Fn(P::Item) -> Result<B, UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<TryMapping<B>, _>(Op::here("try_map"), Plain(function))
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::try_map`] with the given value first.
    #[track_caller]
    pub fn try_map<B: Send + 'static, F: Fn(&E::Value, P::Item) -> Result<B, UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, E, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<TryMapping<B>, _>(Op::here("try_map"), self.given(function))
    }
}
