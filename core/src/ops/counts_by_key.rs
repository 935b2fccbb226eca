//! `counts_by_key`: how many values each key has.

use super::each::{At, Each, Itemwise, Nothing};
use crate::dataset::Dataset;
use crate::pipe::{Flow, Pipe};
use crate::row::Key;
use crate::ship::Plain;
use tryworks_base::{Op, Result};

/// Adds two counts.
pub(super) fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Turns a value into a count of one.
struct One;

impl<K: Send + 'static, V: Send + 'static> Itemwise<(K, V), Nothing> for One {
    type Out = (K, u64);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((K, u64)) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: (K, V), sink: &mut S) -> Result<Flow> {
        Ok(sink((item.0, 1)))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The number of values of each key. The action [`count_by_key`](Dataset::count_by_key) returns the same as a map.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 3, n.to_string()));
    /// assert_eq!(pairs.counts_by_key().sort_by_key().collect()?, [(0, 4), (1, 3), (2, 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn counts_by_key(&self) -> Dataset<impl Pipe<Item = (K, u64)> + use<K, V, P>>
    where
        K: Key,
    {
        self.counted_by_key(Op::here("counts_by_key"))
    }

    pub(crate) fn counted_by_key(&self, op: Op) -> Dataset<impl Pipe<Item = (K, u64)> + use<K, V, P>>
    where
        K: Key,
    {
        self.of(Each::<_, _, One>::new(self.pipe.clone(), Nothing, op)).reduced_by_key(op, Plain(add))
    }
}
