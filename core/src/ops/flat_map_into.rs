//! `flat_map_into`: one item to any number of items, pushed into an emitter.

use super::each::{At, Itemwise};
use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Flow, Pipe, STOP};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result};

/// What `flat_map_into` does to an item.
pub struct Emitting<B>(PhantomData<fn() -> B>);

/// The function of [`Dataset::flat_map_into`] pushes its items into this. The buffer is reused for the next item.
#[derive(Debug)]
pub struct Emitter<B> {
    items: Vec<B>,
}

impl<B> Emitter<B> {
    /// Adds an item.
    #[inline]
    pub fn push(&mut self, item: B) {
        self.items.push(item);
    }
}

impl<B> Extend<B> for Emitter<B> {
    fn extend<I: IntoIterator<Item = B>>(&mut self, items: I) {
        self.items.extend(items);
    }
}

impl<B> Default for Emitter<B> {
    fn default() -> Self {
        Emitter { items: Vec::new() }
    }
}

impl<A, B: Send + 'static, F: for<'a> Call2<A, &'a mut Emitter<B>, Out = ()>> Itemwise<A, F> for Emitting<B> {
    type Out = B;
    type State = Emitter<B>;

    #[inline(always)]
    fn each<S: FnMut(B) -> Flow>(out: &mut Emitter<B>, at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        at.op.call(|| function.call(item, out));
        for item in out.items.drain(..) {
            if sink(item).is_break() {
                return Ok(STOP);
            }
        }
        Ok(CONTINUE)
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Turns each item into any number of items, which `function` pushes into the emitter. The items may be made
    /// from borrowed parts of the input. The emitter holds the items of one call.
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
