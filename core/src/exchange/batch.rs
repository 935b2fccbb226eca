//! A batch of rows to fold into a table: all rows are looked up first, so that cache misses overlap.

use super::aggregate::Aggregate;
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
    /// Notes a row that will be folded next, by the hash of its key. The first step of looking it up.
    #[inline(always)]
    pub(crate) fn push<K: Key, S>(&mut self, hash: u64, table: &Table<K, S>) {
        table.prefetch_index(hash);
        self.hashes.push(hash);
    }

    /// The second step, for all rows that were noted.
    #[inline]
    pub(crate) fn look_up<K: Key, S>(&mut self, table: &Table<K, S>) {
        self.likely.clear();
        self.likely.extend(self.hashes.iter().map(|&hash| table.prefetch_entry(hash)));
    }

    /// Folds the rows that were looked up, and begins a new batch. They must be the same rows, in the same order. If the table has `most` keys,
    /// rows of other keys go to `others`.
    #[inline]
    pub(crate) fn fold<K: Key, V, A: Aggregate<V>>(
        &mut self,
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
        self.hashes.clear();
        Ok(())
    }
}
