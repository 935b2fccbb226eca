//! `keys`: the keys of pairs.

use super::each::{At, Itemwise, Nothing};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use tryworks_base::{Op, Result};

/// What `keys` does to an item.
pub struct TakingKeys;

impl<K: Send + 'static, V: Send + 'static> Itemwise<(K, V), Nothing> for TakingKeys {
    type Out = K;
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(K) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: (K, V), sink: &mut S) -> Result<Flow> {
        Ok(sink(item.0))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Keeps the keys of pairs.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.parallelize(vec![("a".to_string(), 1), ("b".to_string(), 2)]);
    /// assert_eq!(pairs.keys().collect()?, ["a", "b"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn keys(&self) -> Dataset<impl Pipe<Item = K> + use<K, V, P>> {
        self.itemwise::<TakingKeys, _>(Op::here("keys"), Nothing)
    }
}
