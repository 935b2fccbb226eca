//! `sum_by_key`: adds up the values of each key; an error if a sum does not fit.

use super::each::{At, Each, Itemwise, Nothing};
use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Merge};
use crate::pipe::{Flow, Pipe};
use crate::row::{Key, Row, show};
use crate::ship::ship;
use crate::summand::{Summand, too_large};
use tryworks_base::{Op, Result};

/// What `sum_by_key` does to the values of a key.
#[derive(Clone)]
pub struct Adding;

ship!([] Adding {});

impl Callable for Adding {}

impl<V: Summand> Aggregate<V> for Adding {
    type State = V::Sum;
    type Out = V::Sum;
    const GROWS: bool = false;

    #[inline(always)]
    fn create(&self, op: &Op, value: V) -> V::Sum {
        // The sum of one number always fits.
        op.call(|| V::add(V::nothing(), value)).unwrap_or_else(V::nothing)
    }

    #[inline(always)]
    fn fold(&self, op: &Op, state: &mut V::Sum, value: V) -> Result<()> {
        *state = op.call(|| V::add(state.clone(), value)).ok_or_else(|| too_large::<V>(op, " of a key"))?;
        Ok(())
    }

    fn finish(&self, state: V::Sum) -> V::Sum {
        state
    }
}

impl<V: Summand> Merge<V> for Adding {
    #[inline(always)]
    fn merge(&self, op: &Op, state: &mut V::Sum, later: V::Sum) -> Result<()> {
        *state = op.call(|| V::join(state.clone(), later)).ok_or_else(|| too_large::<V>(op, " of a key"))?;
        Ok(())
    }
}

/// Turns sums into the type of the numbers.
pub struct Ending<V>(std::marker::PhantomData<fn() -> V>);

impl<K: Key, V: Summand> Itemwise<(K, V::Sum), Nothing> for Ending<V> {
    const KEEPS_PARTITIONING: bool = true;
    type Out = (K, V);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((K, V)) -> Flow>(
        _: &mut (),
        at: &At,
        _: &Nothing,
        (key, sum): (K, V::Sum),
        sink: &mut S,
    ) -> Result<Flow> {
        match at.op.call(|| V::end(sum)) {
            Some(sum) => Ok(sink((key, sum))),
            None => Err(too_large::<V>(&at.op, &format!(" of the key {}", show(&key)))),
        }
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The sum of the values of each key. If one does not fit into the type of the values, the action returns an error
    /// that names this call. As for [`sum`](Dataset::sum), this depends neither on the order of the values nor on their
    /// partitions.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.sum_by_key().sort_by_key().collect()?, [(0, 20), (1, 25)]);
    /// let error = pairs.map_values(|n| n as i8 * 10).sum_by_key().count().unwrap_err();
    /// assert!(error.to_string().starts_with("sum_by_key: the sum of the key 0 does not fit into `i8`"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P>>
    where
        K: Key,
        V: Row + Summand,
    {
        let op = Op::here("sum_by_key");
        let sums = self.folded_by_key(op, Adding);
        sums.of(Each::<_, _, Ending<V>>::new(sums.pipe.clone(), Nothing, op))
    }
}
