//! Aggregations of the values of each key.

use super::{Case, ROWS, bits, few, grouped, late, many, sorted};
use crate::numbers::{fraction, mix};
use std::collections::{BTreeMap, BTreeSet};
use tryworks::Stats;
use tryworks::prelude::*;

/// The values of each key of a small case, in their order.
fn groups() -> BTreeMap<u64, Vec<u64>> {
    grouped((0..1_000).map(|n| (n % 10, mix(n) % 100)))
}

/// The pairs of a small case.
fn pairs<S: Sources>(cx: &S) -> Dataset<impl Pipe<Item = (u64, u64)> + use<S>> {
    few(cx).map(|n| (n % 10, mix(n) % 100))
}

/// A value of a large case, of a key that repeats.
fn pair(n: u64) -> (String, u64) {
    (format!("key {}", mix(n) % 20_011), mix(n) % 1_000)
}

/// Compares the results of the keys of a small case with those of a plain computation.
fn agree<R: Ord + std::fmt::Debug>(got: Vec<(u64, R)>, expected: fn(&[u64]) -> R) {
    assert_eq!(sorted(got), groups().iter().map(|(key, values)| (*key, expected(values))).collect::<Vec<_>>());
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "combine_by_key",
            |cx: &S| pairs(cx).combine_by_key(|n| vec![n], plus, |a, b| [a, b].concat()).collect(),
            |got: Vec<(u64, Vec<u64>)>| agree(got, |values| values.to_vec()),
        ),
        Case::new(
            "combine_by_key with a value",
            |cx: &S| {
                let given = pairs(cx).with(7u64);
                given.combine_by_key(|k, n| n + k, |k, a, n| a.max(n + k), |k, a, b| a.max(b).max(*k)).collect()
            },
            |got: Vec<(u64, u64)>| agree(got, |values| values.iter().max().map_or(0, |most| most + 7)),
        ),
        Case::new(
            "aggregate_by_key",
            |cx: &S| {
                let sets = pairs(cx).aggregate_by_key(
                    BTreeSet::new(),
                    |mut set, n| {
                        set.insert(n);
                        set
                    },
                    |a, b| a.into_iter().chain(b).collect(),
                );
                sets.collect()
            },
            |got: Vec<(u64, BTreeSet<u64>)>| agree(got, |values| values.iter().copied().collect()),
        ),
        Case::new(
            "aggregate_by_key with a value",
            |cx: &S| {
                let given = pairs(cx).shuffle_into(5).with(3u64);
                given
                    .aggregate_by_key((0, 0), |k, (s, c), n| (s + n * k, c + 1), |_, a, b| (a.0 + b.0, a.1 + b.1))
                    .collect()
            },
            |got: Vec<(u64, (u64, u64))>| {
                agree(got, |values| (values.iter().sum::<u64>() * 3, values.len() as u64));
            },
        ),
        Case::new(
            "aggregate_by_key of what is partitioned already",
            |cx: &S| {
                let grouped = pairs(cx).group_by_key();
                let lengths = grouped.aggregate_by_key(0, |a, values| a + values.len() as u64, |a, b| a + b);
                lengths.collect()
            },
            |got: Vec<(u64, u64)>| agree(got, |values| values.len() as u64),
        ),
        Case::new(
            "fold_by_key",
            |cx: &S| {
                let text = pairs(cx).map_values(|n| n.to_string());
                Ok((
                    text.fold_by_key(String::new(), |a, b| a + &b).collect()?,
                    pairs(cx).with(1u64).fold_by_key(0, |k, a, b| a.max(b) | k).collect()?,
                ))
            },
            |(texts, most): (Vec<(u64, String)>, Vec<(u64, u64)>)| {
                agree(texts, |values| values.iter().map(u64::to_string).collect());
                agree(most, |values| values.iter().fold(0, |a, b| a.max(*b) | 1));
            },
        ),
        Case::large(
            "sum_by_key",
            |cx: &S| {
                let sums = many(cx, ROWS).map(pair).sum_by_key().map(late).collect()?;
                // Partial sums do not fit into the type of the values, and the sums do.
                let balanced = few(cx).map(|n| (n % 2, if n < 500 { 100i8 } else { -100 })).sum_by_key().collect()?;
                let error =
                    few(cx).map(|n| ("key", n as u32 * 9_000_000)).map(|(k, n)| (k.to_string(), n)).sum_by_key();
                Ok((sums, balanced, error.collect().unwrap_err().to_string()))
            },
            |(sums, balanced, error): (Vec<(String, u64)>, Vec<(u64, i8)>, String)| {
                let expected = grouped((0..ROWS).map(pair)).into_iter().map(|(key, values)| (key, values.iter().sum()));
                assert!(sorted(sums) == expected.collect::<Vec<_>>());
                assert_eq!(sorted(balanced), [(0, 0), (1, 0)]);
                assert!(error.starts_with("sum_by_key: the sum of a key does not fit into `u32`"), "{error}");
            },
        ),
        Case::new(
            "min_by_key and max_by_key",
            |cx: &S| Ok((pairs(cx).min_by_key().collect()?, pairs(cx).max_by_key().collect()?)),
            |(least, most): (Vec<(u64, u64)>, Vec<(u64, u64)>)| {
                agree(least, |values| values.iter().copied().min().unwrap_or(0));
                agree(most, |values| values.iter().copied().max().unwrap_or(0));
            },
        ),
        Case::large(
            "stats_by_key",
            |cx: &S| {
                let pairs = many(cx, ROWS).map(|n| (mix(n) % 20_011, fraction(n)));
                Ok((pairs.stats_by_key().map(late).collect()?, bits(pairs.mean_by_key().collect()?)))
            },
            |(stats, means): (Vec<(u64, Stats)>, Vec<(u64, u64)>)| {
                let expected = grouped((0..ROWS).map(|n| (mix(n) % 20_011, fraction(n))));
                assert_eq!((stats.len(), means.len()), (expected.len(), expected.len()));
                let near =
                    |a: Option<f64>, b: f64| assert!((a.unwrap_or(f64::NAN) - b).abs() < 1e-12, "{a:?}, not {b}");
                for (key, stats) in stats {
                    let values = &expected[&key];
                    let mean = values.iter().sum::<f64>() / values.len() as f64;
                    near(stats.mean(), mean);
                    let squares = values.iter().map(|value| (value - mean) * (value - mean));
                    near(stats.variance(), squares.sum::<f64>() / values.len() as f64);
                    assert_eq!(stats.count(), values.len() as u64);
                    assert_eq!(stats.min(), values.iter().copied().reduce(f64::min));
                    assert_eq!(stats.max(), values.iter().copied().reduce(f64::max));
                }
                for (key, mean) in means {
                    near(Some(f64::from_bits(mean)), expected[&key].iter().sum::<f64>() / expected[&key].len() as f64);
                }
            },
        ),
        Case::new(
            "top_by_key",
            |cx: &S| {
                let texts = pairs(cx).map_values(|n| format!("{n:x}"));
                Ok((texts.top_by_key(3).collect()?, pairs(cx).top_by_key(0).collect()?))
            },
            |(top, none): (Vec<(u64, Vec<String>)>, Vec<(u64, Vec<u64>)>)| {
                agree(top, |values| {
                    let mut texts: Vec<_> = values.iter().map(|n| format!("{n:x}")).collect();
                    texts.sort_by(|a, b| b.cmp(a));
                    texts.truncate(3);
                    texts
                });
                agree(none, |_| Vec::new());
            },
        ),
        Case::large(
            "counts",
            |cx: &S| many(cx, ROWS).map(|n| mix(n % 25_000)).counts().map(late).collect(),
            |got: Vec<(u64, u64)>| {
                let expected = (0..25_000).map(|n| (mix(n), if n < 10_000 { 3 } else { 2 }));
                assert!(sorted(got) == sorted(expected));
            },
        ),
        Case::new(
            "counts of what is partitioned already",
            |cx: &S| {
                let grouped = pairs(cx).group_by_key().flat_map(|(_, values)| values);
                let pairs = pairs(cx).reduce_by_key(|a, b| a + b);
                Ok((grouped.counts().collect()?, pairs.union(&pairs).counts().collect()?))
            },
            |(values, pairs): (Vec<(u64, u64)>, Vec<((u64, u64), u64)>)| {
                let mut expected = BTreeMap::new();
                (0..1_000).for_each(|n| *expected.entry(mix(n) % 100).or_insert(0) += 1);
                assert_eq!(sorted(values), expected.into_iter().collect::<Vec<_>>());
                let expected = groups().into_iter().map(|(key, values)| ((key, values.iter().sum()), 2));
                assert_eq!(sorted(pairs), expected.collect::<Vec<_>>());
            },
        ),
        Case::new(
            "counts_by_key",
            |cx: &S| few(cx).map(|n| (n * n % 7, ())).counts_by_key().collect(),
            |got: Vec<(u64, u64)>| {
                let expected = grouped((0..1_000).map(|n| (n * n % 7, ())));
                assert_eq!(sorted(got), expected.iter().map(|(key, all)| (*key, all.len() as u64)).collect::<Vec<_>>());
            },
        ),
        Case::new(
            "group_by",
            |cx: &S| {
                // The pairs are partitioned by their keys, which are not those of the groups.
                let sums = pairs(cx).reduce_by_key(|a, b| a + b);
                let grouped = sums.group_by(|(key, _)| key % 3).collect()?;
                Ok((few(cx).with(7u64).group_by(|k, n| n % k).collect()?, grouped))
            },
            |(numbers, sums): (Vec<(u64, Vec<u64>)>, Vec<(u64, Vec<(u64, u64)>)>)| {
                assert_eq!(sorted(numbers), grouped((0..1_000).map(|n| (n % 7, n))).into_iter().collect::<Vec<_>>());
                let expected = groups().into_iter().map(|(key, values)| (key % 3, (key, values.iter().sum())));
                let sums = sums.into_iter().map(|(key, group)| (key, sorted(group)));
                assert_eq!(sorted(sums), grouped(expected).into_iter().collect::<Vec<_>>());
            },
        ),
    ]
}

fn plus(mut values: Vec<u64>, value: u64) -> Vec<u64> {
    values.push(value);
    values
}
