//! Tasks that fail, and tasks that kill their worker.

use crate::here;
use crate::rig::{Cluster, Done, Engine, claim, driving, mark};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tryworks::prelude::*;

/// The variable that says what happens to a task that takes a token.
const FAULT: &str = "TRYWORKS_TEST_FAULT";

/// Fails as many times as there are tokens.
fn fault() -> Result<(), UserError> {
    if !claim("fault") {
        return Ok(());
    }
    match std::env::var(FAULT)?.as_str() {
        "error" => return Err(UserError::msg("the input is sour")),
        "panic" => panic!("the task is upset"),
        "abort" => std::process::abort(),
        "kill" => kill_process(getpid(), Signal::KILL)?,
        "exit 0" => std::process::exit(0),
        "exit 42" => std::process::exit(42),
        "memory" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1u8; 16 << 20]);
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        other => panic!("there is no fault {other}"),
    }
    Ok(())
}

/// How many tasks of this process are in the middle of a partition.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Sums by the last digit; map partition 2 of 8 has a fault. Every run leaves marks.
fn program() {
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..8_000, 8).try_map(|n| {
        if n % 1_000 == 0 {
            mark(format!("part-{}", n / 1_000));
            RUNNING.fetch_add(1, Relaxed);
        }
        if n == 2_500 {
            mark(if RUNNING.load(Relaxed) == 1 { "alone" } else { "in-company" });
            fault()?;
        }
        if n % 1_000 == 999 {
            RUNNING.fetch_sub(1, Relaxed);
        }
        Ok((n % 10, n))
    });
    let sums = rows.shuffle_into(3).reduce_by_key(|a, b| a + b);
    match sums.collect() {
        Ok(mut found) => {
            found.sort();
            let expected = |digit| (digit, (0..8_000).filter(|n| n % 10 == digit).sum());
            assert_eq!(found, (0..10).map(expected).collect::<Vec<(u64, u64)>>());
            println!("OUTCOME good");
        }
        Err(error) => {
            println!("OUTCOME bad\n{error}\nOUTCOME end");
            if let Error::User(fault) = &error {
                assert_eq!((fault.attempts, fault.operator.as_str()), (4, "try_map"));
                assert!(fault.engine.as_ref().unwrap().starts_with("engine-"));
                assert_eq!((fault.place.partition, fault.place.tries), (2, 1), "the first failure is the one to tell");
                assert!(fault.site.file.ends_with("tasks.rs") && fault.source.unwrap().file.ends_with("tasks.rs"));
            }
            assert!(sums.count().is_err(), "nothing of a stage that failed is taken for made");
        }
    }
    // In all cases, the cluster works as before.
    assert_eq!(cx.range_in(0..100, 4).map(|n| n * 2).sum().unwrap(), 9_900);
}

/// The error that a driver ended with.
fn outcome(done: &Done) -> &str {
    done.out.split_once("OUTCOME bad\n").unwrap().1.split_once("OUTCOME end").unwrap().0
}

fn run(cluster: &Cluster, test: &str, fault: &str, tokens: usize) -> Done {
    cluster.shared.clear();
    cluster.shared.tokens("fault", tokens);
    cluster.begin(test, &[(FAULT, fault)]).ends_well()
}

#[test]
fn a_failed_task_is_retried_and_then_retried_on_another_engine() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 2, &[]);
    for (fault, how) in
        [("error", "`try_map` failed: the input is sour"), ("panic", "`try_map` panicked: the task is upset")]
    {
        let done = run(&cluster, here!(), fault, 3);
        assert!(done.out.contains("OUTCOME good"), "{}", done.out);
        assert!(cluster.shared.all_taken("fault"), "it was to fail three times");
        assert_eq!(cluster.shared.marks("part-2"), 4, "three failures, and no more runs than those and one");
        let mut ran_by = cluster.shared.markers("part-2");
        ran_by.sort();
        ran_by.dedup();
        assert_eq!(ran_by.len(), 2, "it is tried on another engine too");
        (0..8).filter(|part| *part != 2).for_each(|part| assert_eq!(cluster.shared.marks(&format!("part-{part}")), 1));

        let done = run(&cluster, here!(), fault, 100);
        let error = outcome(&done);
        assert!(error.starts_with(how), "{error}");
        assert!(error.contains("operator `try_map` called at ") && error.contains("tests/faults/tasks.rs:"), "{error}");
        assert!(error.contains(", on engine-") && error.contains("failed 4 times"), "{error}");
        assert_eq!(cluster.shared.marks("part-2"), 8, "four times for each of two actions");
    }
}

/// A type that is written and cannot be read back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Sighting {
    Whale { barrels: u64 },
}

/// Fails with rows that cannot be read where they are grouped. If rows are checked, it fails where they are made.
fn unreadable() {
    let checks = std::env::var("TRYWORKS_CHECK_ROWS").unwrap();
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..100, 2).map(|n| {
        if n % 50 == 0 {
            mark(format!("made-{n}"));
        }
        // The first row of a task is always checked.
        (n % 10, (n % 50 != 0).then_some(Sighting::Whale { barrels: n }))
    });
    let read = rows.shuffle_into(1).group_by_key().map_partitions(|groups| {
        mark("read");
        groups.map(|(key, _)| key).collect::<Vec<_>>()
    });
    for error in [read.collect().unwrap_err(), rows.sort_by_key().count().unwrap_err()] {
        let Error::Type { name, message, site, .. } = &error else { panic!("not an error of a type: {error}") };
        assert!(
            name.contains("Sighting") && message.contains("cannot be decoded") && message.contains("`tag`"),
            "{error}"
        );
        assert!(site.unwrap().file.ends_with("tasks.rs"), "{error}");
    }
    println!("OUTCOME checked {checks}");
}

#[test]
fn a_row_that_cannot_be_decoded_fails_at_once_and_is_no_lost_block() {
    if driving() {
        return unreadable();
    }
    let cluster = Cluster::by_hand(2, 2, &[]);
    for checks in ["0", "1"] {
        cluster.shared.clear();
        let done = cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", checks)]).ends_well();
        assert!(done.out.contains(&format!("OUTCOME checked {checks}")), "{}", done.out);
        let runs = ["made-0", "made-50", "read"].map(|mark| cluster.shared.marks(mark));
        match checks {
            // Once for each of two actions: nothing is recomputed, and nothing is retried.
            "0" => assert_eq!(runs, [2, 2, 1]),
            // The check failed before any row was read. A task that runs at the same time may be stopped before it
            // begins.
            _ => assert!(runs[0] <= 2 && runs[1] <= 2 && runs[2] == 0 && runs[0] + runs[1] >= 2, "{runs:?}"),
        }
    }
}

#[test]
fn a_task_that_kills_its_worker_runs_alone_and_is_named() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 2, &[]);
    for (fault, how) in [
        ("abort", "aborted (signal 6)"),
        ("kill", "was killed by signal 9"),
        ("exit 0", "ended by itself (exit code 0)"),
        ("exit 42", "ended by itself (exit code 42)"),
    ] {
        let done = run(&cluster, here!(), fault, 1);
        assert!(done.out.contains("OUTCOME good"), "{}", done.out);
        assert!(cluster.shared.all_taken("fault"), "{fault} was to happen");
        assert!(done.err.contains("a worker died") && done.err.contains(how), "{}", done.err);
        assert!(cluster.shared.marks("alone") >= 1, "a suspect runs alone");

        let done = run(&cluster, here!(), fault, 100);
        let error = outcome(&done);
        assert!(
            error.starts_with("the task for partition 2 of stage 0 killed its worker 2 times, the last time alone"),
            "{error}"
        );
        assert!(error.contains(how) && error.contains("engine-"), "{error}");
        assert_eq!(cluster.shared.marks("part-2"), 4, "two deaths for each of two actions");
        assert!(cluster.shared.marks("alone") >= 2, "the second time it is alone");
    }
}

#[test]
fn a_task_out_of_memory_ends_only_its_worker() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    let limited = Engine { slots: 2, address_space: Some(1 << 30), memory: Some("256M"), ..Engine::default() };
    cluster.add("engine-1", limited);
    cluster.wait_for_engines(1);
    let done = run(&cluster, here!(), "memory", 100);
    let error = outcome(&done);
    assert!(
        error.contains("aborted (signal 6)") && error.contains("memory allocation of 16777216 bytes failed"),
        "{error}"
    );
    let peak = error.split_once("the most memory that it was seen to hold: ").unwrap().1.split_once(" MiB").unwrap().0;
    // The process may map a gibibyte, part of which is taken by the stacks of its threads.
    assert!((256..1024).contains(&peak.parse::<u64>().unwrap()), "{error}");
    assert_eq!(cluster.shared.marks("part-2"), 4);
    // Tasks that ended before keep their results; tasks that ran with it run again.
    let neighbours = (3..8).map(|part| cluster.shared.marks(&format!("part-{part}")));
    assert!(neighbours.sum::<usize>() <= 2 * 5 + 4, "neighbours ran too often");
    let one = cluster.engine("engine-1");
    assert!(cluster.processes().contains(&one), "the engine is not touched");
}
