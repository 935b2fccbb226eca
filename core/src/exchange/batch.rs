//! A batch of rows to fold into a table: all rows are looked up first, so that cache misses overlap.

use super::aggregate::Aggregate;
use super::hash::hash_of;
use super::table::Table;
use crate::row::Key;
use tryworks_base::{Op, Result};

/// How many rows are looked up at a time.
pub(crate) const TOGETHER: usize = 256;
/// The most bytes that rows waiting to be looked up point to.
pub(crate) const TOGETHER_BYTES: u64 = 1 << 20;

/// The positions in a table of the rows of a batch.
#[derive(Default)]
pub(crate) struct Batch {
    hashes: Vec<u64>,
    found: Vec<u32>,
}

impl Batch {
    /// Looks up the rows that will be folded next.
    #[inline]
    pub(crate) fn look_up<K: Key, V, S>(&mut self, rows: &[(K, V)], table: &Table<K, S>) {
        self.hashes.clear();
        self.hashes.extend(rows.iter().map(|(key, _)| hash_of(key)));
        table.find_all(&self.hashes, &mut self.found);
        table.confirm(&mut self.found, rows.iter().map(|(key, _)| key));
    }

    /// Folds the rows that were looked up. They must be the same rows, in the same order.
    #[inline]
    pub(crate) fn fold<K: Key, V, A: Aggregate<V>>(
        &self,
        rows: impl Iterator<Item = (K, V)>,
        table: &mut Table<K, A::State>,
        aggregate: &A,
        op: &Op,
    ) -> Result<()> {
        for ((key, value), (&hash, &found)) in rows.zip(self.hashes.iter().zip(&self.found)) {
            match table.get_confirmed(found, hash, &key) {
                Some(state) => aggregate.fold(op, state, value)?,
                None => table.insert(hash, key, aggregate.create(op, value)),
            }
        }
        Ok(())
    }
}
