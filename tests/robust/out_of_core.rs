//! Four operators on data several times as large as their memory. Each runs in a process of its own, whose memory is
//! watched from outside.

use crate::child::{Process, role};
use crate::support::Place;
use std::time::Duration;
use tryworks::prelude::*;

const LIMIT: u64 = 16 << 20;
const ROWS: u64 = 800_000;

/// A row of a hundred bytes, which takes more in memory.
fn text(n: u64) -> String {
    format!("{n:0>100}")
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

/// Runs `job` in a process of its own, which must stay within its memory.
fn within(name: &str, job: fn(&Context) -> Result<()>) {
    if role().is_some() {
        let place = Place::with(2, LIMIT, |builder| builder.compress_spills(false));
        println!("ready");
        job(&place.cx).unwrap();
        let spilled = place.cx.memory().spilled();
        assert!(spilled > ROWS * 50, "{spilled} bytes were spilled");
        place.is_clean();
        return;
    }
    let mut process = Process::start(name, "job");
    process.line("ready");
    let mut peak = 0;
    while process.child.try_wait().unwrap().is_none() {
        peak = peak.max(process.anonymous().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    process.ends_well();
    assert!(peak > 1 << 20, "the memory was not seen");
    assert!(peak < 2 * LIMIT + (64 << 20), "{} MiB were held within a limit of {}", peak >> 20, LIMIT >> 20);
}

#[test]
fn distinct() {
    within("out_of_core::distinct", |cx| {
        let once = cx.range_in(0..ROWS, 16).map(|n| text(n % (ROWS / 2))).shuffle_into(8).distinct();
        assert_eq!(once.map(|text| number(&text)).sum()?, (ROWS / 2) * (ROWS / 2 - 1) / 2);
        assert_eq!(once.count()?, ROWS / 2);
        Ok(())
    });
}

#[test]
fn group_by_key() {
    within("out_of_core::group_by_key", |cx| {
        let groups = cx.range_in(0..ROWS, 16).map(|n| (n % (ROWS / 40), text(n))).shuffle_into(8).group_by_key();
        let sums = groups.map(|(key, values)| {
            assert!(values.len() == 40 && values.iter().all(|text| number(text) % (ROWS / 40) == key));
            values.iter().map(|text| number(text)).sum::<u64>()
        });
        assert_eq!(sums.sum()?, ROWS * (ROWS - 1) / 2);
        assert_eq!(groups.count()?, ROWS / 40);
        Ok(())
    });
}

#[test]
fn join() {
    within("out_of_core::join", |cx| {
        let left = cx.range_in(0..ROWS / 2, 8).map(|n| (n, text(n)));
        let right = cx.range_in(ROWS / 4..ROWS * 3 / 4, 7).map(|n| (n, text(2 * n)));
        let matches = left.shuffle_into(8).join(&right).map(|(n, (left, right))| {
            assert!(number(&left) == n && number(&right) == 2 * n);
            (1u64, n)
        });
        let (count, sum) = matches.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?.unwrap();
        assert_eq!(count, ROWS / 4);
        assert_eq!(sum, (ROWS / 4..ROWS / 2).sum::<u64>());
        Ok(())
    });
}

#[test]
fn sort_by() {
    within("out_of_core::sort_by", |cx| {
        // 7,919 has no factor in common with the number of rows: every number comes once.
        let sorted =
            cx.range_in(0..ROWS, 16).map(|n| text(n * 7_919 % ROWS)).shuffle_into(8).sort_by(|text| number(text));
        let ranges = sorted.map_partitions(|texts| {
            let mut numbers = texts.map(|text| number(&text));
            let first = numbers.next();
            let last = numbers.fold(first, |last, n| {
                assert_eq!(last.map(|last| last + 1), Some(n));
                Some(n)
            });
            [(first, last)]
        });
        let mut next = 0;
        for (first, last) in ranges.collect()? {
            if let (Some(first), Some(last)) = (first, last) {
                assert_eq!(first, next);
                next = last + 1;
            }
        }
        assert_eq!(next, ROWS);
        Ok(())
    });
}
