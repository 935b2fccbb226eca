//! The samples of keys from which the bounds of a sort are picked.

use crate::heap::bytes_of;
use crate::row::Row;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// All of the first rows are samples, so that small inputs are divided exactly.
const SAMPLE_ALL: u64 = 256;
/// After the first rows, one row in this many is a sample, on average.
const SAMPLE_EVERY: u32 = 128;
/// The most bytes of a map task's samples, unless a single key is larger. If they take more, half of them are dropped,
/// and fewer rows are samples from then on. With few samples ranges are less even.
const SAMPLE_BYTES: u64 = 2 << 20;

/// Takes the samples. Which rows are samples depends on the row numbers, the keys and the partition alone.
pub(super) struct Sampler<K> {
    random: Xoshiro256PlusPlus,
    /// Keys, each with the number of rows that it represents.
    pub(super) samples: Vec<(K, u32)>,
    /// The bytes of the samples.
    pub(super) bytes: u64,
    next: u64,
    gap: u32,
    /// How many times fewer rows are samples than if keys were small.
    fewer: u32,
}

impl<K: Row> Sampler<K> {
    pub(super) fn new(partition: u32) -> Self {
        Sampler {
            random: Xoshiro256PlusPlus::seed_from_u64(u64::from(partition)),
            samples: Vec::new(),
            bytes: 0,
            next: 0,
            gap: 1,
            fewer: 1,
        }
    }

    /// Takes row number `row` as a sample, if it is one.
    #[inline]
    pub(super) fn look(&mut self, row: u64, key: &K) {
        if row == self.next {
            self.take(row, key);
        }
    }

    fn take(&mut self, row: u64, key: &K) {
        self.samples.push((key.clone(), self.gap));
        self.bytes += bytes_of(key);
        while self.bytes > SAMPLE_BYTES && self.samples.len() > 1 {
            self.thin();
        }
        // Gaps are random, so that no period of the data can match them.
        let mean = if row < SAMPLE_ALL { self.fewer } else { SAMPLE_EVERY.saturating_mul(self.fewer) };
        self.gap = if mean == 1 { 1 } else { self.random.random_range(1..mean.saturating_mul(2)) };
        self.next += u64::from(self.gap);
    }

    /// Drops one sample of each two neighbours, and the other one represents the rows of both.
    #[cold]
    fn thin(&mut self) {
        self.fewer = self.fewer.saturating_mul(2);
        let mut rest = std::mem::take(&mut self.samples).into_iter();
        while let Some(first) = rest.next() {
            let Some(second) = rest.next() else {
                self.samples.push(first);
                break;
            };
            let rows = first.1.saturating_add(second.1);
            let kept = if self.random.random::<bool>() { first } else { second };
            self.samples.push((kept.0, rows));
        }
        self.bytes = self.samples.iter().map(|(key, _)| bytes_of(key)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled<K: Row>(rows: u64, key: impl Fn(u64) -> K) -> Sampler<K> {
        let mut sampler = Sampler::new(3);
        (0..rows).for_each(|row| sampler.look(row, &key(row)));
        sampler
    }

    #[test]
    fn samples_of_large_keys_are_fewer_and_still_represent_the_rows() {
        for (rows, bytes) in [(1000, 1 << 10), (1000, 100 << 10), (20_000, 20 << 10), (100, 1 << 20), (10, 8 << 20)] {
            let large = "x".repeat(bytes);
            let sampler = sampled(rows, |row| (row, large.clone()));
            let samples = &sampler.samples;
            assert!(sampler.bytes <= SAMPLE_BYTES || samples.len() == 1, "{} bytes of {bytes}", sampler.bytes);
            assert!(!samples.is_empty() && samples.is_sorted_by_key(|sample| sample.0.0));
            let weight: u64 = samples.iter().map(|sample| u64::from(sample.1)).sum();
            assert!(weight <= rows + 1 && weight > 0, "{weight} of {rows}");
        }
        // Where there are many samples, they are spread evenly.
        let large = "x".repeat(20 << 10);
        let sampler = sampled(20_000, |row| (row, large.clone()));
        let early = sampler.samples.iter().filter(|sample| sample.0.0 < 10_000).map(|sample| sample.1).sum::<u32>();
        let all = sampler.samples.iter().map(|sample| sample.1).sum::<u32>();
        assert!(sampler.samples.len() > 40 && early * 3 > all && early * 3 < 2 * all, "{early} of {all}");
    }

    #[test]
    fn of_small_keys_all_first_rows_are_samples_then_one_in_many() {
        let sampler = sampled(100_000, |row| row);
        assert!((0..256).all(|row| sampler.samples[row].0 == row as u64));
        let later = sampler.samples.len() - 256;
        assert!((600..1000).contains(&later), "{later}");
    }
}
