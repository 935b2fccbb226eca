//! Aggregations by key: a left fold over the values of each key.

use crate::call::Callable;
use crate::row::Row;
use crate::ship::{Ship, ship};
use std::marker::PhantomData;
use tryworks_base::{Op, Result, TaskSite};

/// A left fold over the values of a key. An implementation must depend on the values and their order alone: the same
/// fold may run in a map task, in a reader, or again after a loss.
pub trait Aggregate<V>: Callable {
    /// What values are folded into. It goes to a spill file when memory is short.
    type State: Row;
    /// The result for a key.
    type Out: Send + 'static;
    /// Whether the state takes more memory with each value.
    const GROWS: bool;

    /// Begins a fold with the first value of a key.
    fn create(&self, op: &Op, value: V) -> Self::State;
    /// Folds the next value.
    ///
    /// # Errors
    /// If the result would be wrong, such as a sum that does not fit. Whether there is an error must not depend on the
    /// order of the values.
    fn fold(&self, op: &Op, state: &mut Self::State, value: V) -> Result<()>;
    /// Ends a fold.
    fn finish(&self, state: Self::State) -> Self::Out;
}

/// An aggregation whose states can be merged. So map tasks can fold their own values before the shuffle, and readers
/// merge the states. To fold some values and merge the states must give the same as to fold all values, except for the
/// rounding of floats.
pub trait Merge<V>: Aggregate<V> {
    /// Folds the state of later values into a state.
    ///
    /// # Errors
    /// As of [`fold`](Aggregate::fold).
    fn merge(&self, op: &Op, state: &mut Self::State, later: Self::State) -> Result<()>;
}

/// The reading half of a [`Merge`]: an aggregation of the states that map tasks made.
pub struct Merging<A, V> {
    aggregate: A,
    value: PhantomData<fn(V)>,
}

impl<A, V> Merging<A, V> {
    pub(crate) fn new(aggregate: A) -> Self {
        Merging { aggregate, value: PhantomData }
    }
}

impl<A: Clone, V> Clone for Merging<A, V> {
    fn clone(&self) -> Self {
        Merging::new(self.aggregate.clone())
    }
}

ship!([A: Ship, V] Merging<A, V> { aggregate: ship, value: none });

impl<A: Callable, V: 'static> Callable for Merging<A, V> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.aggregate.ready(op, place)
    }
}

impl<A: Merge<V>, V: 'static> Aggregate<A::State> for Merging<A, V> {
    type State = A::State;
    type Out = A::Out;
    const GROWS: bool = A::GROWS;

    #[inline(always)]
    fn create(&self, _: &Op, state: A::State) -> A::State {
        state
    }

    #[inline(always)]
    fn fold(&self, op: &Op, state: &mut A::State, later: A::State) -> Result<()> {
        self.aggregate.merge(op, state, later)
    }

    fn finish(&self, state: A::State) -> A::Out {
        self.aggregate.finish(state)
    }
}
