//! `map_values`: changes the values of pairs, and keeps the keys.

use super::each::{At, Itemwise};
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::{Op, Result};

/// What `map_values` does to an item.
pub struct MappingValues;

impl<K: Send + 'static, V, F: Call1<V, Out: Send + 'static>> Itemwise<(K, V), F> for MappingValues {
    const KEEPS_PARTITIONING: bool = true;
    type Out = (K, F::Out);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((K, F::Out)) -> Flow>(
        _: &mut (),
        at: &At,
        function: &F,
        (key, value): (K, V),
        sink: &mut S,
    ) -> Result<Flow> {
        let value = at.op.call(|| function.call(value));
        Ok(sink((key, value)))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Changes the value of each pair. A dataset that is partitioned by key stays so, and later keyed operators need no
    /// shuffle.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.parallelize(vec![(1, 10), (2, 20)]);
    /// assert_eq!(pairs.map_values(|v| v + 1).collect()?, [(1, 11), (2, 21)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map_values<B: Send + 'static, F: Fn(V) -> B + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, B)> + use<K, V, P, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.itemwise::<MappingValues, _>(Op::here("map_values"), Plain(function))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::map_values`] with the given value first.
    #[track_caller]
    pub fn map_values<B: Send + 'static, F: Fn(&E::Value, V) -> B + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, B)> + use<K, V, P, E, B, F>> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.itemwise::<MappingValues, _>(Op::here("map_values"), self.given(function))
    }
}
