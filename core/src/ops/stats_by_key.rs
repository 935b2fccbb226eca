//! `stats_by_key`: count, mean, variance and extremes of the values of each key.

use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Merge};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::ship;
use crate::stats::{Number, Stats};
use tryworks_base::{Op, Result};

/// What `stats_by_key` does to the values of a key.
#[derive(Clone)]
pub struct Measuring;

ship!([] Measuring {});

impl Callable for Measuring {}

impl<V: Number> Aggregate<V> for Measuring {
    type State = Stats;
    type Out = Stats;
    const GROWS: bool = false;

    #[inline(always)]
    fn create(&self, op: &Op, value: V) -> Stats {
        let mut stats = Stats::default();
        stats.add(op.call(|| value.to_f64()));
        stats
    }

    #[inline(always)]
    fn fold(&self, op: &Op, state: &mut Stats, value: V) -> Result<()> {
        state.add(op.call(|| value.to_f64()));
        Ok(())
    }

    fn finish(&self, state: Stats) -> Stats {
        state
    }
}

impl<V: Number> Merge<V> for Measuring {
    fn merge(&self, _: &Op, state: &mut Stats, later: Stats) -> Result<()> {
        state.merge(&later);
        Ok(())
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Count, sum, mean, variance and extremes of the values of each key, in one pass.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let stats = cx.range(0..10).map(|n| (n % 2, n)).stats_by_key().sort_by_key().collect()?;
    /// assert_eq!((stats[1].1.count(), stats[1].1.mean(), stats[1].1.max()), (5, Some(5.0), Some(9.0)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stats_by_key(&self) -> Dataset<impl Pipe<Item = (K, Stats)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Number,
    {
        self.folded_by_key(Op::here("stats_by_key"), Measuring)
    }
}
