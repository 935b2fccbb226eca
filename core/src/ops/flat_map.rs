//! `flat_map`: one item to any number of items.

use super::each::{At, Itemwise, pour, pour_rest};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// What `flat_map` does to an item.
pub struct FlatMapping;

impl<A, I, F> Itemwise<A, F> for FlatMapping
where
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
    F: Call1<A, Out = I>,
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
        pour(open, at, at.op.call(|| function.call(item).into_iter()), sink)
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Turns each item into any number of items: those of the iterable that `function` returns. It is read as items are
    /// needed, so it may have more of them than memory holds. If the items borrow from the input, use
    /// [`flat_map_into`](Dataset::flat_map_into).
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..4).flat_map(|n| 0..n).collect()?, [0, 0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<I, F>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, I, F>>
    where
        F: Fn(P::Item) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<FlatMapping, _>(Op::here("flat_map"), Plain(function))
    }
}

/// # Item by item
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::flat_map`] with the given value first.
    #[track_caller]
    pub fn flat_map<I, F>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, E, I, F>>
    where
        F: Fn(&E::Value, P::Item) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<FlatMapping, _>(Op::here("flat_map"), self.given(function))
    }
}
