//! `try_filter`: keeps the items for which a function returns true. The function may fail.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result, UserError};

/// What `try_filter` does to an item.
pub struct TryFiltering;

impl<A: Send + 'static, F: for<'a> Call1<&'a A, Out = Result<bool, UserError>>> Itemwise<A, F> for TryFiltering {
    const KEEPS_PARTITIONING: bool = true;
    type Out = A;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(A) -> Flow>(_: &mut (), at: &At, function: &F, item: A, sink: &mut S) -> Result<Flow> {
        match at.op.call(|| function.call(&item)) {
            Ok(true) => Ok(sink(item)),
            Ok(false) => Ok(CONTINUE),
            Err(error) => Err(at.failed(error)),
        }
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe> Dataset<P> {
    /// As [`filter`](Dataset::filter), with a function that may fail: its first error stops the job.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let texts = cx.parallelize(vec!["1".to_string(), "2".to_string()]);
    /// assert_eq!(texts.try_filter(|text| Ok(text.parse::<u32>()? > 1)).collect()?, ["2"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_filter<F: Fn(&P::Item) -> Result<bool, UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<TryFiltering, _>(Op::here("try_filter"), Plain(function))
    }
}

/// # Item by item, with functions that may fail
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::try_filter`] with the given value first.
    #[track_caller]
    pub fn try_filter<F: Fn(&E::Value, &P::Item) -> Result<bool, UserError> + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = P::Item> + use<P, E, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<TryFiltering, _>(Op::here("try_filter"), self.given(function))
    }
}
