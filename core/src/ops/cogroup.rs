//! `cogroup`, `cogroup3` and `cogroup4`: gather the values of each key from several datasets.

use super::each::{At, Each, Itemwise, Nothing};
use super::map_values::MappingValues;
use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Grouped};
use crate::lineage::{Node, Partitioning, default_readers};
use crate::pipe::{Flow, Pipe};
use crate::row::{Key, Row};
use crate::ship::{Plain, ship};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::{Op, Result};

/// A value, and which dataset it is from. With fewer than four datasets, the others have values of `()`.
#[derive(Clone, Serialize, Deserialize)]
pub enum Tagged<A, B, C, D> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
    /// The fourth one.
    Fourth(D),
}

/// The values of a key, of each dataset.
type Groups<A, B, C, D> = (Vec<A>, Vec<B>, Vec<C>, Vec<D>);

/// What `cogroup` does to the values of a key.
#[derive(Clone)]
pub struct Cogathering;

ship!([] Cogathering {});

impl Callable for Cogathering {}

impl<A: Row, B: Row, C: Row, D: Row> Aggregate<Tagged<A, B, C, D>> for Cogathering {
    type State = Groups<A, B, C, D>;
    type Out = Groups<A, B, C, D>;
    const GROWS: bool = true;

    fn create(&self, _: &Op, value: Tagged<A, B, C, D>) -> Self::State {
        let mut groups = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        gather(&mut groups, value);
        groups
    }

    fn fold(&self, _: &Op, state: &mut Self::State, value: Tagged<A, B, C, D>) -> Result<()> {
        gather(state, value);
        Ok(())
    }

    fn finish(&self, state: Self::State) -> Self::Out {
        state
    }
}

#[inline]
fn gather<A, B, C, D>(groups: &mut Groups<A, B, C, D>, value: Tagged<A, B, C, D>) {
    match value {
        Tagged::First(value) => groups.0.push(value),
        Tagged::Second(value) => groups.1.push(value),
        Tagged::Third(value) => groups.2.push(value),
        Tagged::Fourth(value) => groups.3.push(value),
    }
}

/// A dataset's number among those that are grouped, as a type: how its values become the values of all.
trait Tag<V>: 'static {
    type Value: Send + 'static;
    fn tag(value: V) -> Self::Value;
}

/// The first, second, third or fourth of datasets with values of these types.
struct Nth<const N: usize, A, B, C, D>(PhantomData<fn() -> (A, B, C, D)>);

macro_rules! tags {
    ($($n:literal, $of:ident, $variant:ident;)*) => {$(
        impl<A: Row, B: Row, C: Row, D: Row> Tag<$of> for Nth<$n, A, B, C, D> {
            type Value = Tagged<A, B, C, D>;

            #[inline(always)]
            fn tag(value: $of) -> Self::Value {
                Tagged::$variant(value)
            }
        }
    )*};
}

tags! { 0, A, First; 1, B, Second; 2, C, Third; 3, D, Fourth; }

/// Notes which dataset a value is from.
struct Tagging<T>(PhantomData<fn() -> T>);

impl<K: Send + 'static, V, T: Tag<V>> Itemwise<(K, V), Nothing> for Tagging<T> {
    const KEEPS_PARTITIONING: bool = true;
    type Out = (K, T::Value);
    type State = ();

    #[inline(always)]
    fn each<S: FnMut(Self::Out) -> Flow>(
        _: &mut (),
        _: &At,
        _: &Nothing,
        (key, value): (K, V),
        sink: &mut S,
    ) -> Result<Flow> {
        Ok(sink((key, T::tag(value))))
    }
}

impl<K: Key, V, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Its values with the number of this dataset.
    fn tagged<T: Tag<V>>(&self, op: Op) -> Dataset<Each<P, Nothing, Tagging<T>>> {
        self.of(Each::new(self.pipe.clone(), Nothing, op))
    }

    /// As [`tagged`](Dataset::tagged), for the dataset whose `shuffle_into` counts.
    fn tagged_first<T: Tag<V>>(&self, op: Op) -> Dataset<Each<P, Nothing, Tagging<T>>> {
        Dataset { shuffle_into: None, ..self.tagged(op) }
    }

    /// How many partitions the groups have.
    fn cogroup_readers(&self, others: &[&Arc<Node>]) -> u32 {
        self.shuffle_into.unwrap_or_else(|| default_readers(&[&[&self.node], others].concat()))
    }
}

/// Gathers the values of all keys.
fn cogathered<K: Key, A: Row, B: Row, C: Row, D: Row, P: Pipe<Item = (K, Tagged<A, B, C, D>)>>(
    all: &Dataset<P>,
    op: Op,
    readers: u32,
) -> Dataset<Grouped<K, Tagged<A, B, C, D>, Cogathering>> {
    all.grouped(all.scattered(readers), Cogathering, op, readers, Some(Partitioning::Hash(readers)))
}

/// # Pairs of several datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Gathers the values of each key of this dataset and of `other`, each in their order. A key comes out if any
    /// dataset has it. If both are already partitioned by key in the same way, there is no shuffle. To pair values, use
    /// [`join`](Dataset::join), which needs not hold those of a key in memory.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40), (2, 41)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// let groups = ages.cogroup(&names).sort_by_key().collect()?;
    /// assert_eq!(groups, [(1, (vec![30], vec![])), (2, (vec![40, 41], vec!['A'])), (3, (vec![], vec!['P']))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup<W: Row, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, (Vec<V>, Vec<W>))> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let op = Op::here("cogroup");
        let readers = self.cogroup_readers(&[&other.node]);
        let first = self.tagged_first::<Nth<0, V, W, (), ()>>(op);
        let groups = cogathered(&first.united(op, &other.tagged::<Nth<1, V, W, (), ()>>(op)), op, readers);
        let two = |groups: Groups<V, W, (), ()>| (groups.0, groups.1);
        groups.of(Each::<_, _, MappingValues>::new(groups.pipe.clone(), Plain(two), op))
    }

    /// [`cogroup`](Dataset::cogroup) with two other datasets.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let n = cx.range(0..2).map(|n| (n, n));
    /// let groups = n.cogroup3(&n.map_values(|n| n + 1), &n.map_values(|n| n + 2)).sort_by_key().collect()?;
    /// assert_eq!(groups, [(0, (vec![0], vec![1], vec![2])), (1, (vec![1], vec![2], vec![3]))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup3<W: Row, Q: Pipe<Item = (K, W)>, X: Row, R: Pipe<Item = (K, X)>>(
        &self,
        second: &Dataset<Q>,
        third: &Dataset<R>,
    ) -> Dataset<impl Pipe<Item = (K, (Vec<V>, Vec<W>, Vec<X>))> + use<K, V, P, W, Q, X, R>>
    where
        K: Key,
        V: Row,
    {
        let op = Op::here("cogroup3");
        let readers = self.cogroup_readers(&[&second.node, &third.node]);
        let two = self.tagged_first::<Nth<0, V, W, X, ()>>(op).united(op, &second.tagged::<Nth<1, V, W, X, ()>>(op));
        let groups = cogathered(&two.united(op, &third.tagged::<Nth<2, V, W, X, ()>>(op)), op, readers);
        let three = |groups: Groups<V, W, X, ()>| (groups.0, groups.1, groups.2);
        groups.of(Each::<_, _, MappingValues>::new(groups.pipe.clone(), Plain(three), op))
    }

    /// [`cogroup`](Dataset::cogroup) with three other datasets.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let n = cx.range(0..2).map(|n| (n, n));
    /// let groups = n.cogroup4(&n, &n.filter(|pair| pair.0 > 0), &n).sort_by_key().collect()?;
    /// assert_eq!(groups[0], (0, (vec![0], vec![0], vec![], vec![0])));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup4<W, Q, X, R, Y, S>(
        &self,
        second: &Dataset<Q>,
        third: &Dataset<R>,
        fourth: &Dataset<S>,
    ) -> Dataset<impl Pipe<Item = (K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))> + use<K, V, P, W, Q, X, R, Y, S>>
    where
        K: Key,
        V: Row,
        W: Row,
        X: Row,
        Y: Row,
        Q: Pipe<Item = (K, W)>,
        R: Pipe<Item = (K, X)>,
        S: Pipe<Item = (K, Y)>,
    {
        let op = Op::here("cogroup4");
        let readers = self.cogroup_readers(&[&second.node, &third.node, &fourth.node]);
        let two = self.tagged_first::<Nth<0, V, W, X, Y>>(op).united(op, &second.tagged::<Nth<1, V, W, X, Y>>(op));
        let others = third.tagged::<Nth<2, V, W, X, Y>>(op).united(op, &fourth.tagged::<Nth<3, V, W, X, Y>>(op));
        cogathered(&two.united(op, &others), op, readers)
    }
}
