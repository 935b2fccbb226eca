//! Which bucket a key belongs to: a fixed-seed hash, cut into readers and their sub-partitions.

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// The number of buckets that a map task's rows are cut into, where there are not more readers than that.
const TARGET: u32 = 512;

/// The hash of a key, the same in every process and run.
#[inline(always)]
pub(crate) fn hash_of<K: Hash>(key: &K) -> u64 {
    const STATE: FixedState = FixedState::with_seed(0x7279_776f_726b_7331);
    STATE.hash_one(key)
}

/// The cut of an exchange: so many readers, each with so many sub-partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    /// Partitions of the stage that reads.
    pub(crate) readers: u32,
    /// Buckets for each of them.
    pub(crate) each: u32,
}

impl Buckets {
    /// The cut of a hash exchange.
    pub(crate) fn hashed(readers: u32) -> Self {
        Buckets { readers, each: (TARGET / readers.max(1)).max(1).next_power_of_two() }
    }

    /// One bucket for each reader.
    pub(crate) fn plain(readers: u32) -> Self {
        Buckets { readers, each: 1 }
    }

    pub(crate) fn count(self) -> u32 {
        self.readers * self.each
    }

    /// The bucket of a hash. Uses bits from the middle: the tables use the lowest and the highest.
    #[inline]
    pub(crate) fn of(self, hash: u64) -> usize {
        ((u64::from((hash >> 25) as u32) * u64::from(self.count())) >> 32) as usize
    }

    /// The buckets of a reader.
    pub(crate) fn of_reader(self, reader: u32) -> Range<u32> {
        reader * self.each..(reader + 1) * self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_evenly_and_stay_with_their_reader() {
        for readers in [1, 3, 64, 500, 1000] {
            let buckets = Buckets::hashed(readers);
            let mut seen = vec![0u32; buckets.count() as usize];
            for key in 0..200_000u64 {
                let bucket = buckets.of(hash_of(&key));
                seen[bucket] += 1;
                let reader = bucket as u32 / buckets.each;
                assert_eq!(reader as usize, Buckets::plain(readers).of(hash_of(&key)));
            }
            let mean = 200_000 / buckets.count();
            assert!(seen.iter().all(|&n| n > mean / 2 && n < mean * 2), "{readers}: {seen:?}");
        }
    }
}
