//! Tasks that fail and are retried: what runs again, and what a failed job leaves behind.

use crate::errors::at;
use crate::support::{cx, fault, sorted, wait_until};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

#[test]
fn one_transient_failure_costs_one_more_run_of_its_task_alone() -> Result<()> {
    static RUNS: [AtomicUsize; 6] = [const { AtomicUsize::new(0) }; 6];
    let cx = Context::builder().threads(2).max_attempts(3).progress(false).build()?;
    let flaky = cx.from_fn(6, |partition| {
        let before = RUNS[partition as usize].fetch_add(1, Relaxed);
        assert!(partition != 3 || before >= 2, "not yet");
        [u64::from(partition)]
    });
    assert_eq!(flaky.collect()?, [0, 1, 2, 3, 4, 5]);
    assert_eq!(RUNS.each_ref().map(|runs| runs.load(Relaxed)), [1, 1, 1, 3, 1, 1]);
    Ok(())
}

#[test]
fn a_transient_failure_of_a_map_task_is_made_good() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::builder().threads(2).max_attempts(2).progress(false).build()?;
    let sums = cx
        .range_in(0..1000, 5)
        .map(|n| {
            assert!(n != 400 || RUNS.fetch_add(1, Relaxed) > 0, "the first time it fails");
            ITEMS.fetch_add(1, Relaxed);
            (n % 3, n)
        })
        .reduce_by_key(|a, b| a + b);
    let expected: Vec<(u64, u64)> = (0..3).map(|k| (k, (0..1000).filter(|n| n % 3 == k).sum())).collect();
    assert_eq!(sorted(sums.collect()?), expected);
    assert_eq!(RUNS.load(Relaxed), 2);
    // Item 400 is the first of its partition, so none of that partition was done before.
    assert_eq!(ITEMS.load(Relaxed), 1000);
    Ok(())
}

#[test]
fn a_task_that_always_fails_is_tried_as_often_as_the_setting_says() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    for attempts in [1, 4] {
        RUNS.store(0, Relaxed);
        let cx = Context::builder().threads(2).max_attempts(attempts).progress(false).build()?;
        let failing = cx.range_in(0..1, 1).map(|n| {
            let run = RUNS.fetch_add(1, Relaxed);
            if run < 100 { panic!("run {run}") } else { n }
        });
        let error = failing.count().unwrap_err();
        let text = error.to_string();
        let fault = fault(error);
        assert_eq!((fault.attempts, RUNS.load(Relaxed)), (attempts, attempts as usize));
        assert_eq!(fault.message, "run 0", "the first error is the one to tell");
        assert_eq!(text.contains("failed 4 times"), attempts == 4, "{text}");
    }
    Ok(())
}

#[test]
fn a_map_stage_that_always_fails_fails_every_job_on_it() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let failing = cx
        .range_in(0..100, 4)
        .map(|n| {
            RUNS.fetch_add(1, Relaxed);
            (at(n, n % 2), n)
        })
        .reduce_by_key(|a, b| a + b);
    for _ in 0..3 {
        let before = RUNS.load(Relaxed);
        assert_eq!(fault(failing.collect().unwrap_err()).operator, "map");
        assert!(RUNS.load(Relaxed) > before, "it was not run again");
        assert_eq!(fault(failing.count().unwrap_err()).operator, "map");
        assert_eq!(fault(failing.map_values(|n| n).take(1).unwrap_err()).operator, "map");
    }
    assert_eq!(cx.range(0..10).count()?, 10);
    Ok(())
}

#[test]
fn a_map_stage_that_failed_once_is_run_again_by_the_next_job() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let sums = cx
        .range_in(0..100, 4)
        .map(|n| {
            assert!(n != 60 || RUNS.fetch_add(1, Relaxed) > 0, "the first job meets this");
            (n % 2, n)
        })
        .reduce_by_key(|a, b| a + b);
    assert_eq!(fault(sums.collect().unwrap_err()).message, "the first job meets this");
    assert_eq!(sorted(sums.collect()?), [(0, 2450), (1, 2500)]);
    assert_eq!(RUNS.load(Relaxed), 2);
    Ok(())
}

#[test]
fn a_fold_over_map_outputs_that_failed_once_is_done_again_by_the_next_job() -> Result<()> {
    static FAILED: AtomicUsize = AtomicUsize::new(0);
    const PARTS: u64 = 12;
    let cx = cx();
    // Each map task counts to 10 for each key: counts of more than 50 exist only where their outputs are merged.
    let counts = cx.range_in(0..PARTS * 1000, PARTS as u32).map(|n| (n % 100, 1u64)).reduce_by_key(|a, b| {
        assert!(a + b < 50 || FAILED.fetch_add(1, Relaxed) > 0, "the first job meets this");
        a + b
    });
    let fault = fault(counts.collect().unwrap_err());
    assert_eq!((fault.operator.as_str(), fault.message.as_str()), ("reduce_by_key", "the first job meets this"));
    assert_eq!(sorted(counts.collect()?), (0..100).map(|key| (key, PARTS * 10)).collect::<Vec<_>>());
    drop(counts);
    wait_until("nothing is held any more", || cx.memory().used() == 0);
    Ok(())
}
