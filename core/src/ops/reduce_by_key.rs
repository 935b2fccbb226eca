//! `reduce_by_key`: folds the values of each key into one.

use crate::call::{Call2, Callable, Env};
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Grouped, Merge};
use crate::lineage::Partitioning;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::with::With;
use tryworks_base::{Op, Result, TaskSite};

/// What `reduce_by_key` does to the values of a key.
#[derive(Clone)]
pub struct Reducing<F>(F);

ship!([F: Ship] Reducing<F> { 0: ship });

impl<F> Reducing<F> {
    pub(super) fn new(function: F) -> Self {
        Reducing(function)
    }
}

impl<F: Callable> Callable for Reducing<F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.0.ready(op, place)
    }
}

impl<V: Row, F: Call2<V, V, Out = V>> Aggregate<V> for Reducing<F> {
    type State = V;
    type Out = V;
    const GROWS: bool = false;

    #[inline(always)]
    fn create(&self, _: &Op, value: V) -> V {
        value
    }

    #[inline(always)]
    fn fold(&self, op: &Op, state: &mut V, value: V) -> Result<()> {
        // The function takes the state by value, so something has to be in its place during the call. If values own
        // memory, that is a clone of the new value, which is usually smaller than the state.
        let before = if std::mem::needs_drop::<V>() { std::mem::replace(state, value.clone()) } else { state.clone() };
        *state = op.call(|| self.0.call(before, value));
        Ok(())
    }

    #[inline(always)]
    fn finish(&self, state: V) -> V {
        state
    }
}

impl<V: Row, F: Call2<V, V, Out = V>> Merge<V> for Reducing<F> {
    #[inline(always)]
    fn merge(&self, op: &Op, state: &mut V, later: V) -> Result<()> {
        self.fold(op, state, later)
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    pub(crate) fn reduced_by_key<F: Call2<V, V, Out = V>>(
        &self,
        op: Op,
        function: F,
    ) -> Dataset<Grouped<K, V, Reducing<F>>>
    where
        K: Key,
        V: Row,
    {
        let (aggregate, readers) = (Reducing::new(function), self.readers());
        let side = self.combined(aggregate.clone(), op, readers);
        self.grouped(side, aggregate, op, readers, Some(Partitioning::Hash(readers)))
    }

    /// Folds the values of each key into one by `function(before, next)`, which has to be associative. If that helps,
    /// each map task folds its own values before the shuffle. The order of the keys is unspecified, but it is the same
    /// every time.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let words = cx.parallelize(vec![("a".to_string(), 1), ("b".to_string(), 2), ("a".to_string(), 3)]);
    /// let mut sums = words.reduce_by_key(|a, b| a + b).collect()?;
    /// sums.sort();
    /// assert_eq!(sums, [("a".to_string(), 4), ("b".to_string(), 2)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key<F: Fn(V, V) -> V + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, F>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.reduced_by_key(Op::here("reduce_by_key"), Plain(function))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::reduce_by_key`] with the given value first.
    #[track_caller]
    pub fn reduce_by_key<F: Fn(&E::Value, V, V) -> V + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, E, F>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.reduced_by_key(Op::here("reduce_by_key"), self.given(function))
    }
}
