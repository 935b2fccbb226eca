//! `combine_by_key`: folds the values of each key into a state that is made from the first one.

use super::each::{At, Each, Itemwise};
use super::map_values::MappingValues;
use crate::call::{Callable, Env, NoValue};
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Grouped, Merge, Merging};
use crate::lineage::Partitioning;
use crate::pipe::{Flow, Pipe};
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing, ship};
use crate::with::With;
use tryworks_base::{Op, Result, TaskSite};

/// The functions of an aggregation, and the one value that all of them get.
#[derive(Clone)]
pub struct Functions<E, C, F, M> {
    pub(super) env: E,
    pub(super) create: C,
    pub(super) fold: F,
    pub(super) merge: M,
}

ship!([E: Env, C: NoCaptures, F: NoCaptures, M: NoCaptures] Functions<E, C, F, M> {
    env: ship, create: code, fold: code, merge: code
});

impl<E: Env, C: NoCaptures, F: NoCaptures, M: NoCaptures> Callable for Functions<E, C, F, M> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.env.ready(op, place)
    }
}

impl<E, C, F, M, V, S> Aggregate<V> for Functions<E, C, F, M>
where
    E: Env,
    V: Row,
    S: Row,
    C: Fn(&E::Value, V) -> S + NoCaptures,
    F: Fn(&E::Value, &mut S, V) + NoCaptures,
    M: NoCaptures,
{
    type State = S;
    type Out = S;
    const GROWS: bool = false;

    #[inline(always)]
    fn create(&self, op: &Op, value: V) -> S {
        op.call(|| (self.create)(self.env.get(), value))
    }

    #[inline(always)]
    fn fold(&self, op: &Op, state: &mut S, value: V) -> Result<()> {
        op.call(|| (self.fold)(self.env.get(), state, value));
        Ok(())
    }

    fn finish(&self, state: S) -> S {
        state
    }
}

impl<E, C, F, M, V, S> Merge<V> for Functions<E, C, F, M>
where
    E: Env,
    V: Row,
    S: Row,
    C: Fn(&E::Value, V) -> S + NoCaptures,
    F: Fn(&E::Value, &mut S, V) + NoCaptures,
    M: Fn(&E::Value, &mut S, S) + NoCaptures,
{
    #[inline(always)]
    fn merge(&self, op: &Op, state: &mut S, later: S) -> Result<()> {
        op.call(|| (self.merge)(self.env.get(), state, later));
        Ok(())
    }
}

/// What an aggregation does to a value of a dataset that is already partitioned by key: it begins a state.
pub struct Creating;

impl<K: Send + 'static, V, A: Aggregate<V>> Itemwise<(K, V), A> for Creating {
    type Out = (K, A::State);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(Self::Out) -> Flow>(
        _: &mut (),
        at: &At,
        aggregate: &A,
        (key, value): (K, V),
        sink: &mut S,
    ) -> Result<Flow> {
        Ok(sink((key, aggregate.create(&at.op, value))))
    }
}

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The result of an aggregation for each key. Map tasks fold their own values, and readers merge the states.
    pub(super) fn folded_by_key<A: Merge<V>>(
        &self,
        op: Op,
        aggregate: A,
    ) -> Dataset<Grouped<K, A::State, Merging<A, V>>> {
        let readers = self.readers();
        let partitioning = Some(Partitioning::Hash(readers));
        let side = if self.node.partitioning == partitioning {
            self.of(Each::<_, _, Creating>::new(self.pipe.clone(), aggregate.clone(), op)).in_place()
        } else {
            self.folded_before(aggregate.clone(), op, readers)
        };
        self.grouped(side, Merging::new(aggregate), op, readers, partitioning)
    }

    fn combined_by_key<E, S, C, F, M>(
        &self,
        op: Op,
        env: E,
        create: C,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, E, S, C, F, M>>
    where
        E: Env,
        S: Row,
        C: Fn(&E::Value, V) -> S + NoCaptures,
        F: Fn(&E::Value, S, V) -> S + NoCaptures,
        M: Fn(&E::Value, S, S) -> S + NoCaptures,
    {
        // The functions take a state by value, so it has to be taken out of its place during a call.
        let functions = Functions {
            env,
            create: move |env: &E::Value, value: V| Some(create(env, value)),
            fold: move |env: &E::Value, state: &mut Option<S>, value: V| {
                *state = state.take().map(|before| fold(env, before, value));
            },
            merge: move |env: &E::Value, state: &mut Option<S>, later: Option<S>| {
                *state = state.take().zip(later).map(|(before, later)| merge(env, before, later));
            },
        };
        let folded = self.folded_by_key(op, functions);
        let there = |state: Option<S>| state.unwrap_or_else(|| unreachable!("it is only taken to be put back"));
        folded.of(Each::<_, _, MappingValues>::new(folded.pipe.clone(), Plain(there), op))
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Folds the values of each key into a state of another type. `create` makes a state from a value, `fold` adds
    /// a value to a state, and `merge` adds the state of later values. Where that helps, each map task folds its own
    /// values before the shuffle. So a state may come from any run of a key's values, and `create` is called for each
    /// of these runs: it must not matter how the values are divided.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..6).map(|n| (n % 2, n));
    /// let joined = pairs.combine_by_key(|n| n.to_string(), |text, n| text + &n.to_string(), |a, b| a + &b);
    /// assert_eq!(joined.sort_by_key().collect()?, [(0, "024".to_string()), (1, "135".to_string())]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn combine_by_key<
        S: Row,
        C: Fn(V) -> S + NoCaptures,
        F: Fn(S, V) -> S + NoCaptures,
        M: Fn(S, S) -> S + NoCaptures,
    >(
        &self,
        create: C,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, S, C, F, M>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<C>(GIVE_IT) }
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<M>(GIVE_IT) }
        let create = move |(): &(), value| create(value);
        let (fold, merge) = (move |(): &(), state, value| fold(state, value), move |(): &(), a, b| merge(a, b));
        self.combined_by_key(Op::here("combine_by_key"), NoValue, create, fold, merge)
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::combine_by_key`] with the given value first, in all functions.
    #[track_caller]
    pub fn combine_by_key<
        S: Row,
        C: Fn(&E::Value, V) -> S + NoCaptures,
        F: Fn(&E::Value, S, V) -> S + NoCaptures,
        M: Fn(&E::Value, S, S) -> S + NoCaptures,
    >(
        &self,
        create: C,
        fold: F,
        merge: M,
    ) -> Dataset<impl Pipe<Item = (K, S)> + use<K, V, P, E, S, C, F, M>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<C>(GIVE_IT) }
        const { captures_nothing::<F>(GIVE_IT) }
        const { captures_nothing::<M>(GIVE_IT) }
        self.data.combined_by_key(Op::here("combine_by_key"), self.env.clone(), create, fold, merge)
    }
}
