//! `group_by_key`: all values of each key.

use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Grouped, default_readers};
use crate::lineage::Layout;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{Decoder, Encoder, Ship};
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::group_by_key`].
pub type GroupByKey<K, V> = Grouped<K, V, Gathering>;

/// What `group_by_key` does to the values of a key.
#[derive(Clone)]
pub struct Gathering;

impl Ship for Gathering {
    fn encode(&self, _: &mut Encoder) -> Result<()> {
        Ok(())
    }

    fn decode(_: &mut Decoder) -> Result<Self> {
        Ok(Gathering)
    }
}

impl Callable for Gathering {}

impl<V: Row> Aggregate<V> for Gathering {
    type State = Vec<V>;
    type Out = Vec<V>;
    const GROWS: bool = true;

    fn create(&self, _: &Op, value: V) -> Vec<V> {
        vec![value]
    }

    fn fold(&self, _: &Op, state: &mut Vec<V>, value: V) {
        state.push(value);
    }

    fn finish(&self, state: Vec<V>) -> Vec<V> {
        state
    }
}

impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Gathers the values of each key, in the order in which they come in the input. Where the values are only
    /// folded afterwards, [`reduce_by_key`](Dataset::reduce_by_key) does less work.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let mut groups = cx.range(0..6).map(|n| (n % 2, n)).group_by_key().collect()?;
    /// groups.sort();
    /// assert_eq!(groups, [(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn group_by_key(&self) -> Dataset<GroupByKey<K, V>>
    where
        K: Key,
        V: Row,
    {
        self.gathered(Op::here("group_by_key"), default_readers(&[&self.node]))
    }

    /// [`group_by_key`](Dataset::group_by_key) into a given number of partitions.
    #[track_caller]
    pub fn group_by_key_in(&self, partitions: u32) -> Dataset<GroupByKey<K, V>>
    where
        K: Key,
        V: Row,
    {
        self.gathered(Op::here("group_by_key"), partitions)
    }

    fn gathered(&self, op: Op, readers: u32) -> Dataset<GroupByKey<K, V>>
    where
        K: Key,
        V: Row,
    {
        self.grouped(self.scattered(readers), Gathering, op, readers, Some(Layout::Hash(readers)))
    }
}
