//! `flat_map`: one item to any number of items.

use super::each::{At, Itemwise, pour};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// What `flat_map` does to an item.
pub struct FlatMapping;

impl<A, F: Call1<A, Out: IntoIterator<Item: Send + 'static>>> Itemwise<A, F> for FlatMapping {
    type Out = <F::Out as IntoIterator>::Item;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(Self::Out) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        Ok(pour(at, at.op.call(|| function.call(item).into_iter()), sink))
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Turns each item into any number of items: those of the iterable that `function` returns. If these items borrow
    /// from the input, use [`flat_map_into`](Dataset::flat_map_into).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..4).flat_map(|n| 0..n).collect()?, [0, 0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<I: IntoIterator<Item: Send + 'static>, F: Fn(P::Item) -> I + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = I::Item> + use<P, I, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<FlatMapping, _>(Op::here("flat_map"), Plain(function))
    }
}

/// # Item by item
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::flat_map`] with the given value first.
    #[track_caller]
    pub fn flat_map<I: IntoIterator<Item: Send + 'static>, F: Fn(&E::Value, P::Item) -> I + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = I::Item> + use<P, E, I, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<FlatMapping, _>(Op::here("flat_map"), self.given(function))
    }
}
