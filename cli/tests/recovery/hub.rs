//! A hub is killed at any moment: the answer is right, and finished work does not run again.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark, path, until};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tryworks::prelude::*;

/// The maps of the job that shuffles, and the tasks of the one that does not.
const MAPS: u64 = 60;
const PLAIN: u64 = 40;

/// When hubs are killed, by the number of tasks that have begun, from a seed.
fn moments() -> Vec<usize> {
    let mut seed = 11u64;
    let mut moments: Vec<usize> = (0..10)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % (MAPS + PLAIN - 10) as usize
        })
        .collect();
    moments.sort_unstable();
    moments
}

/// How many more tasks may begin before the hub is killed. Even if the test is slow, the program must not have ended by
/// then.
const BEYOND: usize = 4;

/// The first item of a partition of ten leaves a mark and takes a moment. The test counts beginnings: a task that an
/// earlier hub launched may be at its last item long after the next hub launched the same task.
fn step(name: &str, n: u64) {
    if !n.is_multiple_of(10) {
        return;
    }
    mark(format!("{name}-{}", n / 10));
    let begun = begun(&path(""));
    for (number, moment) in moments().into_iter().enumerate() {
        if begun >= moment + BEYOND {
            gate(&format!("killed-{number}"));
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
}

fn program() {
    let cx = Context::init().unwrap();
    let sums = cx.range_in(0..MAPS * 10, MAPS as u32).map(|n| {
        step("map", n);
        (n % 7, n)
    });
    let sums = sums.shuffle_into(5).reduce_by_key(|a, b| a + b);
    let expected: BTreeMap<u64, u64> = (0..7).map(|key| (key, (0..MAPS * 10).filter(|n| n % 7 == key).sum())).collect();
    assert_eq!(sums.collect().unwrap().into_iter().collect::<BTreeMap<_, _>>(), expected);
    let plain = cx.range_in(0..PLAIN * 10, PLAIN as u32).map(|n| {
        step("plain", n);
        n
    });
    assert_eq!(plain.count().unwrap(), PLAIN * 10);
    // The output of the first job is still held, though other hubs have started since.
    assert_eq!(sums.collect().unwrap().into_iter().collect::<BTreeMap<_, _>>(), expected);
}

/// How many tasks have begun.
fn begun(shared: &Path) -> usize {
    marks(shared, "map").len() + marks(shared, "plain").len()
}

/// The partitions of the marks of a name, and how many marks each has.
fn marks(shared: &Path, name: &str) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(shared).unwrap().flatten() {
        let file = entry.file_name().into_string().unwrap();
        let partition =
            file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.split('.').next()?.parse().ok());
        if let Some(partition) = partition {
            *found.entry(partition).or_default() += 1;
        }
    }
    found
}

/// The partitions of the first stage of an action's jobs whose tasks were reported to the hub as finished.
fn reported(cluster: &Cluster, action: &str) -> BTreeSet<u64> {
    let jobs = cluster.good(&["jobs", "--cluster", "default", "-o", "json"]);
    let jobs: Vec<serde_json::Value> = serde_json::from_str(&jobs).unwrap();
    let mut found = BTreeSet::new();
    for job in jobs.iter().filter(|job| job["label"].as_str().unwrap().starts_with(action)) {
        let detail = cluster.job(&job["job"].to_string());
        for task in detail["tasks"].as_array().unwrap() {
            if task["stage"] == 0 && task["error"].is_null() {
                let first = task["first"].as_u64().unwrap();
                found.extend(first..first + task["partitions"].as_u64().unwrap());
            }
        }
    }
    found
}

#[test]
fn a_hub_is_killed_a_dozen_times_and_nothing_that_finished_runs_again() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let mut driver = cluster.begin(here!(), &[]);
    let mut epoch = 1;
    // What had finished, and how many times it had begun by then.
    let mut finished = [BTreeMap::new(), BTreeMap::new()];
    let stages = [("map", "collect", MAPS), ("plain", "count", PLAIN)];
    for (number, moment) in moments().into_iter().enumerate() {
        until("enough tasks have begun", || {
            assert!(driver.child.try_wait().unwrap().is_none(), "the driver ended: {}", driver.err());
            (begun(&cluster.shared.0) >= moment).then_some(())
        });
        for ((name, action, _), finished) in stages.iter().zip(&mut finished) {
            let reported = reported(&cluster, action);
            let ran = marks(&cluster.shared.0, name);
            for partition in reported {
                finished.entry(partition).or_insert(ran[&partition]);
            }
        }
        // Every third hub dies again as soon as it runs.
        for _ in 0..1 + usize::from(number % 3 == 0) {
            cluster.kill_hub();
            assert_eq!(cluster.start_hub(), epoch + 1, "another hub has begun");
            epoch += 1;
        }
        cluster.shared.open(&format!("killed-{number}"));
    }
    assert!(epoch > 12);
    driver.ends_well();
    for ((name, _, all), finished) in stages.into_iter().zip(finished) {
        let ran = marks(&cluster.shared.0, name);
        assert_eq!(ran.len() as u64, all);
        let again: Vec<_> = finished.iter().filter(|(partition, before)| ran[partition] > **before).collect();
        assert!(again.is_empty(), "of the {} {name}s that had finished, these ran again: {again:?}", finished.len());
        assert!(!finished.is_empty());
    }
}
