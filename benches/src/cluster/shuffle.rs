//! Benchmarks: `group_by_key` of a gigabyte that goes across two engines with one slot each, against the local runtime
//! with two threads.

use tryworks::prelude::*;

use super::Cluster;
use crate::data::mix::mix2;
use crate::harness::{Answer, Bench, Outcome, Pair, Settings};

/// Bytes that are shuffled.
const BYTES: u64 = 1 << 30;
/// Distinct keys.
const KEYS: u64 = 1_000_000;

/// Pairs of numbers.
pub fn u64s(settings: &Settings) -> Outcome<Bench> {
    pair(settings, settings.scaled(BYTES / 16), group_numbers, 0.5)
}

/// Pairs of strings of 12 and 20 bytes.
pub fn strings(settings: &Settings) -> Outcome<Bench> {
    pair(settings, settings.scaled(BYTES / 32), group_strings, 0.35)
}

fn pair(_: &Settings, rows: u64, group: fn(&Context, u64) -> Outcome<Answer>, goal: f64) -> Outcome<Bench> {
    let cluster = Cluster::start(2)?;
    let (cluster_cx, local_cx) = (cluster.context()?, Context::builder().threads(2).progress(false).build()?);
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || {
            // Kept for as long as its context is used.
            let _ = &cluster;
            group(&cluster_cx, rows)
        })),
        twin: Box::new(move || group(&local_cx, rows)),
        after: None,
        goal: Some(goal),
        cpu: false,
    }))
}

fn group_numbers(cx: &Context, rows: u64) -> Outcome<Answer> {
    let groups = cx.range(0..rows).map(|n| (mix2(n, 1) % KEYS, n)).group_by_key();
    let (count, checksum) = groups.aggregate(
        (0u64, 0u64),
        |all, (key, values)| {
            let sum = values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value));
            (all.0 + 1, all.1.wrapping_add(mix2(key, sum)))
        },
        |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)),
    )?;
    Ok(Answer { count, checksum })
}

fn group_strings(cx: &Context, rows: u64) -> Outcome<Answer> {
    let pairs = cx.range(0..rows).map(|n| (format!("{:012}", mix2(n, 1) % KEYS), format!("{n:020}")));
    let (count, checksum) = pairs.group_by_key().aggregate(
        (0u64, 0u64),
        |all, (key, values)| {
            let bytes =
                |text: &str| text.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let sum = values.iter().fold(0u64, |sum, value| sum.wrapping_add(bytes(value)));
            (all.0 + 1, all.1.wrapping_add(mix2(bytes(&key), sum)))
        },
        |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)),
    )?;
    Ok(Answer { count, checksum })
}
