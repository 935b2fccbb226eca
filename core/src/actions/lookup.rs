//! `lookup`: the values of one key.

use super::counted::Counted;
use super::job::{Background, Job, PartAction, bytes_of};
use crate::call::Value;
use crate::dataset::Dataset;
use crate::exchange::{Buckets, hash_of};
use crate::heap::heap_bytes;
use crate::lineage::Partitioning;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::{Key, show};
use crate::ship::ship;
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Aspect, Op, Result};

struct Lookup<K> {
    key: Value<K>,
    op: Op,
}

ship!([K: Key] Lookup<K> { key: ship, op: value });

impl<K: Key, V, P> PartAction<P> for Lookup<K>
where
    V: Serialize + DeserializeOwned + Send + 'static,
    P: Pipe<Item = (K, V)>,
{
    type Out = Vec<V>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<V>> {
        let (mut values, mut counted) = (Vec::new(), Counted::new(task));
        drive(&mut cursor, task, &mut |(key, value)| {
            if self.op.call(|| key == *self.key.0) {
                values.push(value);
                counted.count(&values, heap_bytes);
            }
            CONTINUE
        })?;
        Ok(values)
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("key", show(&*self.key.0))]
    }

    fn prove(values: &mut Vec<V>, check: bool) -> Result<()> {
        prove_rows(values, check)
    }

    fn bytes(values: &Vec<V>) -> u64 {
        bytes_of(values)
    }
}

/// # Actions
impl<K: Key, V: Serialize + DeserializeOwned + Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// The values of a key, in their order. If the dataset is partitioned by the hash of the key, as after
    /// [`reduce_by_key`](Dataset::reduce_by_key), this reads one partition.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 3, n));
    /// assert_eq!((pairs.lookup(1)?, pairs.lookup(7)?), (vec![1, 4, 7], vec![]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn lookup(&self, key: K) -> Result<Vec<V>> {
        self.background().looked_up(Op::here("lookup"), key)?.wait()
    }
}

/// # Actions
impl<K: Key, V: Serialize + DeserializeOwned + Send + 'static, P: Pipe<Item = (K, V)>> Background<'_, P> {
    /// [`Dataset::lookup`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn lookup(&self, key: K) -> Result<Job<Vec<V>>> {
        self.looked_up(Op::here("lookup"), key)
    }

    fn looked_up(&self, op: Op, key: K) -> Result<Job<Vec<V>>> {
        self.prove_given(op, &key)?;
        let partitions = match self.data.node.partitioning {
            Some(Partitioning::Hash(readers)) if readers > 0 => {
                let partition = op.call(|| Buckets::plain(readers).of(hash_of(&key))) as u32;
                partition..partition + 1
            }
            _ => 0..self.data.node.partitions,
        };
        let lookup = Lookup { key: Value(Arc::new(key)), op };
        let parts = self.data.begin_tied(op, lookup, partitions, self.tie.clone(), String::new())?;
        Ok(Job::new(parts.control.clone(), move || Ok(parts.in_order()?.into_iter().flatten().collect())))
    }
}
