//! `map`: one item to one item.

use super::each::{At, Each, Itemwise};
use crate::call::{Call1, Env, Given};
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{Flow, Pipe};
use crate::ship::{Code, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::map`].
pub type Map<P, F> = Each<P, F, Mapping>;

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

impl<P: Pipe> Dataset<P> {
    /// Makes one item of each item.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..4).map(|n| n * n).collect()?, [0, 1, 4, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map<B: Send + 'static, F: Fn(P::Item) -> B + Code>(&self, function: F) -> Dataset<Map<P, Plain<F>>> {
        const { captures_nothing::<F>() }
        let op = Op::here("map");
        self.chain(Each::new(self.pipe.clone(), Plain(function), op), Node::narrow(op, &self.node))
    }
}

impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::map`] with the given value first.
    #[track_caller]
    pub fn map<B: Send + 'static, F: Fn(&E::Value, P::Item) -> B + Code>(
        &self,
        function: F,
    ) -> Dataset<Map<P, Given<E, F>>> {
        const { captures_nothing::<F>() }
        let op = Op::here("map");
        self.data.chain(Each::new(self.data.pipe.clone(), self.given(function), op), Node::narrow(op, &self.data.node))
    }
}
