//! The rows of a map task by shard. A shard is a run of buckets; the running fold folds each shard for itself.

use super::hash::Buckets;
use super::keep::Keep;
use super::write::Counts;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::memory::Reservation;

/// About how many shards there are for many rows, unless there are fewer buckets. The table of a shard then stays in the
/// CPU's caches while it is folded, and many tasks can fold at once.
const SHARDS: u32 = 256;
/// Outputs of fewer rows get few shards, because each shard costs some time.
const FEW_ROWS: usize = 8_192;
const FEW_SHARDS: u32 = 8;

/// Rows that a map task hands on, by shard. In each shard, first come keys that are all different, then other rows with
/// other keys, both in the order of arrival.
pub(crate) struct Run<K, V> {
    pub(crate) rows: Vec<Vec<(K, V)>>,
    pub(crate) held: Arc<Reservation>,
}

/// How buckets are divided into shards.
#[derive(Clone, Copy)]
pub(crate) struct Shards {
    /// The buckets of a shard. The last shard may have fewer.
    pub(crate) each: u32,
    pub(crate) count: u32,
}

impl Shards {
    /// For outputs of about so many rows.
    pub(crate) fn of(buckets: Buckets, rows: usize) -> Self {
        let wanted = if rows < FEW_ROWS { FEW_SHARDS } else { SHARDS };
        let each = buckets.count().div_ceil(wanted).max(1);
        Shards { each, count: buckets.count().div_ceil(each) }
    }
}

/// Divides rows into shards: first all of them are counted, so that each vector has the right capacity.
pub(crate) struct Sharded<'a, M, K, V> {
    buckets: Buckets,
    shards: Shards,
    counts: &'a mut Counts,
    /// The shard of each row.
    places: Vec<u16>,
    rows: Vec<u32>,
    kind: PhantomData<fn(M, K, V)>,
}

impl<'a, M: Keep<K>, K, V> Sharded<'a, M, K, V> {
    pub(crate) fn new(buckets: Buckets, shards: Shards, counts: &'a mut Counts) -> Self {
        let rows = vec![0; shards.count as usize];
        Sharded { buckets, shards, counts, places: Vec::new(), rows, kind: PhantomData }
    }

    /// Counts rows.
    pub(crate) fn add(&mut self, rows: &[(M::Kept, V)]) {
        self.places.reserve(rows.len());
        for (key, _) in rows {
            let bucket = self.buckets.of(M::key_hash(key));
            self.counts.add(bucket, 1);
            let shard = bucket as u32 / self.shards.each;
            self.places.push(shard as u16);
            self.rows[shard as usize] += 1;
        }
    }

    /// The rows that were counted, by shard. They must come in the same order.
    pub(crate) fn fill(self, rows: impl Iterator<Item = (M::Kept, V)>) -> Vec<Vec<(M::Kept, V)>> {
        let mut by_shard = Vec::with_capacity(self.rows.len());
        for rows in self.rows {
            by_shard.push(Vec::with_capacity(rows as usize));
        }
        for (row, shard) in rows.zip(self.places) {
            by_shard[shard as usize].push(row);
        }
        by_shard
    }
}
