//! `key_by`: pairs each item with a key made from it.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result};

/// What `key_by` does to an item.
pub struct Keying<K>(PhantomData<fn() -> K>);

impl<A: Send + 'static, K: Send + 'static, F: for<'a> Call1<&'a A, Out = K>> Itemwise<A, F> for Keying<K> {
    type Out = (K, A);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((K, A)) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        let key = at.op.call(|| function.call(&item));
        Ok(sink((key, item)))
    }
}

/// # Pairs
impl<P: Pipe> Dataset<P> {
    /// Pairs each item with the key that `function` makes from it.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(4..6).key_by(|n| n % 2).collect()?, [(0, 4), (1, 5)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn key_by<K: Send + 'static, F: Fn(&P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, P::Item)> + use<P, K, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<Keying<K>, _>(Op::here("key_by"), Plain(function))
    }
}

/// # Pairs
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::key_by`] with the given value first.
    #[track_caller]
    pub fn key_by<K: Send + 'static, F: Fn(&E::Value, &P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, P::Item)> + use<P, E, K, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<Keying<K>, _>(Op::here("key_by"), self.given(function))
    }
}
