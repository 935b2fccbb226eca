//! Cached partitions on engines: too large, lost, dropped, and recomputed with everything that they depend on.

use crate::here;
use crate::rig::{Cluster, Engine, claim, driving, gate, mark, signal, until};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tryworks::prelude::*;

/// Half a mebibyte for each of eight partitions.
fn large(cx: &Context) -> Dataset<impl Pipe<Item = String> + use<>> {
    cx.range_in(0..8, 8).map(|n| {
        mark("made");
        format!("{n}").repeat(512 << 10)
    })
}

#[test]
fn partitions_that_fit_are_cached_and_others_are_recomputed() {
    if driving() {
        let cx = Context::init().unwrap();
        let kept = large(&cx).cache();
        for _ in 0..2 {
            assert_eq!(kept.map(|text| text.len() as u64).sum().unwrap(), 4 << 20);
        }
        return;
    }
    for (memory, least, most) in [("64M", 8, 8), ("6M", 9, 15), ("256K", 16, 16)] {
        let mut cluster = Cluster::by_hand(0, 0, &[]);
        cluster.add("engine-1", Engine { slots: 1, memory: Some(memory), ..Engine::default() });
        cluster.wait_for_engines(1);
        cluster.drive(here!());
        let made = cluster.shared.marks("made");
        assert!((least..=most).contains(&made), "{memory}: made {made} times");
    }
}

#[test]
fn dropped_handles_give_memory_and_blocks_back_everywhere() {
    if driving() {
        let cx = Context::init().unwrap();
        let kept = cx.range_in(0..64, 8).map(|n| format!("{:02}", n).repeat(512 << 10)).cache();
        assert_eq!(kept.count().unwrap(), 64);
        let shuffled = kept.map(|row| (row[..2].to_string(), row)).shuffle_into(2).group_by_key();
        assert_eq!(shuffled.count().unwrap(), 64);
        mark("held");
        gate("drop");
        drop((kept, shuffled));
        mark("dropped");
        gate("end");
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    // With this setting the C library returns large pieces to the system at once.
    let environment = [("MALLOC_MMAP_THRESHOLD_", "65536"), ("TRYWORKS_SEND_ENV", "MALLOC_*")];
    let driver = cluster.begin(here!(), &environment);
    cluster.shared.wait_for("held", 1);
    let workers: Vec<u32> = cluster.engines().iter().flat_map(|(_, engine)| cluster.children(*engine)).collect();
    let held = || workers.iter().map(|pid| anonymous(*pid)).sum::<u64>();
    assert!(held() > 64 << 20, "{}", held());
    assert!(!cluster.block_files().is_empty());
    cluster.shared.open("drop");
    cluster.shared.wait_for("dropped", 1);
    cluster.is_clean();
    until("the memory is given back", || (held() < 48 << 20).then_some(()));
    cluster.shared.open("end");
    driver.ends_well();
}

/// The anonymous memory of a process.
fn anonymous(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
}

#[test]
fn cached_partitions_of_a_dead_worker_are_recomputed() {
    if driving() {
        let cx = Context::init().unwrap();
        let kept = cx.range_in(0..8, 8).map(|n| {
            mark("made");
            n * n
        });
        let kept = kept.cache();
        assert_eq!(kept.sum().unwrap(), 140);
        assert_eq!(kept.sum().unwrap(), 140);
        mark("kept");
        gate("again");
        assert_eq!(kept.sum().unwrap(), 140);
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("kept", 1);
    // A free engine takes a task that waits for a busy one, and computes the partition once more.
    let before = cluster.shared.marks("made");
    assert!((8..16).contains(&before), "{before} times");
    let mut workers = cluster.shared.markers("made");
    workers.sort();
    signal(workers[0], Signal::KILL);
    let lost = workers.iter().filter(|pid| **pid == workers[0]).count();
    cluster.wait_for_end(workers[0]);
    cluster.shared.open("again");
    driver.ends_well();
    let made = cluster.shared.marks("made");
    assert!(made > before && made >= 8 + lost, "{made} times after {before}, {lost} of them lost");
}

#[test]
fn a_shuffle_behind_lost_partitions_is_planned_again() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..4_000, 4).map(|n| {
            if n % 1_000 == 0 {
                mark("map");
            }
            (n % 100, n)
        });
        // A job caches them and then fails: so no driver knows that the shuffle's output exists.
        let kept = rows.shuffle_into(4).group_by_key().cache();
        let fails = kept.map_partitions_with_index(|part, items| {
            let items: Vec<_> = items.collect();
            if part == 3 && claim("fails") {
                mark("failing");
                gate("fail");
                panic!("enough");
            }
            items
        });
        assert!(matches!(fails.count(), Err(Error::User(_))));
        mark("failed");
        let sums = kept.map_partitions(|items| {
            if claim("waits") {
                mark("waiting");
                gate("go on");
            }
            items.map(|(key, values)| (key, values.into_iter().sum::<u64>())).collect::<Vec<_>>()
        });
        let mut found = sums.collect().unwrap();
        found.sort();
        assert_eq!(found, (0..100).map(|key| (key, (0..40).map(|i| key + 100 * i).sum())).collect::<Vec<(u64, u64)>>());
        return;
    }
    let cluster = Cluster::start(2, 1);
    cluster.shared.tokens("fails", 4);
    cluster.shared.open("fail");
    cluster.shared.tokens("waits", 2);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("waiting", 1);
    let waiting = cluster.shared.markers("waiting")[0];
    let engines = cluster.engines();
    let (_, engine) = engines.iter().find(|(_, engine)| cluster.children(*engine).contains(&waiting)).unwrap();
    signal(*engine, Signal::KILL);
    driver.says("was lost (its connection ended)");
    cluster.shared.open("go on");
    driver.ends_well();
    assert!(cluster.shared.marks("map") > 4, "the shuffle was recomputed");
}

/// A row that panics when a worker drops it on the thread that drops released values.
#[derive(Clone, Serialize, Deserialize)]
struct Fragile(u64);

impl Drop for Fragile {
    fn drop(&mut self) {
        if std::thread::current().name() == Some("tryworks-sweeper") {
            mark("swept");
            // One row of each partition: a second panic while the first one unwinds ends the process.
            assert!(!self.0.is_multiple_of(2), "row {} breaks", self.0);
        }
    }
}

/// The first panic ended that thread. Later values were dropped by the thread that sends the worker's beats.
#[test]
fn rows_that_panic_when_they_are_dropped_end_no_thread_of_a_worker() {
    const ROUNDS: usize = 3;
    if driving() {
        let cx = Context::init().unwrap();
        for round in 0..ROUNDS {
            let kept = cx.range_in(0..8, 4).map(Fragile).cache();
            assert_eq!(kept.count().unwrap(), 8);
            drop(kept);
            gate(&format!("round {round}"));
        }
        return;
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let driver = cluster.begin(here!(), &[]);
    for round in 0..ROUNDS {
        cluster.shared.wait_for("swept", 8 * (round + 1));
        cluster.shared.open(&format!("round {round}"));
    }
    let told = driver.ends_well().err;
    assert_eq!(told.matches("a `Drop` panicked at cli/tests/faults/caches.rs:").count(), 1, "{told}");
}
