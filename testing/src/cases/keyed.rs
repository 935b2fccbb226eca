//! Operators that bring equal keys together.

use super::{Case, PARTS, ROWS, bits, few, grouped, late, many, sorted};
use crate::numbers::{fraction, mix, slice};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tryworks::prelude::*;

/// The pairs of a small case.
fn pairs<S: Sources>(cx: &S) -> Dataset<impl Pipe<Item = (u64, u64)> + use<S>> {
    few(cx).map(|n| (n % 10, n))
}

/// The sum of the values of a key of these.
fn sum(key: u64) -> u64 {
    (0..1_000).filter(|n| n % 10 == key).sum()
}

/// The rows of a partition with too many keys for one table, and of that and another such partition.
const TOO_MANY: u64 = 330_000;
const ALL_OF_THEM: u64 = 470_000;

/// The keys of two such partitions. In the first, they come in any order; in the second, each comes twice in a row.
fn too_many(n: u64) -> u64 {
    if n < TOO_MANY { mix(n) % 150_000 } else { 100_000 + n / 2 }
}

/// Stands for a text of many letters, of which only a hash is kept. To append one to another gives another hash if any
/// letter has another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Text {
    hash: u64,
    power: u64,
}

impl Text {
    /// The text of one letter.
    fn of(letter: u64) -> Self {
        Text { hash: mix(letter), power: 0x9e37_79b9_7f4a_7c15 }
    }

    fn then(self, later: Text) -> Self {
        let hash = self.hash.wrapping_mul(later.power).wrapping_add(later.hash);
        Text { hash, power: self.power.wrapping_mul(later.power) }
    }
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "reduce_by_key",
            |cx: &S| pairs(cx).reduce_by_key(|a, b| a + b).collect(),
            |got| {
                assert_eq!(sorted(got), (0..10).map(|key| (key, sum(key))).collect::<Vec<(u64, u64)>>());
            },
        ),
        Case::new(
            "reduce_by_key with a value",
            |cx: &S| pairs(cx).with(3u64).reduce_by_key(|k, a, b| a.max(b) | k).collect(),
            |got| {
                let expected =
                    (0..10).map(|key| (key, (0..100).map(|n| n * 10 + key).reduce(|a, b| a.max(b) | 3).unwrap_or(0)));
                assert_eq!(sorted(got), expected.collect::<Vec<(u64, u64)>>());
            },
        ),
        Case::large(
            "reduce_by_key of floats",
            |cx: &S| {
                let pairs = many(cx, ROWS).map(|n| (mix(n) % 20_011, fraction(n)));
                Ok(bits(pairs.reduce_by_key(|a, b| a + b).map(late).collect()?))
            },
            |got| {
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
                assert!(sorted(got) == bits(expected.into_iter().collect()));
            },
        ),
        Case::large(
            "reduce_by_key of more keys than the table of a map task takes",
            |cx: &S| {
                let numbers = cx.range_in(0..TOO_MANY, 1).union(&cx.range_in(TOO_MANY..ALL_OF_THEM, 1));
                let rows = numbers.map(|n| (too_many(n), Text::of(n)));
                Ok(sorted(rows.reduce_by_key(Text::then).collect()?))
            },
            |got: Vec<(u64, Text)>| {
                let mut expected = BTreeMap::<u64, Text>::new();
                for n in 0..ALL_OF_THEM {
                    expected
                        .entry(too_many(n))
                        .and_modify(|text| *text = text.then(Text::of(n)))
                        .or_insert(Text::of(n));
                }
                assert!(got == expected.into_iter().collect::<Vec<_>>());
            },
        ),
        Case::new(
            "group_by_key",
            |cx: &S| pairs(cx).group_by_key().collect(),
            |got| {
                assert_eq!(
                    got.into_iter().collect::<BTreeMap<u64, Vec<u64>>>(),
                    grouped((0..1_000).map(|n| (n % 10, n)))
                );
            },
        ),
        Case::large(
            "group_by_key into five",
            |cx: &S| many(cx, ROWS).map(|n| (mix(n) % 3_001, n)).shuffle_into(5).group_by_key().map(late).collect(),
            |groups: Vec<(u64, Vec<u64>)>| {
                let expected = grouped((0..ROWS).map(|n| (mix(n) % 3_001, n)));
                assert_eq!(groups.len(), expected.len());
                assert!(groups.into_iter().collect::<BTreeMap<_, _>>() == expected);
            },
        ),
        Case::large(
            "distinct",
            |cx: &S| many(cx, ROWS).map(|n| mix(n % 25_000)).distinct().map(late).collect(),
            |once| {
                assert_eq!(once.len(), 25_000);
                assert!(once.into_iter().collect::<BTreeSet<u64>>() == (0..25_000).map(mix).collect());
            },
        ),
        Case::new(
            "distinct into five",
            |cx: &S| few(cx).map(|n| mix(n % 77)).shuffle_into(5).distinct().collect(),
            |once| assert_eq!(sorted::<u64>(once), sorted((0..77).map(mix))),
        ),
        Case::new(
            "join into five",
            |cx: &S| {
                let squares = cx.range(0..5).map(|n| (n, n * n));
                pairs(cx).shuffle_into(5).join(&squares).collect()
            },
            |got| {
                let expected = (0..1_000).filter(|n| n % 10 < 5).map(|n| (n % 10, (n, (n % 10) * (n % 10))));
                assert_eq!(sorted(got), sorted::<(u64, (u64, u64))>(expected));
            },
        ),
        Case::new(
            "join of what is partitioned already",
            |cx: &S| {
                let reduced = pairs(cx).reduce_by_key(|a, b| a + b);
                reduced.join(&reduced.map_values(|sum| sum * 2)).collect()
            },
            |got| {
                assert_eq!(
                    sorted(got),
                    (0..10).map(|key| (key, (sum(key), sum(key) * 2))).collect::<Vec<(u64, (u64, u64))>>()
                )
            },
        ),
        Case::large(
            "join",
            |cx: &S| {
                let left = many(cx, ROWS / 2).map(|n| (mix(n) % 4_000, n));
                let right = cx.range_in(0..ROWS / 4, 5).map(|n| (mix(n + 7) % 8_000, format!("right {n}")));
                left.join(&right).map(late).collect()
            },
            |joined: Vec<(u64, (u64, String))>| {
                // The pairs of a key come in the order of the left side, then of the right.
                let rights = grouped((0..ROWS / 4).map(|n| (mix(n + 7) % 8_000, format!("right {n}"))));
                let expected = grouped((0..ROWS / 2).map(|n| (mix(n) % 4_000, n)).flat_map(|(key, n)| {
                    let rights = rights.get(&key).into_iter().flatten();
                    rights.map(move |right| (key, (n, right.clone()))).collect::<Vec<_>>()
                }));
                assert!(joined.len() > 20_000);
                assert!(grouped(joined) == expected);
            },
        ),
        Case::large(
            "cogroup",
            |cx: &S| {
                let left = many(cx, ROWS / 2).map(|n| (mix(n) % 4_000, n));
                let right = cx.range_in(0..ROWS / 4, 5).map(|n| (mix(n + 7) % 8_000, format!("right {n}")));
                left.cogroup(&right).map(late).collect()
            },
            |groups: Vec<(u64, (Vec<u64>, Vec<String>))>| {
                let lefts = grouped((0..ROWS / 2).map(|n| (mix(n) % 4_000, n)));
                let rights = grouped((0..ROWS / 4).map(|n| (mix(n + 7) % 8_000, format!("right {n}"))));
                let keys: BTreeSet<u64> = lefts.keys().chain(rights.keys()).copied().collect();
                assert_eq!(groups.len(), keys.len());
                for (key, (left, right)) in groups {
                    assert_eq!(left, lefts.get(&key).cloned().unwrap_or_default(), "key {key}");
                    assert_eq!(right, rights.get(&key).cloned().unwrap_or_default(), "key {key}");
                }
            },
        ),
        Case::new(
            "cogroup3 and cogroup4",
            |cx: &S| {
                let pairs = pairs(cx);
                let sums = pairs.reduce_by_key(|a, b| a + b);
                let few = cx.range(5..12).map(|n| (n, n.to_string()));
                let three = sums.shuffle_into(4).cogroup3(&few, &pairs.filter(|pair| pair.1 < 15));
                let four = sums.cogroup4(&few, &sums, &few.map_values(|text| text.len() as u64));
                Ok((three.partitions(), sorted(three.collect()?), sorted(four.collect()?)))
            },
            |(partitions, three, four): (u32, Vec<(u64, Three)>, Vec<(u64, Four)>)| {
                assert_eq!(partitions, 4);
                let sums = |key| if key < 10 { vec![sum(key)] } else { vec![] };
                let texts = |key: u64| if key >= 5 { vec![key.to_string()] } else { vec![] };
                let small = |key| (0..15).filter(|n| n % 10 == key).collect();
                let expected = (0..12).map(|key| (key, (sums(key), texts(key), small(key))));
                assert_eq!(three, expected.collect::<Vec<(u64, Three)>>());
                let lengths = |key| texts(key).iter().map(|text| text.len() as u64).collect();
                let expected = (0..12).map(|key| (key, (sums(key), texts(key), sums(key), lengths(key))));
                assert_eq!(four, expected.collect::<Vec<(u64, Four)>>());
            },
        ),
    ]
}

/// The values of a key of three datasets, and of four.
type Three = (Vec<u64>, Vec<String>, Vec<u64>);
type Four = (Vec<u64>, Vec<String>, Vec<u64>, Vec<u64>);
