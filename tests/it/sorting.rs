//! Compares sorting with the standard library's stable sort.

use crate::support::{Random, assert_empty, cx, glom, sorted};
use serde::{Deserialize, Serialize};
use std::cmp::{Ordering, Reverse};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use tryworks::prelude::*;

fn random_pairs(seed: u64, rows: usize) -> Vec<(i64, u64)> {
    let mut random = Random(seed);
    (0..rows as u64).map(|at| (random.next() as i64, at)).collect()
}

#[test]
fn ten_thousand_pairs_are_sorted_in_both_directions() -> Result<()> {
    let cx = cx();
    let rows = random_pairs(1, 10_000);
    let ascending = sorted(rows.clone());
    let descending: Vec<_> = ascending.iter().rev().copied().collect();
    for partitions in [1, 20] {
        let data = cx.parallelize_in(rows.clone(), 8);
        let up = data.shuffle_into(partitions).sort_by_key();
        assert_eq!(up.partitions(), partitions);
        assert_eq!(up.collect()?, ascending);
        let down = data.map(|(key, value)| (Reverse(key), value)).shuffle_into(partitions).sort_by_key();
        assert_eq!(down.map(|(Reverse(key), value)| (key, value)).collect()?, descending);
        assert_eq!(data.shuffle_into(partitions).sort_by(|row| row.0).collect()?, ascending);
        assert_eq!(data.shuffle_into(partitions).sort_by(|row| Reverse(row.0)).collect()?, descending);
        assert_eq!(data.sort_by(|row| (row.1 % 7, row.0)).collect()?, {
            let mut rows = rows.clone();
            rows.sort_by_key(|row| (row.1 % 7, row.0));
            rows
        });
    }
    Ok(())
}

#[test]
fn more_partitions_than_items_leaves_some_empty() -> Result<()> {
    let cx = cx();
    for (rows, from, to) in [(1, 1, 10), (3, 2, 50), (5, 20, 7)] {
        let rows = random_pairs(2, rows);
        let parts = glom(&cx.parallelize_in(rows.clone(), from).shuffle_into(to).sort_by_key());
        assert_eq!((parts.len() as u32, parts.concat()), (to, sorted(rows)));
    }
    Ok(())
}

#[test]
fn nothing_sorted_is_nothing() -> Result<()> {
    let cx = cx();
    let none = cx.parallelize_in(Vec::<(u64, u64)>::new(), 4);
    assert_empty(none.shuffle_into(3).sort_by_key().collect()?);
    assert_empty(cx.range_in(0..10, 3).filter(|_| false).sort_by(|n| *n).collect()?);
    Ok(())
}

#[test]
fn items_with_equal_keys_stay_in_their_order() -> Result<()> {
    let mut random = Random(5);
    let rows: Vec<(u64, u64)> = (0..20_000).map(|at| (random.below(10), at)).collect();
    let mut expected = rows.clone();
    expected.sort_by_key(|row| row.0);
    let data = cx().parallelize_in(rows, 9);
    assert_eq!(data.shuffle_into(4).sort_by_key().collect()?, expected);
    assert_eq!(data.shuffle_into(6).sort_by(|row| row.0).collect()?, expected);
    Ok(())
}

#[test]
fn the_ranges_are_balanced() -> Result<()> {
    let cx = cx();
    let data = cx.parallelize_in(random_pairs(7, 20_000), 8);
    let by_range = [
        glom(&data.shuffle_into(10).sort_by_key()),
        glom(&data.shuffle_into(10).sort_by(|row| Reverse(row.0))),
        glom(&cx.parallelize_in(sorted(random_pairs(7, 20_000)), 8).shuffle_into(10).sort_by_key()),
    ];
    for parts in by_range {
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 20_000);
        for part in parts {
            assert!((1000..=3000).contains(&part.len()), "{} of 20000 in one of 10 ranges", part.len());
        }
    }
    Ok(())
}

#[test]
fn a_key_lies_in_one_range_however_often_it_comes() -> Result<()> {
    // Nine of ten rows have the same key.
    let mut random = Random(11);
    let rows: Vec<(u64, u64)> =
        (0..10_000).map(|at| (if at % 10 == 0 { random.below(1_000_000) } else { 500_000 }, at)).collect();
    let mut expected = rows.clone();
    expected.sort_by_key(|row| row.0);
    let parts = glom(&cx().parallelize_in(rows, 6).shuffle_into(8).sort_by_key());
    assert_eq!(parts.iter().filter(|part| part.iter().any(|row| row.0 == 500_000)).count(), 1);
    assert_eq!(parts.concat(), expected);
    Ok(())
}

#[test]
fn every_key_may_be_the_same() -> Result<()> {
    let rows: Vec<(u8, u64)> = (0..5000).map(|at| (3, at)).collect();
    assert_eq!(cx().parallelize_in(rows.clone(), 7).shuffle_into(5).sort_by_key().collect()?, rows);
    Ok(())
}

#[test]
fn texts_and_compound_keys_are_sorted() -> Result<()> {
    let mut random = Random(13);
    let mut rows: Vec<(Option<String>, (i32, String))> = (0..3000)
        .map(|_| {
            let word = "x".repeat(random.below(5) as usize) + &random.below(50).to_string();
            ((random.below(9) > 0).then_some(word), (random.below(7) as i32 - 3, "v".repeat(random.below(90) as usize)))
        })
        .collect();
    let data = cx().parallelize_in(rows.clone(), 5);
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(data.shuffle_into(6).sort_by_key().collect()?, rows);
    rows.sort_by(|a, b| (&a.1.0, &a.0).cmp(&(&b.1.0, &b.0)));
    let both = data.shuffle_into(4).sort_by(|row| (row.1.0, row.0.clone()));
    assert_eq!(sorted(both.collect()?), sorted(rows.clone()));
    assert!(both.collect()?.is_sorted_by_key(|row| (row.1.0, row.0.clone())));
    Ok(())
}

#[test]
fn sorted_data_may_be_truncated_and_sorted_again() -> Result<()> {
    let cx = cx();
    let rows = random_pairs(17, 5000);
    let expected = sorted(rows.clone());
    let up = cx.parallelize_in(rows, 4).shuffle_into(6).sort_by_key();
    assert_eq!(up.take(10)?, expected[..10]);
    assert_eq!(up.first()?, Some(expected[0]));
    assert_eq!(up.filter(|row| row.0 > 0).take(3)?, {
        let positive = expected.iter().filter(|row| row.0 > 0);
        positive.take(3).copied().collect::<Vec<_>>()
    });
    let down = up.map(|(key, value)| (Reverse(key), value)).shuffle_into(5).sort_by_key();
    assert_eq!(down.map(|row| row.0.0).collect()?, expected.iter().rev().map(|row| row.0).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_sort_by_a_given_value() -> Result<()> {
    let numbers = cx().range_in(0..1000, 4);
    let mut expected: Vec<u64> = (0..1000).collect();
    expected.sort_by_key(|n| n ^ 0x2a5);
    assert_eq!(numbers.with(0x2a5u64).sort_by(|mask, n| n ^ mask).collect()?, expected);
    Ok(())
}

/// Keys whose order is not total, each kind in its own way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Loose {
    /// NaN is equal to everything.
    Float(f64),
    /// Everything is less than everything.
    Least(u64),
    /// Stone, scissors, paper.
    Game(u64),
    /// A number whose comparison with another one gives any answer.
    Moody(u64),
}

impl Ord for Loose {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Loose::Float(a), Loose::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Loose::Game(a), Loose::Game(b)) => ((a + 4 - b % 3) % 3).cmp(&1),
            (Loose::Moody(a), Loose::Moody(b)) => (Random(a * 1_000_003 + b).below(3)).cmp(&1),
            _ => Ordering::Less,
        }
    }
}

impl PartialOrd for Loose {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Loose {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Loose {}

/// A key of the given kind for each row number.
fn loose(kind: u64, row: u64) -> Loose {
    let number = row * 7919 % 1009;
    match kind {
        0 if number.is_multiple_of(7) => Loose::Float(f64::NAN),
        0 => Loose::Float(number as f64),
        1 => Loose::Least(number),
        2 => Loose::Game(number),
        _ => Loose::Moody(number),
    }
}

#[test]
fn each_row_comes_out_once_or_the_sort_fails_for_any_order() -> Result<()> {
    let (mut sorted_rows, mut failed) = (0, 0);
    let mut held_to = |rows: u64, result: Result<Vec<u64>>| match result {
        Ok(found) => {
            sorted_rows += 1;
            assert_eq!(sorted(found), (0..rows).collect::<Vec<_>>());
        }
        Err(Error::Type { name, message, site, .. }) => {
            failed += 1;
            assert!(name.ends_with("Loose") && message.contains("not total"), "{name} {message}");
            assert_eq!(site.map(|site| site.file), Some(file!()));
        }
        Err(other) => panic!("{other}"),
    };
    let tight = Context::builder().threads(2).memory(2 << 20).progress(false).build()?;
    for cx in [&cx(), &tight] {
        for kind in 0..4 {
            for (rows, from, to) in [(100, 4, 10), (100, 1, 3), (5_000, 7, 20), (30_000, 3, 8)] {
                let data = cx.range_in(0..rows, from).with(kind).map(|kind, row| (loose(*kind, row), row));
                // Rows that own no memory are held as values, others as bytes.
                held_to(rows, data.shuffle_into(to).sort_by_key().values().collect());
                let wide = data.map_values(|row| (row, format!("{row:0>100}")));
                held_to(rows, wide.shuffle_into(to).sort_by_key().map(|(_, (row, _))| row).collect());
                let first =
                    data.take_ordered_by(10, |(key, _)| *key).map(|first| sorted(first.iter().map(|row| row.1)));
                match first {
                    Ok(first) => assert!(first.len() == 10 && first.is_sorted_by(|a, b| a < b), "{first:?}"),
                    Err(error) => assert!(matches!(error, Error::Type { .. }), "{error}"),
                }
            }
        }
    }
    assert!(tight.memory().spilled() > 0);
    assert!(sorted_rows > 5 && failed > 5, "{sorted_rows} were sorted somehow, {failed} failed");
    Ok(())
}

/// A number that sometimes lies when it is compared: it gives another answer each time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Liar(u64);

/// It lies once in this many comparisons, and in this way.
static LIES_EVERY: AtomicU64 = AtomicU64::new(u64::MAX);
static ASKED: AtomicU64 = AtomicU64::new(0);

impl Ord for Liar {
    fn cmp(&self, other: &Self) -> Ordering {
        let asked = Random(ASKED.fetch_add(1, Relaxed)).below(u64::MAX);
        match asked.is_multiple_of(LIES_EVERY.load(Relaxed)) {
            true => (asked >> 32 & 1).cmp(&(asked >> 33 & 1)),
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for Liar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Liar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Liar {}

/// Regression: two readers compared the same rows, and assumed that the answer was the same.
#[test]
fn a_key_that_answers_otherwise_each_time_loses_no_row() -> Result<()> {
    const ROWS: u64 = 3_000;
    let tight = Context::builder().threads(2).memory(256 << 10).progress(false).build()?;
    let (mut whole, mut failed) = (0, 0);
    for cx in [&cx(), &tight] {
        for seed in 0..150u64 {
            LIES_EVERY.store([2, 30, 500, 2_000, 20_000][seed as usize % 5], Relaxed);
            ASKED.store(seed << 32, Relaxed);
            let data = cx.range_in(0..ROWS, 3).map(|row| (Liar(row * 7919 % 1009), row));
            let found = match seed % 2 {
                0 => data.shuffle_into(8).sort_by_key().values().collect(),
                _ => data
                    .map_values(|row| (row, format!("{row:0>60}")))
                    .shuffle_into(8)
                    .sort_by_key()
                    .map(|(_, (row, _))| row)
                    .collect(),
            };
            match found {
                Ok(found) => {
                    whole += 1;
                    assert_eq!(sorted(found), (0..ROWS).collect::<Vec<_>>(), "seed {seed}");
                }
                Err(Error::Type { message, .. }) if message.contains("not total") => failed += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(tight.memory().spilled() > 0);
    assert!(whole > 20 && failed > 20, "{whole} were sorted somehow, {failed} failed");
    Ok(())
}

/// A key whose `PartialOrd` disagrees with its `Ord`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Half(f64);

impl Eq for Half {}

#[allow(clippy::derive_ord_xor_partial_ord)]
impl Ord for Half {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[test]
fn only_the_total_order_of_a_key_is_asked() -> Result<()> {
    let value = |n: u64| if n.is_multiple_of(5) { f64::NAN } else { (n * 7919 % 1009) as f64 };
    let mut expected: Vec<f64> = (0..3000).map(value).collect();
    expected.sort_by(f64::total_cmp);
    let bits = |floats: Vec<f64>| floats.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    let data = cx().range_in(0..3000, 5).map(value);
    assert_eq!(bits(data.shuffle_into(7).sort_by(|x| Half(*x)).collect()?), bits(expected.clone()));
    assert_eq!(bits(data.shuffle_into(7).sort_by(|x| total(*x)).collect()?), bits(expected.clone()));
    assert_eq!(bits(data.sort_by(|x| Reverse(total(*x))).collect()?), bits(expected.iter().rev().copied().collect()));
    assert_eq!(bits(data.take_ordered_by(3, |x| Half(*x))?), bits(expected[..3].to_vec()));
    assert_eq!(bits(data.take_ordered_by(2, |x| Reverse(Half(*x)))?), bits(vec![f64::NAN; 2]));
    let ends = (expected[0], f64::NAN.to_bits());
    assert_eq!((data.map(Half).min()?.unwrap().0, data.map(Half).max()?.unwrap().0.to_bits()), ends);
    assert_eq!((data.map(total).min()?.unwrap().0, data.map(total).max()?.unwrap().0.to_bits()), ends);
    Ok(())
}
