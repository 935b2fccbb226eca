//! `map`: one item to one item.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// What `map` does to an item.
pub struct Mapping;

impl<A, F: Call1<A, Out: Send + 'static>> Itemwise<A, F> for Mapping {
    type Out = F::Out;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(F::Out) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        Ok(sink(at.op.call(|| function.call(item))))
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Turns each item into one other item.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..4).map(|n| n * n).collect()?, [0, 1, 4, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map<B: Send + 'static, F: Fn(P::Item) -> B + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<Mapping, _>(Op::here("map"), Plain(function))
    }
}

/// # Item by item
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::map`] with the given value first.
    #[track_caller]
    pub fn map<B: Send + 'static, F: Fn(&E::Value, P::Item) -> B + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, E, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<Mapping, _>(Op::here("map"), self.given(function))
    }
}
