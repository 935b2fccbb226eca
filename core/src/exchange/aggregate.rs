//! Aggregations by key: a left fold over the values of each key.

use crate::call::Callable;
use crate::row::Row;
use tryworks_base::Op;

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
    fn fold(&self, op: &Op, state: &mut Self::State, value: V);
    /// Ends a fold.
    fn finish(&self, state: Self::State) -> Self::Out;
}
