//! `top_by_key`: the greatest values of each key.

use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Merge};
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::ship;
use tryworks_base::{Op, Result};

/// What `top_by_key` does to the values of a key: it keeps the `n` greatest in descending order.
#[derive(Clone)]
pub struct KeepingTop {
    n: usize,
}

ship!([] KeepingTop { n: value });

impl Callable for KeepingTop {}

impl KeepingTop {
    /// Puts a value where it belongs, after values that are equal to it.
    fn keep<V: Ord>(&self, op: &Op, top: &mut Vec<V>, value: V) {
        op.call(|| {
            if top.len() >= self.n {
                if top.last().is_none_or(|last| value.cmp(last).is_le()) {
                    return;
                }
                top.pop();
            }
            let at = top.partition_point(|other| other.cmp(&value).is_ge());
            top.insert(at, value);
        });
    }
}

impl<V: Row + Ord> Aggregate<V> for KeepingTop {
    type State = Vec<V>;
    type Out = Vec<V>;
    const GROWS: bool = false;

    fn create(&self, op: &Op, value: V) -> Vec<V> {
        let mut top = Vec::new();
        self.keep(op, &mut top, value);
        top
    }

    fn fold(&self, op: &Op, state: &mut Vec<V>, value: V) -> Result<()> {
        self.keep(op, state, value);
        Ok(())
    }

    fn finish(&self, state: Vec<V>) -> Vec<V> {
        state
    }
}

impl<V: Row + Ord> Merge<V> for KeepingTop {
    fn merge(&self, op: &Op, state: &mut Vec<V>, later: Vec<V>) -> Result<()> {
        for value in later {
            self.keep(op, state, value);
        }
        Ok(())
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The `n` greatest values of each key, in descending order; of equal values, earlier ones come first. For the
    /// least values, wrap them in a [`Reverse`](std::cmp::Reverse). Each key keeps `n` values in memory, so `n` should
    /// be small.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.top_by_key(2).sort_by_key().collect()?, [(0, vec![8, 6]), (1, vec![9, 7])]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_by_key(&self, n: usize) -> Dataset<impl Pipe<Item = (K, Vec<V>)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Ord,
    {
        self.folded_by_key(Op::here("top_by_key"), KeepingTop { n })
    }
}
