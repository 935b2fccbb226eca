//! What an aggregation by key is: a left fold over the values of each key.

use crate::call::Callable;
use crate::row::Row;
use tryworks_base::Op;

/// A left fold over the values of a key.
pub trait Aggregate<V>: Callable {
    /// What is folded into. It is written to a spill file when memory is short.
    type State: Row;
    /// What comes out.
    type Out: Send + 'static;
    /// Whether the state takes more memory with each value.
    const GROWS: bool;

    /// Begins with the first value.
    fn create(&self, op: &Op, value: V) -> Self::State;
    /// Goes on with the next one.
    fn fold(&self, op: &Op, state: &mut Self::State, value: V);
    /// Ends.
    fn finish(&self, state: Self::State) -> Self::Out;
}
