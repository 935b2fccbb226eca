//! The bucket of a key: a hash with a fixed seed, divided into readers and their sub-partitions.

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// About how many buckets a map task's rows are divided into, unless there are more readers.
const TARGET: u32 = 512;

/// The hash of a key. It is the same in every process and every run.
#[inline(always)]
pub(crate) fn hash_of<K: Hash>(key: &K) -> u64 {
    const STATE: FixedState = FixedState::with_seed(0x7279_776f_726b_7331);
    STATE.hash_one(key)
}

/// How an exchange is divided: the number of readers, and the sub-partitions of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    /// The partitions of the reading stage.
    pub(crate) readers: u32,
    /// The buckets of each reader.
    pub(crate) each: u32,
}

impl Buckets {
    /// For a hash exchange.
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

    /// The bucket of a hash. It uses the middle bits, because tables use the lowest and the highest.
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
