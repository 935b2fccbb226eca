//! `filter`: keeps the items for which a function says so.

use super::each::{At, Each, Itemwise};
use crate::call::{Call1, Env, Given};
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{CONTINUE, Flow, Pipe};
use crate::ship::{Code, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::filter`].
pub type Filter<P, F> = Each<P, F, Filtering>;

/// What `filter` does to an item.
pub struct Filtering;

impl<A: Send + 'static, F: for<'a> Call1<&'a A, Out = bool>> Itemwise<A, F> for Filtering {
    type Out = A;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(A) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        Ok(if at.op.call(|| function.call(&item)) { sink(item) } else { CONTINUE })
    }
}

impl<P: Pipe> Dataset<P> {
    /// Keeps the items for which `function` returns true. Keeps the layout of keys.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..6).filter(|n| n % 2 == 0).collect()?, [0, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn filter<F: Fn(&P::Item) -> bool + Code>(&self, function: F) -> Dataset<Filter<P, Plain<F>>> {
        const { captures_nothing::<F>() }
        let op = Op::here("filter");
        self.chain(
            Each::new(self.pipe.clone(), Plain(function), op),
            Node::narrow(op, &self.node).with_layout(self.node.layout),
        )
    }
}

impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::filter`] with the given value first.
    #[track_caller]
    pub fn filter<F: Fn(&E::Value, &P::Item) -> bool + Code>(&self, function: F) -> Dataset<Filter<P, Given<E, F>>> {
        const { captures_nothing::<F>() }
        let op = Op::here("filter");
        self.data.chain(
            Each::new(self.data.pipe.clone(), self.given(function), op),
            Node::narrow(op, &self.data.node).with_layout(self.data.node.layout),
        )
    }
}
