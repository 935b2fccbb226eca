//! Sources, and operators that see a whole partition or several datasets.

use super::{Case, PARTS, ROWS, bits, dealt, few, grouped, late, many, sorted, those};
use crate::numbers::mix;
use std::collections::BTreeMap;
use std::fmt::Write;
use tryworks::prelude::*;

/// A line of the text. It has few distinct words, so they repeat.
fn line(n: u64) -> String {
    format!("{:x} Whale {} ünd", mix(n) % 9_000, mix(n * 3) % 700)
}

/// The same words with white space of several kinds, and now and then an empty line.
fn spaced(n: u64) -> String {
    let ends = ["\n", "\r\n", " \n\n", "\u{3000}\n"];
    format!("\u{2003}{}{}", line(n).replace(' ', "\t \u{a0}"), ends[n as usize % 4])
}

const RECORD: usize = 20;

/// A record whose key, the first two bytes, repeats.
fn record(n: u64) -> [u8; RECORD] {
    std::array::from_fn(|at| if at < 2 { (mix(n) >> (8 * at)) as u8 & 0x1f } else { (n >> (8 * (at % 8))) as u8 })
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "range",
            |cx: &S| cx.range(5..1_000).collect(),
            |got| assert_eq!(got, (5..1_000).collect::<Vec<u64>>()),
        ),
        Case::new(
            "parallelize",
            |cx: &S| cx.parallelize((0..1_000).map(mix)).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(mix).collect::<Vec<u64>>());
            },
        ),
        Case::new(
            "parallelize_in",
            |cx: &S| cx.parallelize_in((0..1_000).map(mix), 4).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(mix).collect::<Vec<u64>>());
            },
        ),
        Case::new(
            "from_fn",
            |cx: &S| Dataset::from_fn(cx.runner(), 4, |partition| (0..partition).map(u64::from)).collect(),
            |got| assert_eq!(got, [0u64, 0, 1, 0, 1, 2]),
        ),
        Case::new(
            "text_file",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                let mut text = String::new();
                (0..40_000).for_each(|n| writeln!(text, "{}", line(n)).expect("a string takes all"));
                std::fs::write(dir.path().join("text"), text)?;
                let lines = cx.text_file(dir.path().join("text"));
                assert!(lines.partitions() > 4);
                let words = lines
                    .flat_map_into(|line, out| line.split(' ').for_each(|word| out.push((Str::lower(word), 1u32))));
                words.reduce_by_key(|a, b| a + b).map(|(word, n)| (word.to_string(), n)).collect()
            },
            |got| {
                let mut expected = BTreeMap::<String, u32>::new();
                for n in 0..40_000 {
                    line(n).to_lowercase().split(' ').for_each(|word| *expected.entry(word.into()).or_default() += 1);
                }
                assert_eq!(got.len(), expected.len());
                assert!(got.into_iter().collect::<BTreeMap<String, u32>>() == expected);
            },
        ),
        Case::new(
            "words",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                let text: String = (0..20_000).map(spaced).collect();
                std::fs::write(dir.path().join("text"), text)?;
                let lines = cx.text_file(dir.path().join("text"));
                assert!(lines.partitions() > 4);
                let words = lines.words().union(&few(cx).map(spaced).words());
                words.map(|word| word.lowered().to_string()).collect()
            },
            |got: Vec<String>| {
                let words = (0..20_000)
                    .chain(0..1_000)
                    .flat_map(|n| line(n).split(' ').map(str::to_ascii_lowercase).collect::<Vec<_>>());
                assert!(got == words.collect::<Vec<String>>());
            },
        ),
        Case::large(
            "records",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                let bytes: Vec<u8> = (0..ROWS).flat_map(record).collect();
                std::fs::write(dir.path().join("records"), bytes)?;
                let records = cx.records::<RECORD>(dir.path().join("records"));
                assert!(records.partitions() > 4);
                records.sort_by(|record| record.prefix::<2>()).map(|record| record.to_vec()).collect()
            },
            |got: Vec<Vec<u8>>| {
                let mut expected: Vec<_> = (0..ROWS).map(|n| record(n).to_vec()).collect();
                expected.sort_by_key(|record| record[..2].to_vec());
                assert!(got == expected);
            },
        ),
        Case::new(
            "map_partitions",
            |cx: &S| few(cx).map_partitions(|items| [items.collect::<Vec<u64>>()]).collect(),
            |got| assert_eq!(got, [0..333, 333..666, 666..1_000].map(|part| part.collect::<Vec<u64>>())),
        ),
        Case::new(
            "map_partitions_with_index",
            |cx: &S| few(cx).map_partitions_with_index(|index, items| [(index, items.count() as u64)]).collect(),
            |got| assert_eq!(got, [(0u32, 333u64), (1, 333), (2, 334)]),
        ),
        Case::new(
            "coalesce",
            |cx: &S| few(cx).coalesce(2).map_partitions(|items| [items.count() as u64]).collect(),
            |got| assert_eq!(got, [333u64, 667]),
        ),
        Case::new(
            "zip",
            |cx: &S| few(cx).zip(&few(cx).map(|n| n * 2)).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(|n| (n, n * 2)).collect::<Vec<(u64, u64)>>());
            },
        ),
        Case::new(
            "cache",
            |cx: &S| {
                let cached = few(cx).map(|n| mix(n) >> 20).cache();
                Ok((cached.collect()?, cached.sum()?, cached.collect()?))
            },
            |(first, sum, second): (Vec<u64>, u64, Vec<u64>)| {
                let expected: Vec<u64> = (0..1_000).map(|n| mix(n) >> 20).collect();
                assert_eq!(sum, expected.iter().sum::<u64>());
                assert!(first == expected && second == expected);
            },
        ),
        Case::new(
            "persist",
            |cx: &S| {
                let kept = few(cx).map(mix).persist(StorageLevel::MemoryAndDisk);
                Ok((kept.collect()?, kept.collect()?))
            },
            |(first, second): (Vec<u64>, Vec<u64>)| {
                let expected: Vec<u64> = (0..1_000).map(mix).collect();
                assert!(first == expected && second == expected);
            },
        ),
        Case::new(
            "union",
            |cx: &S| few(cx).union(&few(cx).filter(|n| n % 2 == 0)).collect(),
            |got| assert_eq!(got, [those(|_| true), those(|n| n % 2 == 0)].concat()),
        ),
        Case::new(
            "union_all",
            |cx: &S| {
                let parts: Vec<Data<u64>> = (0..10).map(|k| cx.range_in(k..k + 5, 2).map(|n| n * 2).boxed()).collect();
                Dataset::union_all(cx.runner(), parts).collect()
            },
            |got| assert_eq!(got, (0..10).flat_map(|k| (k..k + 5).map(|n| n * 2)).collect::<Vec<u64>>()),
        ),
        Case::large(
            "a union of shuffled datasets",
            |cx: &S| {
                let one = many(cx, ROWS).map(|n| (n % 9_001, 1)).reduce_by_key(|a, b| a + b);
                let other = cx.range_in(0..ROWS / 2, 3).map(|n| (mix(n), 2)).sort_by_key();
                Ok((one.union(&other).map(late).collect()?, one.collect()?, other.collect()?))
            },
            |(both, one, other): (Vec<(u64, i32)>, Vec<(u64, i32)>, Vec<(u64, i32)>)| {
                assert!(both == [one.as_slice(), &other].concat());
                let counts = (0..9_001).map(|key| (key, (ROWS - key).div_ceil(9_001) as i32));
                assert!(sorted(one) == counts.collect::<Vec<_>>());
                assert!(other == sorted((0..ROWS / 2).map(|n| (mix(n), 2))));
            },
        ),
        Case::large(
            "repartition",
            |cx: &S| {
                let dealt = many(cx, ROWS).repartition(17);
                let parts = dealt.map_partitions(|items| [items.collect::<Vec<u64>>()]).collect()?;
                Ok((parts, dealt.map(late).collect()?))
            },
            |(parts, all): (Vec<Vec<u64>>, Vec<u64>)| {
                let expected = dealt(ROWS, 17);
                assert!(parts == expected && all == expected.concat());
            },
        ),
        Case::large(
            "sample",
            |cx: &S| many(cx, ROWS).repartition(9).sample(0.25, 11).map(late).collect(),
            |some: Vec<u64>| {
                let mut all = dealt(ROWS, 9).into_iter().flatten();
                assert!(some.iter().all(|n| all.any(|other| other == *n)), "items of the input, in their order");
                // Six standard deviations of the binomial distribution.
                let (mean, deviation) = (ROWS as f64 / 4.0, (ROWS as f64 * 0.25 * 0.75).sqrt());
                assert!((some.len() as f64 - mean).abs() < 6.0 * deviation, "{}", some.len());
            },
        ),
        Case::large(
            "sample_with_replacement",
            |cx: &S| many(cx, ROWS).repartition(9).sample_with_replacement(2.0, 3).map(late).collect(),
            |drawn: Vec<u64>| {
                let order = dealt(ROWS, 9).concat();
                let times = grouped(drawn.iter().map(|n| (*n, ())));
                let times = |n: &u64| times.get(n).map_or(0, Vec::len);
                let expected = order.iter().flat_map(|n| std::iter::repeat_n(*n, times(n)));
                assert!(drawn == expected.collect::<Vec<_>>(), "copies stand together, in the order of the input");
                // The mean of Poisson variates of mean 2 over all rows, and how many of them are 0.
                let deviation = (2.0 / ROWS as f64).sqrt();
                assert!((drawn.len() as f64 / ROWS as f64 - 2.0).abs() < 6.0 * deviation);
                let none = order.iter().filter(|n| times(n) == 0).count() as f64 / ROWS as f64;
                assert!((none - (-2f64).exp()).abs() < 0.02, "{none}");
            },
        ),
        Case::new(
            "nondeterministic",
            |cx: &S| {
                Ok(bits(few(cx).nondeterministic().map(|n| (n % 4, n as f64)).reduce_by_key(|a, b| a + b).collect()?))
            },
            |got| {
                let sum = |key: u64| (0..1_000).filter(|n| n % 4 == key).sum::<u64>() as f64;
                assert_eq!(sorted(got), bits((0..4).map(|key| (key, sum(key))).collect::<Vec<(u64, f64)>>()));
            },
        ),
        Case::new(
            "many partitions",
            |cx: &S| cx.range_in(0..100, 10 * PARTS).collect(),
            |got| {
                assert_eq!(got, (0..100).collect::<Vec<u64>>());
            },
        ),
    ]
}
