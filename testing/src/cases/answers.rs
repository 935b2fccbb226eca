//! Actions that make one answer of all items: extremes, statistics, samples and maps.

use super::{Case, ROWS, few, grouped, late, many, those};
use crate::numbers::{fraction, mix};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use tryworks::Stats;
use tryworks::prelude::*;

/// Mean and variance of numbers, in two passes.
fn moments(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (mean, numbers.iter().map(|number| (number - mean) * (number - mean)).sum::<f64>() / count)
}

/// Numbers of a histogram: some are not finite.
fn uneven(n: u64) -> f64 {
    match n % 100 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        _ => (n % 50) as f64,
    }
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "is_empty",
            |cx: &S| {
                Ok((
                    few(cx).is_empty()?,
                    few(cx).filter(|n| *n > 998).is_empty()?,
                    few(cx).filter(|_| false).is_empty()?,
                ))
            },
            |got| assert_eq!(got, (false, false, true)),
        ),
        Case::new(
            "top and take_ordered",
            |cx: &S| {
                let mixed = few(cx).map(mix);
                Ok((mixed.top(20)?, mixed.take_ordered(1_500)?, mixed.map(|n| (n % 3, n)).top(0)?))
            },
            |(top, least, none): (Vec<u64>, Vec<u64>, Vec<(u64, u64)>)| {
                let mut expected: Vec<u64> = (0..1_000).map(mix).collect();
                expected.sort();
                assert_eq!(least, expected);
                expected.reverse();
                assert_eq!(top, expected[..20]);
                assert_eq!(none, []);
            },
        ),
        Case::large(
            "top of long texts",
            |cx: &S| many(cx, ROWS).map(|n| format!("{:032x}", mix(n))).repartition(5).map(late).top(4_000),
            |got: Vec<String>| {
                let mut expected: Vec<_> = (0..ROWS).map(|n| format!("{:032x}", mix(n))).collect();
                expected.sort_by_key(|text| Reverse(text.clone()));
                assert!(got == expected[..4_000]);
            },
        ),
        Case::new(
            "min_by and max_by",
            |cx: &S| {
                let numbers = few(cx).map(|n| (n, fraction(n / 2)));
                let given = few(cx).with(7u64);
                Ok((
                    numbers.min_by(|pair| total(pair.1))?,
                    numbers.max_by(|pair| total(pair.1))?,
                    given.min_by(|seven, n| n ^ seven)?,
                    given.max_by(|seven, n| n % seven)?,
                ))
            },
            |got: (Option<(u64, f64)>, Option<(u64, f64)>, Option<u64>, Option<u64>)| {
                // Neighbours have the same key, and the first of them counts.
                let pairs: Vec<_> = (0..1_000).map(|n| (n, fraction(n / 2))).collect();
                let least = pairs.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
                let most = pairs.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
                assert_eq!(got, (least, most, Some(7), Some(6)));
            },
        ),
        Case::new(
            "stats, mean, variance and stdev",
            |cx: &S| {
                let numbers = few(cx).map(|n| 1e6 + fraction(n));
                Ok((numbers.stats()?, numbers.mean()?, numbers.variance()?, numbers.stdev()?))
            },
            |(stats, mean, variance, stdev): (Stats, Option<f64>, Option<f64>, Option<f64>)| {
                let numbers: Vec<f64> = (0..1_000).map(|n| 1e6 + fraction(n)).collect();
                let expected = moments(&numbers);
                assert_eq!(
                    (stats.count(), stats.mean(), stats.variance(), stats.stdev()),
                    (1_000, mean, variance, stdev)
                );
                assert_eq!(stats.min(), numbers.iter().copied().reduce(f64::min));
                assert_eq!(stats.max(), numbers.iter().copied().reduce(f64::max));
                assert!((mean.unwrap_or(0.0) - expected.0).abs() < 1e-8);
                assert!((variance.unwrap_or(0.0) - expected.1).abs() < 1e-8);
                assert!((stdev.unwrap_or(0.0) - expected.1.sqrt()).abs() < 1e-8);
            },
        ),
        Case::new(
            "histogram and histogram_in",
            |cx: &S| {
                let numbers = few(cx).map(uneven);
                let (even, given) =
                    (numbers.histogram(7)?, numbers.histogram_in(vec![0.0, 10.0, 49.0, f64::INFINITY])?);
                Ok((even.bounds, even.counts, even.outside, given.counts, given.outside))
            },
            |(bounds, counts, outside, given, beyond): (Vec<f64>, Vec<u64>, u64, Vec<u64>, u64)| {
                assert_eq!(bounds, [0.0, 7.0, 14.0, 21.0, 28.0, 35.0, 42.0, 49.0]);
                let within = |least: f64, end: f64| {
                    let numbers = (0..1_000).map(uneven).filter(|number| *number >= least && *number < end);
                    numbers.count() as u64
                };
                let mut expected: Vec<u64> = (0..7).map(|at| within(at as f64 * 7.0, at as f64 * 7.0 + 7.0)).collect();
                expected[6] += within(49.0, 50.0);
                assert_eq!((counts, outside), (expected, 30));
                let infinite = (0..1_000).map(uneven).filter(|number| *number == f64::INFINITY).count() as u64;
                assert_eq!(given, [within(0.0, 10.0), within(10.0, 49.0), within(49.0, 1e9) + infinite]);
                assert_eq!(beyond, 20);
            },
        ),
        Case::new(
            "count_by_key and count_by_value",
            |cx: &S| {
                Ok((few(cx).map(|n| (n * n % 7, n)).count_by_key()?, few(cx).map(|n| n * n % 7).count_by_value()?))
            },
            |(keys, values): (BTreeMap<u64, u64>, BTreeMap<u64, u64>)| {
                let expected = grouped((0..1_000).map(|n| (n * n % 7, ()))).into_iter();
                assert_eq!(keys, expected.map(|(key, all)| (key, all.len() as u64)).collect());
                assert_eq!(values, keys);
            },
        ),
        Case::new(
            "collect_as_map",
            |cx: &S| few(cx).map(|n| (n % 10, n)).collect_as_map(),
            |got: BTreeMap<u64, u64>| assert_eq!(got, (0..10).map(|key| (key, 990 + key)).collect()),
        ),
        Case::new(
            "reduce_by_key_locally",
            |cx: &S| {
                let pairs = few(cx).map(|n| (n % 10, n));
                Ok((
                    pairs.reduce_by_key_locally(|a, b| a + b)?,
                    pairs.with(1u64).reduce_by_key_locally(|k, a, b| a.max(b) | k)?,
                ))
            },
            |(sums, most): (BTreeMap<u64, u64>, BTreeMap<u64, u64>)| {
                let expected = grouped((0..1_000).map(|n| (n % 10, n)));
                assert_eq!(sums, expected.iter().map(|(key, all)| (*key, all.iter().sum())).collect());
                assert_eq!(most, expected.keys().map(|key| (*key, (990 + key) | 1)).collect());
            },
        ),
        Case::new(
            "lookup",
            |cx: &S| {
                let pairs = few(cx).map(|n| (format!("key {}", n % 10), n));
                let reduced = pairs.reduce_by_key(|a, b| a + b);
                Ok((pairs.lookup("key 3".into())?, reduced.lookup("key 3".into())?, reduced.lookup("no key".into())?))
            },
            |(all, sum, none): (Vec<u64>, Vec<u64>, Vec<u64>)| {
                assert_eq!(all, those(|n| n % 10 == 3));
                assert_eq!((sum, none), (vec![those(|n| n % 10 == 3).iter().sum::<u64>()], vec![]));
            },
        ),
        Case::new(
            "take_sample",
            |cx: &S| {
                let numbers = few(cx);
                let one: Vec<u64> = (0..300).map(|seed| Ok(numbers.take_sample(1, seed)?[0])).collect::<Result<_>>()?;
                Ok((numbers.take_sample(100, 1)?, numbers.take_sample(100, 2)?, numbers.take_sample(1_001, 3)?, one))
            },
            |(first, second, all, one): (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>)| {
                for sample in [&first, &second] {
                    assert!(sample.len() == 100 && sample.is_sorted_by(|a, b| a < b), "{sample:?}");
                    assert!(sample.iter().all(|n| *n < 1_000));
                }
                assert_ne!(first, second);
                assert_eq!(all, those(|_| true));
                // Of 300 samples of one item, about a third comes from each partition.
                for part in 0..3 {
                    let from = one.iter().filter(|n| **n * 3 / 1_000 == part).count();
                    assert!((60..140).contains(&from), "{from} of partition {part}");
                }
            },
        ),
        Case::new(
            "to_local_iterator",
            |cx: &S| {
                let sums = few(cx).map(|n| (n % 10, n)).reduce_by_key(|a, b| a + b).sort_by_key();
                let failing = few(cx).try_map(|n| if n < 900 { Ok(n) } else { Err("too large")? });
                let (items, errors): (Vec<_>, Vec<_>) = failing.to_local_iterator().partition(|item| item.is_ok());
                Ok((sums.to_local_iterator().collect::<Result<Vec<_>>>()?, items.len(), errors.len()))
            },
            |got: (Vec<(u64, u64)>, usize, usize)| {
                let sums =
                    grouped((0..1_000).map(|n| (n % 10, n))).into_iter().map(|(key, all)| (key, all.iter().sum()));
                // The third partition begins with 666, and fails as a whole.
                assert_eq!(got, (sums.collect(), 666, 1));
            },
        ),
        Case::new(
            "count_approx_distinct",
            |cx: &S| {
                let (numbers, pairs) = (few(cx).map(|n| mix(n % 321)), few(cx).map(|n| (n % 2, mix(n % 321))));
                Ok((numbers.count_approx_distinct(0.01)?, pairs.count_approx_distinct_by_key(0.01).collect()?))
            },
            |(all, by_key): (u64, Vec<(u64, u64)>)| {
                for count in [all, by_key[0].1, by_key[1].1] {
                    assert!((310..332).contains(&count), "about {count}, but there are 321");
                }
                assert_eq!(by_key.len(), 2);
            },
        ),
    ]
}
