//! Pipelines that give the same answer, bit for bit, on any number of threads and with any amount of memory, which is
//! also the answer of a few sequential lines.

use crate::pipelines::{self, PAGES, PARTS, ROWS, fraction, links, mix};
use crate::support::{every_way, slice};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use tryworks::prelude::*;

const TIGHT: u64 = 512 << 10;

fn bits<K>(rows: Vec<(K, f64)>) -> Vec<(K, u64)> {
    rows.into_iter().map(|(key, value)| (key, value.to_bits())).collect()
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// The values of each key, in the order in which they come.
fn grouped<K: Ord, V>(rows: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups = BTreeMap::<K, Vec<V>>::new();
    rows.into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups
}

/// `range(0..rows)` dealt out over `to` partitions, whatever it was in before: one item to each in turn.
fn dealt(rows: u64, to: u64) -> Vec<Vec<u64>> {
    (0..to).map(|part| (part..rows).step_by(to as usize).collect()).collect()
}

#[test]
fn float_sums_by_key() {
    let sums = every_way(TIGHT, pipelines::float_sums);
    // Each map task adds up its own values, and their sums are added up in the order of the map tasks.
    let mut expected = BTreeMap::<u64, f64>::new();
    for part in 0..u64::from(PARTS) {
        let mut partial = BTreeMap::<u64, f64>::new();
        for n in slice(ROWS, PARTS.into(), part) {
            partial.entry(mix(n) % 20_011).and_modify(|sum| *sum += fraction(n)).or_insert(fraction(n));
        }
        for (key, value) in partial {
            expected.entry(key).and_modify(|sum| *sum += value).or_insert(value);
        }
    }
    assert_eq!(sorted(sums), bits(expected.into_iter().collect()));
}

#[test]
fn sums_by_words_of_which_a_map_task_holds_a_part_at_a_time() {
    let (words, rows, parts) = (150_000, 600_000, 2);
    let word = move |n: u64| format!("{:x}", n / 2 % words);
    let sums = every_way(8 << 20, |cx| {
        let rows = cx.range_in(0..rows, parts).with(words);
        let pairs = rows.map(|words, n| (format!("{:x}", n / 2 % words), fraction(n)));
        Ok(bits(pairs.reduce_by_key_in(5, |a, b| a + b).collect()?))
    });
    let mut expected = BTreeMap::<String, f64>::new();
    (0..rows).for_each(|n| *expected.entry(word(n)).or_default() += fraction(n));
    assert_eq!(sums.len(), expected.len());
    for (word, sum) in sums {
        assert!((f64::from_bits(sum) - expected[&word]).abs() < 1e-12, "{word}");
    }
}

#[test]
fn reduce_of_floats() {
    let sum = every_way(TIGHT, pipelines::float_reduce);
    let parts = dealt(ROWS, 7).into_iter().map(|part| part.into_iter().map(fraction));
    let expected = parts.filter_map(|part| part.reduce(|a, b| a + b)).reduce(|a, b| a + b).unwrap();
    assert_eq!(sum.0, expected.to_bits());
    assert!((f64::from_bits(sum.1) - expected).abs() < 1e-9 * expected);
}

#[test]
fn joins_with_duplicates() {
    let left = |n: u64| (mix(n) % 4_000, n);
    let right = |n: u64| (mix(n + 7) % 8_000, format!("right {n}"));
    let joined = every_way(TIGHT, pipelines::joined);
    // The pairs of a key come in the order of the left side, then of the right.
    let rights = grouped((0..ROWS / 4).map(right));
    let expected = grouped((0..ROWS / 2).map(left).flat_map(|(key, n)| {
        rights.get(&key).into_iter().flatten().map(move |other| (key, (n, other.clone()))).collect::<Vec<_>>()
    }));
    assert!(joined.len() > 20_000);
    assert!(grouped(joined) == expected);
}

#[test]
fn sorts_with_ties() {
    let pairs = every_way(TIGHT, pipelines::sorted_with_ties);
    let mut expected: Vec<_> = (0..ROWS).map(|n| ((mix(n) % 97) as u16, n)).collect();
    expected.sort_by_key(|(key, _)| *key);
    assert!(pairs == expected);
}

#[test]
fn sorts_by_a_key_descending() {
    let words = every_way(TIGHT, pipelines::sorted_descending);
    let mut expected: Vec<_> = (0..ROWS / 2).map(|n| format!("{:x}", mix(n) >> 40)).collect();
    expected.sort_by_key(|word| Reverse((word.len(), word.as_bytes()[0])));
    assert!(words == expected);
}

#[test]
fn samples_without_replacement() {
    let some = every_way(TIGHT, pipelines::sampled);
    let mut all = dealt(ROWS, 9).into_iter().flatten();
    assert!(some.iter().all(|n| all.any(|other| other == *n)), "a sample has items of the input in their order");
    // Six standard deviations of the binomial distribution.
    let (mean, deviation) = (ROWS as f64 / 4.0, (ROWS as f64 * 0.25 * 0.75).sqrt());
    assert!((some.len() as f64 - mean).abs() < 6.0 * deviation, "{}", some.len());
}

#[test]
fn samples_with_replacement() {
    let drawn = every_way(TIGHT, pipelines::sampled_with_replacement);
    let order = dealt(ROWS, 9).concat();
    let mut times = BTreeMap::<u64, u64>::new();
    drawn.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    let expected: Vec<_> =
        order.iter().flat_map(|n| std::iter::repeat_n(*n, times.get(n).copied().unwrap_or(0) as usize)).collect();
    assert!(drawn == expected, "copies of an item stand together, in the order of the input");
    // The mean of Poisson variates of mean 2 over all rows, and how many of them are 0.
    let deviation = (2.0 / ROWS as f64).sqrt();
    assert!((drawn.len() as f64 / ROWS as f64 - 2.0).abs() < 6.0 * deviation);
    let none = 1.0 - times.len() as f64 / ROWS as f64;
    assert!((none - (-2f64).exp()).abs() < 0.02, "{none}");
}

#[test]
fn distinct_items() {
    let once = every_way(TIGHT, pipelines::distinct);
    assert_eq!(once.len(), 25_000);
    assert!(once.into_iter().collect::<BTreeSet<_>>() == (0..25_000).map(mix).collect());
}

#[test]
fn groups_and_their_order() {
    let groups = every_way(TIGHT, pipelines::groups);
    let expected = grouped((0..ROWS).map(|n| (mix(n) % 3_001, n)));
    assert_eq!(groups.len(), expected.len());
    assert!(groups.into_iter().collect::<BTreeMap<_, _>>() == expected);
}

#[test]
fn the_first_items() {
    let (taken, first) = every_way(TIGHT, pipelines::first_items);
    let expected = sorted((0..ROWS).map(|n| (mix(n), n)).collect());
    assert!(taken == expected[..1_234]);
    assert_eq!(first, expected[0]);
}

#[test]
fn the_first_items_in_an_order_with_ties() {
    let top = every_way(TIGHT, pipelines::first_with_ties);
    let mut expected = dealt(ROWS, 4).concat();
    expected.sort_by_key(|n| Reverse(mix(*n) % 50));
    assert!(top == expected[..5_000]);
}

#[test]
fn items_dealt_out_again() {
    let (parts, all) = every_way(TIGHT, pipelines::dealt_again);
    let expected = dealt(ROWS, 17);
    assert!(parts == expected);
    assert!(all == expected.concat());
}

#[test]
fn a_union_of_shuffled_datasets() {
    let (both, one, other) = every_way(TIGHT, pipelines::union);
    assert!(both == [one.as_slice(), &other].concat());
    let counts = (0..9_001).map(|key| (key, (ROWS - key).div_ceil(9_001) as i32));
    assert!(sorted(one) == counts.collect::<Vec<_>>());
    assert!(other == sorted((0..ROWS / 2).map(|n| (mix(n), 2)).collect()));
}

#[test]
fn ranks_of_pages_in_a_loop() {
    let ranks = every_way(TIGHT, pipelines::ranks);
    let mut expected: BTreeMap<u64, f64> = (0..PAGES).map(|page| (page, 1.0)).collect();
    for _ in 0..4 {
        let mut sums = BTreeMap::<u64, f64>::new();
        for (page, rank) in &expected {
            let links = links(*page);
            links.iter().for_each(|link| *sums.entry(*link).or_default() += rank / links.len() as f64);
        }
        expected = sums.into_iter().map(|(page, sum)| (page, 0.15 + 0.85 * sum)).collect();
    }
    assert_eq!(ranks.len(), expected.len());
    for (page, rank) in ranks {
        let (rank, expected) = (f64::from_bits(rank), expected[&page]);
        assert!((rank - expected).abs() < 1e-12 * expected, "page {page}: {rank}, not {expected}");
    }
}

#[test]
fn words_of_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    let mut text = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let line = |n: u64| format!("{:x} Whale {} ünd", mix(n) % 9_000, mix(n * 3) % 700);
    (0..40_000).for_each(|n| writeln!(text, "{}", line(n)).unwrap());
    drop(text);
    let counts = every_way(TIGHT, |cx| {
        let lines = cx.text_file(&path);
        assert!(lines.partitions() > 4);
        let words =
            lines.flat_map_into(|line, out| line.split(' ').for_each(|word| out.push((Str::lower(word), 1u32))));
        words.reduce_by_key(|a, b| a + b).map(|(word, n)| (word.to_string(), n)).collect()
    });
    let mut expected = BTreeMap::<String, u32>::new();
    for n in 0..40_000 {
        line(n).to_lowercase().split(' ').for_each(|word| *expected.entry(word.into()).or_default() += 1);
    }
    assert!(counts.len() == expected.len() && counts.into_iter().collect::<BTreeMap<_, _>>() == expected);
}
