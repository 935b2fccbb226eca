//! `aggregate_by_key`: folds the values of each key into a value of another type, beginning with a given one.

use super::combine_by_key::Functions;
use crate::call::{Beside, Env, NoValue, Value};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, captures_nothing};
use crate::with::With;
use std::sync::Arc;
use tryworks_base::Op;

/// Puts `zero` in the place of a state during a call that takes the state by value.
#[inline(always)]
fn taken<S: Clone>(state: &mut S, zero: &S) -> S {
    // A copy of a state that owns nothing is cheaper than two moves, and one of `zero` is small.
    if std::mem::needs_drop::<S>() { std::mem::replace(state, zero.clone()) } else { state.clone() }
}

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Folds the values of each key into `zero` by `fold`, and merges the results of map tasks by `merge`.
    pub(super) fn aggregated_by_key<E, S, F, M>(
        &self,
        op: Op,
        env: E,
        zero: S,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, E, S, F, M>>
    where
        E: Env,
        S: Row,
        F: Fn(&E::Value, S, V) -> S + NoCaptures,
        M: Fn(&E::Value, S, S) -> S + NoCaptures,
    {
        let given = self.giving(op, &zero);
        given.folded_by_key(
            op,
            Functions {
                env: Beside { own: Value(Arc::new(zero)), env },
                create: move |at: &Beside<S, E>, value| fold(at.env.get(), at.own.get().clone(), value),
                fold: move |at: &Beside<S, E>, state: &mut S, value| {
                    *state = fold(at.env.get(), taken(state, at.own.get()), value);
                },
                merge: move |at: &Beside<S, E>, state: &mut S, later| {
                    *state = merge(at.env.get(), taken(state, at.own.get()), later);
                },
            },
        )
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Folds the values of each key into `zero` by `fold`. Where that helps, each map task folds its own values before
    /// the shuffle, and `merge` adds the result of later values. So `zero` may take part any number of times, and has
    /// to be neutral.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// let sums = pairs.aggregate_by_key((0, 0), |(sum, count), n| (sum + n, count + 1), |a, b| (a.0 + b.0, a.1 + b.1));
    /// assert_eq!(sums.sort_by_key().collect()?, [(0, (20, 5)), (1, (25, 5))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_by_key<S: Row, F: Fn(S, V) -> S + NoCaptures, M: Fn(S, S) -> S + NoCaptures>(
        &self,
        zero: S,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, S, F, M>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<M>(GIVE_IT) }
        let (fold, merge) = (move |(): &(), state, value| fold(state, value), move |(): &(), a, b| merge(a, b));
        self.aggregated_by_key(Op::here("aggregate_by_key"), NoValue, zero, fold, merge)
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::aggregate_by_key`] with the given value first, in both functions.
    #[track_caller]
    pub fn aggregate_by_key<
        S: Row,
        F: Fn(&E::Value, S, V) -> S + NoCaptures,
        M: Fn(&E::Value, S, S) -> S + NoCaptures,
    >(
        &self,
        zero: S,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, E, S, F, M>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<M>(GIVE_IT) }
        self.data.aggregated_by_key(Op::here("aggregate_by_key"), self.env.clone(), zero, fold, merge)
    }
}
