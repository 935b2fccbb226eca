//! Cached partitions: made once, recomputed when they are missing, and dropped with their last handle.

use crate::support::{cx, wait_until};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

#[test]
fn a_cached_partition_is_made_once() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let squares = cx.range_in(0..1000, 5).map(|n| {
        MADE.fetch_add(1, Relaxed);
        n * n
    });
    let expected: u64 = (0..1000).map(|n| n * n).sum();
    let cached = squares.cache();
    assert_eq!(MADE.load(Relaxed), 0, "nothing is made before an action");
    for _ in 0..3 {
        assert_eq!(cached.sum()?, expected);
        assert_eq!(cached.filter(|n| n % 2 == 0).count()?, 500);
    }
    assert_eq!((MADE.load(Relaxed), cx.blocks()), (1000, 5));
    // The handle that was there before is not the cached one.
    assert_eq!(squares.count()?, 1000);
    assert_eq!(MADE.load(Relaxed), 2000);
    Ok(())
}

#[test]
fn only_the_partitions_that_were_asked_for_are_kept() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let cached = cx.range_in(0..100, 10).map(|n| {
        MADE.fetch_add(1, Relaxed);
        n
    });
    let cached = cached.cache();
    assert_eq!(cached.take(15)?, (0..15).collect::<Vec<_>>());
    let some = MADE.load(Relaxed);
    assert!((20..100).contains(&some), "{some}");
    assert_eq!(cached.count()?, 100);
    assert_eq!(MADE.load(Relaxed), 100, "cached partitions are not recomputed");
    Ok(())
}

#[test]
fn partitions_that_do_not_fit_are_recomputed() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    // The data is 100 times as large as the cache may be.
    let cx = Context::builder().threads(2).memory(160 << 10).progress(false).build()?;
    let cached = cx.range_in(0..1_000_000, 4).map(|n| {
        MADE.fetch_add(1, Relaxed);
        n ^ 1
    });
    let cached = cached.cache();
    let expected: u64 = (0..1_000_000).sum();
    assert_eq!(cached.sum()?, expected);
    assert_eq!(cx.blocks(), 0, "nothing fits");
    assert_eq!(cached.sum()?, expected);
    assert_eq!(cached.take(3)?, [1, 0, 3]);
    assert!(MADE.load(Relaxed) >= 2_000_000);
    assert_eq!(cached.collect()?, (0..1_000_000).map(|n| n ^ 1).collect::<Vec<_>>());
    drop(cached);
    wait_until("all memory is given back", || cx.memory().used() == 0);
    Ok(())
}

#[test]
fn partitions_that_fit_are_cached_beside_those_that_do_not() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::builder().threads(1).memory(1 << 20).progress(false).build()?;
    // One partition of 8 MiB, and nine small ones.
    let cached = cx.from_fn(10, |partition| {
        let rows = if partition == 4 { 1 << 20 } else { 100 };
        (0..rows).map(move |n| {
            MADE.fetch_add(1, Relaxed);
            u64::from(partition) * 1_000_000_000 + n
        })
    });
    let cached = cached.cache();
    let rows = (1 << 20) + 900;
    assert_eq!(cached.count()?, rows);
    assert_eq!(cx.blocks(), 9);
    assert_eq!(MADE.swap(0, Relaxed) as u64, rows);
    assert_eq!(cached.count()?, rows);
    assert_eq!(MADE.load(Relaxed), 1 << 20, "only the one that did not fit is recomputed");
    Ok(())
}

#[test]
fn partitions_that_do_not_fit_go_to_the_disk_if_allowed() -> Result<()> {
    for level in [StorageLevel::MemoryAndDisk, StorageLevel::Disk] {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        MADE.store(0, Relaxed);
        let scratch = tempfile::tempdir().unwrap();
        let builder = Context::builder().threads(2).memory(1 << 20).spill_dir(scratch.path());
        let cx = builder.progress(false).build()?;
        let cached = cx.range_in(0..300_000, 3).map(|n| {
            MADE.fetch_add(1, Relaxed);
            (n, n.to_string())
        });
        let cached = cached.persist(level);
        let expected: Vec<(u64, String)> = (0..300_000).map(|n| (n, n.to_string())).collect();
        for _ in 0..3 {
            assert_eq!(cached.collect()?, expected);
        }
        assert_eq!(MADE.load(Relaxed), 300_000, "{level:?}");
        assert!(cx.spill_bytes() > 0 && cx.blocks() == 3, "{level:?}");
        drop(cached);
        wait_until("the disk is given back", || cx.spill_bytes() == 0 && cx.blocks() == 0);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left in the directory");
    }
    Ok(())
}

#[test]
fn blocks_go_with_the_last_handle_that_needs_them() -> Result<()> {
    let cx = cx();
    let cached = cx.range_in(0..100, 4).map(|n| (n % 7, n)).cache();
    let sums = cached.shuffle_into(3).reduce_by_key(|a, b| a + b);
    let boxed = sums.map(|pair| pair).boxed();
    assert_eq!(boxed.count()?, 7);
    assert_eq!(cx.blocks(), 8);
    drop(sums);
    drop(cached);
    assert_eq!((boxed.count()?, cx.blocks()), (7, 8), "what is left still needs them");
    drop(boxed);
    wait_until("all blocks are gone", || cx.blocks() == 0);
    wait_until("all memory is given back", || cx.memory().used() == 0);
    Ok(())
}

#[test]
fn output_of_a_shuffle_is_cached_too() -> Result<()> {
    static REDUCED: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let sums = cx.range_in(0..100, 4).map(|n| (n % 10, n)).group_by_key().map(|(key, all)| {
        REDUCED.fetch_add(1, Relaxed);
        (key, all.into_iter().sum::<u64>())
    });
    let cached = sums.cache();
    for _ in 0..3 {
        assert_eq!(cached.values().sum()?, 4950);
    }
    let total = cached.map(|(key, n)| (key % 2, n)).reduce_by_key(|a, b| a + b);
    assert_eq!(total.values().sum()?, 4950);
    assert_eq!(total.values().max()?, Some((0..100).filter(|n| n % 2 == 1).sum::<u64>()));
    assert_eq!(REDUCED.load(Relaxed), 10);
    Ok(())
}

#[test]
fn a_shuffle_read_before_and_after_its_input_is_kept_is_the_same() -> Result<()> {
    let cx = cx();
    let cached = cx.range_in(0..100, 4).map(|n| (n % 10, n)).reduce_by_key(|a, b| a + b).map(|pair| pair).cache();
    let halves = cached.map(|(key, n)| (key / 5, n)).reduce_by_key(|a, b| a + b);
    let of = |half: u64| (0..100).filter(|n| n % 10 / 5 == half).sum::<u64>();
    // The first action caches the input, so the second action has another plan.
    for _ in 0..3 {
        assert_eq!(crate::support::sorted(halves.collect()?), [(0, of(0)), (1, of(1))]);
        assert_eq!(halves.values().sum()?, 4950);
    }
    Ok(())
}

#[test]
fn a_task_that_failed_leaves_no_part_of_a_partition_behind() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let cached = cx.range_in(0..5000, 1).map(|n| {
        assert!(n != 4000 || RUNS.fetch_add(1, Relaxed) > 0, "the first time it fails");
        n
    });
    let cached = cached.cache();
    assert!(cached.count().is_err());
    assert_eq!(cx.blocks(), 0);
    // Nor is a partition cached if the reader wanted only its beginning and no more of it was made.
    assert_eq!(cached.collect()?, (0..5000).collect::<Vec<_>>());
    assert_eq!(cached.count()?, 5000);
    Ok(())
}

#[test]
fn a_dataset_that_is_not_deterministic_is_made_once_whatever_the_memory() -> Result<()> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::builder().threads(2).memory(1 << 20).progress(false).build()?;
    let drawn = cx.range_in(0..400_000, 4).map(|n| n + 1_000_000 * (CALLS.fetch_add(1, Relaxed) as u64));
    let cached = drawn.nondeterministic().cache();
    let first = cached.collect()?;
    assert_eq!(cached.collect()?, first);
    assert_eq!(CALLS.load(Relaxed), 400_000);
    Ok(())
}

/// A row that counts how many rows exist.
#[derive(Debug, Serialize)]
struct Alive(u64);

static ALIVE: AtomicI64 = AtomicI64::new(0);

impl Alive {
    fn new(n: u64) -> Self {
        ALIVE.fetch_add(1, Relaxed);
        Alive(n)
    }
}

impl Clone for Alive {
    fn clone(&self) -> Self {
        Alive::new(self.0)
    }
}

impl<'de> Deserialize<'de> for Alive {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        Ok(Alive::new(u64::deserialize(from)?))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Relaxed);
        // Dropping many rows takes time.
        if self.0.is_multiple_of(50) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn no_row_outlives_the_last_handle_of_its_dataset() -> Result<()> {
    // Regression: a worker once took over the dropping, and the driver, which had released the dataset, continued
    // before it was done.
    let cx = Context::local(4)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The workers are always busy.
        let others = scope.spawn(|| {
            while !stop.load(Relaxed) {
                assert_eq!(cx.range_in(0..64, 32).count()?, 64);
            }
            Ok(())
        });
        let mut rounds = || -> Result<()> {
            for round in 0..150 {
                let rows = cx.range_in(0..2_000, 4).map(Alive::new);
                if round % 2 == 0 {
                    let dealt = rows.repartition(3);
                    assert_eq!((dealt.count()?, ALIVE.load(Relaxed) > 0), (2_000, true));
                } else {
                    let kept = rows.cache();
                    assert_eq!((kept.count()?, ALIVE.load(Relaxed)), (2_000, 2_000));
                }
                drop(rows);
                assert_eq!(ALIVE.load(Relaxed), 0, "rows are alive that no dataset holds, in round {round}");
            }
            Ok(())
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut rounds));
        stop.store(true, Relaxed);
        others.join().unwrap().and(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// A row that panics when it is dropped once that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fragile(u64);

static BREAKS: AtomicBool = AtomicBool::new(false);
static BROKEN: AtomicI64 = AtomicI64::new(0);

impl Drop for Fragile {
    fn drop(&mut self) {
        // One row of each partition: a second panic while the first one unwinds ends the process.
        if self.0.is_multiple_of(2) && BREAKS.load(Relaxed) {
            BROKEN.fetch_add(1, Relaxed);
            panic!("row {} breaks", self.0);
        }
    }
}

/// Lets rows break while something is dropped, one of each of four partitions.
fn breaks(what: &str, drops: impl FnOnce()) {
    BROKEN.store(0, Relaxed);
    BREAKS.store(true, Relaxed);
    drops();
    wait_until(what, || BROKEN.load(Relaxed) == 4);
    BREAKS.store(false, Relaxed);
}

/// The panic went on in the program, or ended a thread of the context.
#[test]
fn rows_that_panic_when_dropped_end_neither_the_program_nor_a_thread() -> Result<()> {
    let cx = Context::local(2)?;
    for _ in 0..3 {
        let rows = cx.range_in(0..8, 4).map(Fragile);
        let kept = rows.cache();
        assert_eq!(kept.count()?, 8);
        breaks("kept partitions are dropped", || drop(kept));
        let dealt = rows.repartition(3);
        assert_eq!(dealt.count()?, 8);
        breaks("blocks are dropped", || drop(dealt));
        let job = rows.background().collect()?;
        wait_until("all results are there", || job.progress().partitions_done == 4);
        breaks("results are dropped", || drop(job));
    }
    assert_eq!(cx.blocks(), 0);
    Ok(())
}
