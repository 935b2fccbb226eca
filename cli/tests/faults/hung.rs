//! Workers that hang: they are ended and replaced, their slots come back, and no half-made output is kept.

use crate::here;
use crate::rig::{Cluster, claim, driving, gate, mark, signal, until};
use rustix::process::{Signal, getpid, kill_process};
use tryworks::prelude::*;

/// The variable that says how the worker hangs.
const FAULT: &str = "TRYWORKS_TEST_FAULT";

/// Never returns while there are tokens.
fn hang() {
    if claim("hang") {
        mark("hung");
        if std::env::var(FAULT).unwrap() == "stop" {
            gate("stop");
            kill_process(getpid(), Signal::STOP).unwrap();
        }
        // The task never checks whether it has to stop.
        loop {
            std::hint::spin_loop();
        }
    }
}

fn program() {
    let cx = Context::init().unwrap();
    if std::env::var(FAULT).unwrap() == "none" {
        return assert_eq!(cx.range_in(0..100, 4).map(|n| n * 2).sum().unwrap(), 9_900);
    }
    let rows = cx.from_fn(4, |part| {
        mark("ran");
        hang();
        [u64::from(part)].into_iter()
    });
    assert!(matches!(rows.count(), Err(Error::Cancelled)));
    mark("cancelled");
    gate("again");
    assert_eq!(rows.sum().unwrap(), 6, "another worker does it");
}

/// The slots of the only engine that are in use.
fn busy(cluster: &Cluster) -> u64 {
    cluster.status()["engines"][0]["running"].as_u64().unwrap()
}

fn begin(cluster: &Cluster, test: &str, fault: &str) -> (crate::rig::Driver, Vec<u32>) {
    cluster.shared.clear();
    cluster.shared.tokens("hang", 2);
    let driver = cluster.begin(test, &[(FAULT, fault)]);
    cluster.shared.wait_for("hung", 2);
    let mut hung = cluster.shared.markers("hung");
    hung.dedup();
    assert!(hung.len() == 1 && cluster.shared.all_taken("hang"), "both slots of one worker hang");
    assert_eq!(busy(cluster), 2);
    if fault == "stop" {
        cluster.shared.open("stop");
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", hung[0])).unwrap();
        until("it is stopped", || state().contains(") T ").then_some(()));
    }
    (driver, hung)
}

#[test]
fn a_worker_that_hangs_in_a_cancelled_job_is_replaced() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    for fault in ["spin", "stop"] {
        let (driver, hung) = begin(&cluster, here!(), fault);
        let job = cluster.status()["running"][0]["job"].as_u64().unwrap();
        cluster.good(&["cancel", &job.to_string()]);
        cluster.shared.wait_for("cancelled", 1);
        until("its slots are free", || (busy(&cluster) == 0).then_some(()));
        cluster.wait_for_end(hung[0]);
        assert!(cluster.status()["running"].as_array().unwrap().is_empty());
        cluster.shared.open("again");
        let done = driver.ends_well();
        assert!(
            done.err.contains("was killed because a task did not stop within 3s of being asked to"),
            "{}",
            done.err
        );
        assert!(cluster.shared.markers("ran").iter().any(|pid| *pid != hung[0]), "another worker went on");
        cluster.is_clean();
    }
}

#[test]
fn a_worker_that_hangs_ends_with_its_session() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(1, 2, &[("TRYWORKS_DRIVER_GRACE", "200ms")]);
    for fault in ["spin", "stop"] {
        let (mut driver, hung) = begin(&cluster, here!(), fault);
        driver.child.kill().unwrap();
        until("its slots are free", || (busy(&cluster) == 0).then_some(()));
        cluster.wait_for_end(hung[0]);
        assert_eq!(cluster.processes().len(), 2, "hub and engine");
        cluster.begin(here!(), &[(FAULT, "none")]).ends_well();
    }
}

#[test]
#[expect(clippy::zombie_processes, reason = "the test is whether another process ends it")]
fn a_worker_that_hangs_ends_with_its_engine_and_leaves_nothing() {
    if driving() {
        let cx = Context::init().unwrap();
        let made = cx.range_in(0..40_000, 2).map(|n| (n % 9_999, n)).shuffle_into(2).group_by_key();
        assert_eq!(made.count().unwrap(), 9_999);
        let rows = made.map_partitions(|rows| {
            // A process that a task has started ends, too.
            std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            hang();
            rows
        });
        let _ = rows.union(&cx.parallelize_in(Vec::new(), 1)).count();
        return;
    }
    for fault in ["spin", "stop"] {
        let mut cluster = Cluster::by_hand(1, 2, &[]);
        let (mut driver, hung) = begin(&cluster, here!(), fault);
        assert!(!cluster.block_files().is_empty());
        let engine = cluster.engine("engine-1");
        assert_eq!(cluster.children(engine), hung);
        assert!(cluster.processes().len() >= 6, "hub, engine, driver, worker, and two that it started");
        signal(engine, Signal::KILL);
        let (_, mut engine) = cluster.children.pop().unwrap();
        assert!(!engine.wait().unwrap().success());
        driver.child.kill().unwrap();
        driver.child.wait().unwrap();
        until("only the hub is left", || (cluster.processes().len() == 1).then_some(()));
        // Blocks are removed with the directory.
        let cleaned = cluster.good(&["cluster", "clean"]);
        assert!(cleaned.contains("engine-1: an engine that is gone; directory removed"), "{cleaned}");
        assert!(cluster.block_files().is_empty() && !cluster.home().join(".engines/engine-1").exists());
    }
}

#[test]
fn a_worker_that_was_stopped_is_replaced_and_its_tasks_run_elsewhere() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(4, |part| {
            if claim("stop") {
                mark("stopped");
                kill_process(getpid(), Signal::STOP).unwrap();
            }
            [u64::from(part)].into_iter()
        });
        return assert_eq!(rows.sum().unwrap(), 6);
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    cluster.shared.tokens("stop", 1);
    let done = cluster.drive(here!());
    assert!(cluster.shared.all_taken("stop"));
    assert!(done.err.contains("was killed because nothing was heard of it for 15s: was it stopped?"), "{}", done.err);
    cluster.wait_for_end(cluster.shared.markers("stopped")[0]);
    cluster.is_clean();
}

#[test]
fn a_worker_that_lost_its_engine_is_killed_and_its_task_is_blamed() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(2, |part| {
            if part == 1 {
                mark("lost");
                // The process becomes another program, which has no connection of the old one.
                let error = std::os::unix::process::CommandExt::exec(std::process::Command::new("sleep").arg("1000"));
                panic!("{error}");
            }
            [part].into_iter()
        });
        let error = rows.count().unwrap_err().to_string();
        assert!(error.contains("was killed because it had lost its connection to the engine"), "{error}");
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    cluster.drive(here!());
    let lost = cluster.shared.markers("lost");
    assert!(lost.len() > 1, "it is tried again before it is given up");
    lost.into_iter().for_each(|pid| cluster.wait_for_end(pid));
    cluster.is_clean();
}

/// Regression: the job waited forever, and the worker stayed.
#[test]
fn closing_foreign_descriptors_in_a_task_ends_only_its_worker() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(4, |part| {
            if part == 1 && (std::env::var(FAULT).unwrap() == "always" || claim("close")) {
                mark("closed");
                // Its standard input and outputs, the connection to its engine, and the descriptors that its threads
                // wait with.
                let closed = (0..=20).filter(|descriptor| nix::unistd::close(*descriptor).is_ok()).count();
                assert!(closed > 5, "{closed} were open");
            }
            [u64::from(part)].into_iter()
        });
        match rows.sum() {
            Ok(sum) => assert!(sum == 6 && std::env::var(FAULT).unwrap() == "once"),
            Err(error) => assert_eq!(std::env::var(FAULT).unwrap(), "always", "{error}"),
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    for (fault, least) in [("once", 1), ("always", 2)] {
        cluster.shared.clear();
        cluster.shared.tokens("close", 1);
        cluster.begin(here!(), &[(FAULT, fault)]).ends_well();
        let closed = cluster.shared.markers("closed");
        assert!(closed.len() >= least, "it is tried again");
        closed.into_iter().for_each(|pid| cluster.wait_for_end(pid));
        until("only hub and engines are left", || (cluster.processes().len() == 3).then_some(()));
        cluster.is_clean();
    }
}

#[test]
fn a_partition_that_was_cancelled_halfway_is_not_kept() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(4, |part| {
            mark(format!("made-{part}"));
            // Only cancelling ends the first attempt at this partition.
            let endless = part == 2 && claim("endless");
            (0..).take_while(move |n| {
                if endless && n % 100 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                if endless && *n == 5_000 {
                    mark("halfway");
                }
                endless || *n < 3_000
            })
        });
        let kept = rows.map(|n: u64| n + 1).cache();
        let job = kept.background().count().unwrap();
        gate("cancel");
        job.cancel();
        assert!(matches!(job.wait(), Err(Error::Cancelled)));
        for _ in 0..2 {
            assert_eq!(kept.count().unwrap(), 12_000);
            assert_eq!(kept.sum().unwrap(), 4 * (1..=3_000).sum::<u64>());
        }
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    cluster.shared.tokens("endless", 1);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("halfway", 1);
    let worker = cluster.shared.markers("halfway")[0];
    assert!(cluster.shared.all_taken("endless"));
    cluster.shared.open("cancel");
    driver.ends_well();
    let made = (0..4).map(|part| cluster.shared.marks(&format!("made-{part}")));
    assert_eq!(made.collect::<Vec<_>>(), [1, 1, 2, 1], "what was whole is kept, what was not is recomputed");
    let by: std::collections::BTreeSet<_> =
        (0..4).flat_map(|part| cluster.shared.markers(&format!("made-{part}"))).collect();
    assert_eq!(by.into_iter().collect::<Vec<_>>(), [worker], "it stopped without being killed");
}
