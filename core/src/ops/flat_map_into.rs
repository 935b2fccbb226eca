//! `flat_map_into`: one item to any number of items, pushed into an emitter.

use super::each::{At, Itemwise};
use crate::buffer::Buffer;
use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result};

/// What `flat_map_into` does to an item.
pub struct Emitting<B>(PhantomData<fn() -> B>);

/// The function of [`Dataset::flat_map_into`] pushes its items into this. They are kept until the function returns. The
/// buffer is reused for the next item.
#[derive(Debug)]
pub struct Emitter<B>(Buffer<B>);

impl<B> Emitter<B> {
    /// Adds an item.
    #[inline]
    pub fn push(&mut self, item: B) {
        self.0.items.push(item);
    }
}

impl<B> Extend<B> for Emitter<B> {
    fn extend<I: IntoIterator<Item = B>>(&mut self, items: I) {
        self.0.items.extend(items);
    }
}

impl<B> Default for Emitter<B> {
    fn default() -> Self {
        Emitter(Buffer::default())
    }
}

impl<A, B: Send + 'static, F: for<'a> Call2<A, &'a mut Emitter<B>, Out = ()>> Itemwise<A, F> for Emitting<B> {
    const EXPANDS: bool = true;
    type Out = B;
    type State = Emitter<B>;

    fn rest<S: FnMut(B) -> Flow>(out: &mut Emitter<B>, _: &At, sink: &mut S) -> Result<Flow> {
        Ok(out.0.rest(sink))
    }

    #[inline(always)]
    fn each<S: FnMut(B) -> Flow>(out: &mut Emitter<B>, at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        at.op.call(|| function.call(item, out));
        Ok(out.0.pour(sink))
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Turns each item into any number of items, which `function` pushes into the emitter. The items may be made from
    /// borrowed parts of the input. The emitter keeps those of one call until `function` returns, in a buffer that is
    /// reused. If one item yields more than memory holds, use [`flat_map`](Dataset::flat_map): its iterator is read as
    /// items are needed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let lines = cx.parallelize(vec!["call me".to_string(), "Ishmael".to_string()]);
    /// let words = lines.flat_map_into(|line, out| line.split(' ').for_each(|w| out.push(Str::lower(w))));
    /// assert_eq!(words.collect()?, ["call", "me", "ishmael"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_into<B: Send + 'static, F: Fn(P::Item, &mut Emitter<B>) + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<Emitting<B>, _>(Op::here("flat_map_into"), Plain(function))
    }
}

/// # Item by item
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::flat_map_into`] with the given value first.
    #[track_caller]
    pub fn flat_map_into<B: Send + 'static, F: Fn(&E::Value, P::Item, &mut Emitter<B>) + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = B> + use<P, E, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<Emitting<B>, _>(Op::here("flat_map_into"), self.given(function))
    }
}
