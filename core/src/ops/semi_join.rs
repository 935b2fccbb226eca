//! `semi_join`: keeps the pairs whose keys another dataset has.

use super::distinct::Once;
use super::each::{At, Each, Itemwise, Nothing};
use crate::dataset::Dataset;
use crate::exchange::KeyedSide;
use crate::join::Semi;
use crate::pipe::{Flow, Pipe};
use crate::row::{Key, Row};
use tryworks_base::{Op, Result};

/// Keeps the keys of pairs, as pairs.
pub struct KeyAlone;

impl<K: Send + 'static, V: Send + 'static> Itemwise<(K, V), Nothing> for KeyAlone {
    const KEEPS_PARTITIONING: bool = true;
    type Out = (K, ());
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((K, ())) -> Flow>(
        _: &mut (),
        _: &At,
        _: &Nothing,
        (key, _): (K, V),
        sink: &mut S,
    ) -> Result<Flow> {
        Ok(sink((key, ())))
    }
}

impl<K: Key, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The keys of the pairs, as the right side of a join: each map task leaves a key once.
    pub(super) fn keys_once(&self, op: Op, readers: u32) -> KeyedSide<(K, ())> {
        self.of(Each::<_, _, KeyAlone>::new(self.pipe.clone(), Nothing, op)).combined(Once, op, readers)
    }
}

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Keeps the pairs whose key `other` has, whatever its values are. Only the keys of `other` are shuffled.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40), (2, 41)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (2, 'B'), (3, 'P')]);
    /// assert_eq!(ages.semi_join(&names).collect()?, [(2, 40), (2, 41)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn semi_join<W: Send + 'static, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let (op, readers) = (Op::here("semi_join"), self.join_readers(&other.node));
        let (left, right) = (self.scattered(readers), other.keys_once(op, readers));
        self.joined::<Semi, _, _, _, _>(op, readers, other, left, right)
    }
}
