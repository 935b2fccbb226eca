//! `count_approx_distinct_by_key`: about how many distinct values each key has.

use super::each::Each;
use super::map_values::MappingValues;
use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Merge};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{Plain, ship};
use crate::sketch::{Sketch, registers};
use std::hash::Hash;
use tryworks_base::{Op, Result};

/// What `count_approx_distinct_by_key` does to the values of a key. Its sketches have up to `1 << registers` registers.
#[derive(Clone)]
pub struct Sketching {
    registers: u8,
}

ship!([] Sketching { registers: value });

impl Callable for Sketching {}

impl<V: Row + Hash> Aggregate<V> for Sketching {
    type State = Sketch;
    type Out = Sketch;
    const GROWS: bool = false;

    fn create(&self, op: &Op, value: V) -> Sketch {
        let mut sketch = Sketch::new(self.registers).unwrap_or_else(|_| unreachable!("checked where it was made"));
        op.call(|| sketch.add(&value));
        sketch
    }

    #[inline]
    fn fold(&self, op: &Op, state: &mut Sketch, value: V) -> Result<()> {
        op.call(|| state.add(&value));
        Ok(())
    }

    fn finish(&self, state: Sketch) -> Sketch {
        state
    }
}

impl<V: Row + Hash> Merge<V> for Sketching {
    fn merge(&self, _: &Op, state: &mut Sketch, later: Sketch) -> Result<()> {
        state.merge(&later)
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// About how many distinct values each key has, by a HyperLogLog sketch of each key. `error` is the relative standard
    /// error, such as 0.05: a key with many values takes a kilobyte for 0.03, and a hundred times as much for 0.003. If it
    /// is not from 0.00072 to 0.26, the action returns an error.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10_000).map(|n| (n % 2, n % 1_000));
    /// let about = pairs.count_approx_distinct_by_key(0.02).sort_by_key().collect()?;
    /// assert!(about.iter().all(|(_, count)| (460..540).contains(count)), "{about:?}");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct_by_key(&self, error: f64) -> Dataset<impl Pipe<Item = (K, u64)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Hash,
    {
        let op = Op::here("count_approx_distinct_by_key");
        let (registers, fault) = registers(&op, error).map_or_else(|error| (4, Some(error)), |fits| (fits, None));
        let sketches = self.faulty(op, fault).folded_by_key(op, Sketching { registers });
        let estimate = |sketch: Sketch| sketch.estimate();
        sketches.of(Each::<_, _, MappingValues>::new(sketches.pipe.clone(), Plain(estimate), op))
    }
}
