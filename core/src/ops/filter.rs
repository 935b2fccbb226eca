//! `filter`: keeps the items for which a function returns true.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// What `filter` does to an item.
pub struct Filtering;

impl<A: Send + 'static, F: for<'a> Call1<&'a A, Out = bool>> Itemwise<A, F> for Filtering {
    const KEEPS_PARTITIONING: bool = true;
    type Out = A;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(A) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        Ok(if at.op.call(|| function.call(&item)) { sink(item) } else { CONTINUE })
    }
}

/// # Item by item
impl<P: Pipe> Dataset<P> {
    /// Keeps the items for which `function` returns true. A dataset that is partitioned by key stays so.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..6).filter(|n| n % 2 == 0).collect()?, [0, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn filter<F: Fn(&P::Item) -> bool + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<Filtering, _>(Op::here("filter"), Plain(function))
    }
}

/// # Item by item
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::filter`] with the given value first.
    #[track_caller]
    pub fn filter<F: Fn(&E::Value, &P::Item) -> bool + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, E, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<Filtering, _>(Op::here("filter"), self.given(function))
    }
}
