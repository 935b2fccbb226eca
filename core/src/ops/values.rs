//! `values`: the values of pairs.

use super::each::{At, Itemwise, Nothing};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use tryworks_base::{Op, Result};

/// What `values` does to an item.
pub struct TakingValues;

impl<K: Send + 'static, V: Send + 'static> Itemwise<(K, V), Nothing> for TakingValues {
    type Out = V;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(V) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: (K, V), sink: &mut S) -> Result<Flow> {
        Ok(sink(item.1))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Keeps the values of pairs.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.parallelize(vec![("a".to_string(), 1), ("b".to_string(), 2)]);
    /// assert_eq!(pairs.values().collect()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn values(&self) -> Dataset<impl Pipe<Item = V> + use<K, V, P>> {
        self.itemwise::<TakingValues, _>(Op::here("values"), Nothing)
    }
}
