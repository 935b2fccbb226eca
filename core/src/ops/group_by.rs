//! `group_by`: gathers all items that have the same key.

use super::each::Each;
use super::group_by_key::Gathering;
use super::key_by::Keying;
use crate::call::{Call1, Env};
use crate::dataset::Dataset;
use crate::exchange::Grouped;
use crate::lineage::Partitioning;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, Plain, captures_nothing};
use crate::with::With;
use tryworks_base::Op;

/// # Pairs
impl<P: Pipe> Dataset<P> {
    fn grouped_by<K: Key, F>(&self, op: Op, function: F) -> Dataset<Grouped<K, P::Item, Gathering>>
    where
        F: for<'a> Call1<&'a P::Item, Out = K>,
        P::Item: Row,
    {
        let readers = self.readers();
        // However the items are partitioned, they are not partitioned by these keys.
        let keyed = self.of(Each::<_, _, Keying<K>>::new(self.pipe.clone(), function, op));
        keyed.grouped(keyed.shuffled(readers), Gathering, op, readers, Some(Partitioning::Hash(readers)))
    }

    /// Gathers the items of each key, which `function` makes from an item. The items of a key are in their order in the
    /// input.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let groups = cx.range(0..6).group_by(|n| n % 2).sort_by_key();
    /// assert_eq!(groups.collect()?, [(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn group_by<K: Key, F: Fn(&P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, Vec<P::Item>)> + use<P, K, F>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.grouped_by(Op::here("group_by"), Plain(function))
    }
}

/// # Pairs
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::group_by`] with the given value first.
    #[track_caller]
    pub fn group_by<K: Key, F: Fn(&E::Value, &P::Item) -> K + NoCaptures>(
        &self,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, Vec<P::Item>)> + use<P, E, K, F>>
    where
        P::Item: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.grouped_by(Op::here("group_by"), self.given(function))
    }
}
