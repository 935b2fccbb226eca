//! `key_by`: pairs each item with a key made from it.

use super::each::{At, Each, Itemwise};
use crate::call::{Call1, Env, Given};
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{Flow, Pipe};
use crate::ship::{Code, Plain, captures_nothing};
use crate::with::With;
use std::marker::PhantomData;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::key_by`].
pub type KeyBy<P, F, K> = Each<P, F, Keying<K>>;

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

impl<P: Pipe> Dataset<P> {
    /// Pairs each item with the key that `function` makes of it.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(4..6).key_by(|n| n % 2).collect()?, [(0, 4), (1, 5)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn key_by<K: Send + 'static, F: Fn(&P::Item) -> K + Code>(
        &self,
        function: F,
    ) -> Dataset<KeyBy<P, Plain<F>, K>> {
        const { captures_nothing::<F>() }
        let op = Op::here("key_by");
        self.chain(Each::new(self.pipe.clone(), Plain(function), op), Node::narrow(op, &self.node))
    }
}

impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::key_by`] with the given value first.
    #[track_caller]
    pub fn key_by<K: Send + 'static, F: Fn(&E::Value, &P::Item) -> K + Code>(
        &self,
        function: F,
    ) -> Dataset<KeyBy<P, Given<E, F>, K>> {
        const { captures_nothing::<F>() }
        let op = Op::here("key_by");
        self.data.chain(Each::new(self.data.pipe.clone(), self.given(function), op), Node::narrow(op, &self.data.node))
    }
}
