//! Every case gives the same answer, bit for bit, on any number of threads and with any amount of memory. A few
//! sequential lines give it, too.

use crate::support::{AMPLE, Place, fraction};
use std::collections::BTreeMap;
use std::fmt::Debug;
use tryworks::prelude::*;
use tryworks_testing::cases;

/// Runs `job` on 1, 2 and 7 threads, each with ample memory and with `tight` bytes. All answers must be the same. If
/// `spills` is set, the runs with little memory must have spilled; the others must not.
fn every_way<R: PartialEq + Debug>(what: &str, spills: bool, tight: u64, job: impl Fn(&Context) -> Result<R>) -> R {
    let mut first = None;
    for (threads, memory) in [1, 2, 7].into_iter().flat_map(|threads| [(threads, AMPLE), (threads, tight)]) {
        let place = Place::new(threads, memory);
        let way = format!("`{what}` on {threads} threads with {memory} bytes");
        let answer = job(&place.cx).unwrap_or_else(|error| panic!("{way} failed: {error}"));
        let spilled = place.cx.memory().spilled();
        assert!(!spills || (spilled > 0) == (memory == tight), "{way}: {spilled} bytes were spilled");
        match &first {
            None => first = Some(answer),
            Some(first) => assert!(answer == *first, "{way} gives another answer"),
        }
        place.settles();
    }
    first.unwrap()
}

fn every_case(of: impl Fn(&cases::Case<Context>) -> bool) {
    for case in cases::all().into_iter().filter(of) {
        case.check(&every_way(case.name, case.spills, 512 << 10, |cx| case.run(cx)));
    }
}

#[test]
fn small_cases() {
    every_case(|case| !case.spills);
}

#[test]
fn large_cases_of_operators() {
    every_case(|case| case.spills && case.name != "ranks of pages");
}

#[test]
fn large_cases_of_loops() {
    every_case(|case| case.spills && case.name == "ranks of pages");
}

#[test]
fn sums_by_words_of_which_a_map_task_holds_a_part_at_a_time() {
    let (words, rows, parts) = (150_000, 600_000, 2);
    let word = move |n: u64| format!("{:x}", n / 2 % words);
    let sums = every_way("sums by words", true, 8 << 20, |cx| {
        let rows = cx.range_in(0..rows, parts).with(words);
        let pairs = rows.map(|words, n| (format!("{:x}", n / 2 % words), fraction(n)));
        let sums = pairs.shuffle_into(5).reduce_by_key(|a, b| a + b).collect()?;
        Ok(sums.into_iter().map(|(word, sum)| (word, sum.to_bits())).collect::<Vec<_>>())
    });
    let mut expected = BTreeMap::<String, f64>::new();
    (0..rows).for_each(|n| *expected.entry(word(n)).or_default() += fraction(n));
    assert_eq!(sums.len(), expected.len());
    for (word, sum) in sums {
        assert!((f64::from_bits(sum) - expected[&word]).abs() < 1e-12, "{word}");
    }
}
