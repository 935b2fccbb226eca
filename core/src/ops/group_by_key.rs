//! `group_by_key`: gathers all values of each key.

use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::Aggregate;
use crate::lineage::Partitioning;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::ship;
use tryworks_base::{Op, Result};

/// What `group_by_key` does to the values of a key.
#[derive(Clone)]
pub struct Gathering;

ship!([] Gathering {});

impl Callable for Gathering {}

impl<V: Row> Aggregate<V> for Gathering {
    type State = Vec<V>;
    type Out = Vec<V>;
    const GROWS: bool = true;

    fn create(&self, _: &Op, value: V) -> Vec<V> {
        vec![value]
    }

    fn fold(&self, _: &Op, state: &mut Vec<V>, value: V) -> Result<()> {
        state.push(value);
        Ok(())
    }

    fn finish(&self, state: Vec<V>) -> Vec<V> {
        state
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Gathers the values of each key, in their order in the input. If you only fold the values afterwards,
    /// [`reduce_by_key`](Dataset::reduce_by_key) does less work.
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
    pub fn group_by_key(&self) -> Dataset<impl Pipe<Item = (K, Vec<V>)> + use<K, V, P>>
    where
        K: Key,
        V: Row,
    {
        let readers = self.readers();
        let partitioning = Some(Partitioning::Hash(readers));
        self.grouped(self.scattered(readers), Gathering, Op::here("group_by_key"), readers, partitioning)
    }
}
