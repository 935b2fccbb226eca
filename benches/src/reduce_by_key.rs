//! Benchmark: floating-point sums by key, against hand-written radix partitions and hash tables.

use rayon::prelude::*;
use tryworks::prelude::*;

use crate::{
    data::{mix::mix2, rows::measurement},
    harness::{Answer, Bench, Outcome, Pair, Settings},
    scatter::{hash, scatter},
};

/// Rows.
const ROWS: u64 = 20_000_000;
/// Distinct keys among them.
const KEYS: u64 = 1_000_000;
/// Radix partitions, as bits: a partition's table fits into the second-level cache.
const PARTITION_BITS: u32 = 6;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let (rows, keys) = (settings.scaled(ROWS), settings.scaled(KEYS));
    let cx = settings.context()?;
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || ours(&cx, rows, keys))),
        twin: Box::new(move || Ok(twin(rows, keys))),
        after: None,
        goal: Some(0.8),
        cpu: true,
    }))
}

fn ours(cx: &Context, rows: u64, keys: u64) -> Outcome<Answer> {
    let sums = cx.range(0..rows).with(keys).map(|keys, index| measurement(index, *keys)).reduce_by_key(|a, b| a + b);
    let (count, checksum) = sums.aggregate(
        (0, 0u64),
        |all, (key, sum)| (all.0 + 1, all.1.wrapping_add(digest(key, sum))),
        |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)),
    )?;
    Ok(Answer { count, checksum })
}

/// What a key and its sum add to the checksum.
pub fn digest(key: u64, sum: f64) -> u64 {
    mix2(key, sum.to_bits())
}

fn twin(rows: u64, keys: u64) -> Answer {
    let scattered = scatter(rows, PARTITION_BITS, |index| measurement(index, keys), |row| hash(row.0));
    let sums: Vec<Sums> = (0..1 << PARTITION_BITS)
        .into_par_iter()
        .map(|partition| {
            let mut sums = Sums::new(keys as usize >> PARTITION_BITS);
            scattered.partition(partition).for_each(|&(key, value)| sums.add(key, value));
            sums
        })
        .collect();
    let answers = sums.par_iter().map(|sums| {
        let digests = sums.iter().map(|(key, sum)| digest(key, sum));
        (sums.len as u64, digests.fold(0, u64::wrapping_add))
    });
    let (count, checksum) = answers.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Answer { count, checksum }
}

/// Sums by key in a table with linear probing. A sum of rows is never NaN, so NaN marks free slots.
struct Sums {
    slots: Vec<(u64, f64)>,
    len: usize,
}

const FREE: (u64, f64) = (0, f64::NAN);

impl Sums {
    fn new(expected: usize) -> Self {
        Sums { slots: vec![FREE; (expected * 3 / 2).next_power_of_two().max(16)], len: 0 }
    }

    #[inline]
    fn add(&mut self, key: u64, value: f64) {
        let place = self.place(key);
        let slot = &mut self.slots[place];
        if !slot.1.is_nan() {
            slot.1 += value;
            return;
        }
        *slot = (key, value);
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            self.grow();
        }
    }

    /// The slot of the key, or the free slot where it belongs. All keys of a partition share the top bits of the hash.
    #[inline]
    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (hash(key) >> 20) as usize & mask;
        while !self.slots[place].1.is_nan() && self.slots[place].0 != key {
            place = (place + 1) & mask;
        }
        place
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![FREE; self.slots.len() * 2];
        for (key, sum) in std::mem::replace(&mut self.slots, larger) {
            if !sum.is_nan() {
                let place = self.place(key);
                self.slots[place] = (key, sum);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u64, f64)> {
        self.slots.iter().copied().filter(|(_, sum)| !sum.is_nan())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn sums_as_a_map_does() {
        for (rows, keys) in [(1, 1), (10_000, 10), (10_000, 5_000), (5_000, 1_000_000)] {
            let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
            for (key, value) in (0..rows).map(|index| measurement(index, keys)) {
                *sums.entry(key).or_default() += value;
            }
            let checksum = sums.iter().fold(0u64, |all, (key, sum)| all.wrapping_add(digest(*key, *sum)));
            assert_eq!(twin(rows, keys), Answer { count: sums.len() as u64, checksum });
            // The table grows if there are more keys than expected.
            let mut small = Sums::new(1);
            (0..rows).map(|index| measurement(index, keys)).for_each(|(key, value)| small.add(key, value));
            assert!(small.iter().collect::<BTreeMap<_, _>>() == sums);
        }
    }
}
