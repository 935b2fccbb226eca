//! A batch of rows to fold into a table: all rows are looked up first, so that cache misses overlap.

use super::aggregate::Aggregate;
use super::hash::hash_of;
use super::table::Table;
use crate::row::Key;
use tryworks_base::{Op, Result};

/// How many rows are looked up at a time.
pub(crate) const TOGETHER: usize = 128;
/// The most bytes that rows waiting to be looked up point to.
pub(crate) const TOGETHER_BYTES: u64 = 1 << 20;

/// The hashes of a batch of rows, and where they are likely to be in a table.
#[derive(Default)]
pub(crate) struct Batch {
    hashes: Vec<u64>,
    likely: Vec<u32>,
}

impl Batch {
    /// Looks up the rows that will be folded next.
    #[inline]
    pub(crate) fn look_up<K: Key, V, S>(&mut self, rows: &[(K, V)], table: &Table<K, S>) {
        self.hashes.clear();
        self.hashes.extend(rows.iter().map(|(key, _)| hash_of(key)));
        table.find_all(&self.hashes, &mut self.likely);
    }

    /// Folds the rows that were looked up. They must be the same rows, in the same order. If the table has `most` keys,
    /// rows of other keys go to `others`.
    #[inline]
    pub(crate) fn fold<K: Key, V, A: Aggregate<V>>(
        &self,
        rows: impl Iterator<Item = (K, V)>,
        table: &mut Table<K, A::State>,
        most: usize,
        others: &mut Vec<(K, A::State)>,
        aggregate: &A,
        op: &Op,
    ) -> Result<()> {
        for ((key, value), (&hash, &likely)) in rows.zip(self.hashes.iter().zip(&self.likely)) {
            let full = table.len() >= most;
            match table.get_likely(likely, hash, &key) {
                Some(state) => aggregate.fold(op, state, value)?,
                None if !full => table.insert(hash, key, aggregate.create(op, value)),
                None => others.push((key, aggregate.create(op, value))),
            }
        }
        Ok(())
    }
}
