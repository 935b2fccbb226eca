//! Programs that create a context elsewhere than on the first line of `main`: inside another runtime, in a test harness
//! with several drivers, in a task's thread, after a fork.

use crate::here;
use crate::rig::{Cluster, driving, mark};
use fork::{Fork, fork, waitpid};
use std::sync::OnceLock;
use tryworks::prelude::*;

fn sums(cx: &Context) -> u64 {
    cx.range_in(0..100, 4).map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b).count().unwrap()
}

/// The form that `#[tokio::main]` gives a `main`.
#[test]
fn a_program_whose_main_is_async_runs_on_a_cluster() {
    if driving() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cx = Context::init().unwrap();
            assert_eq!(sums(&cx), 3);
            // A result that is too large for the task's report.
            let large = cx.range_in(0..1, 1).map(|_| vec![7u8; 3 << 20]).collect().unwrap();
            assert_eq!(large[0].len(), 3 << 20);
        });
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let done = cluster.drive(here!());
    assert!(!done.err.contains("does not start"), "{}", done.err);
}

/// A driver is the whole harness with both tests; each test leaves a mark in every process where it runs.
fn one_of_two(number: u64) {
    if driving() {
        mark(format!("ran-{number}"));
        let cx = Context::init().unwrap();
        assert_eq!(sums(&cx), 3);
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let done = cluster.begin_with(&["callers::two_drivers_in_one_harness"], &[]).ends();
    assert!(done.status.success() && done.out.contains("2 passed"), "{}{}", done.out, done.err);
    // In the driver and in the worker of its own session, but not in the worker of the other session.
    assert_eq!((cluster.shared.marks("ran-1"), cluster.shared.marks("ran-2")), (2, 2), "{}", done.err);
}

#[test]
fn two_drivers_in_one_harness_do_not_run_in_each_others_workers() {
    one_of_two(1);
}

#[test]
fn two_drivers_in_one_harness_in_either_order() {
    one_of_two(2);
}

#[test]
fn a_test_that_makes_a_context_on_its_own_thread_gets_an_error_with_advice() {
    if driving() {
        let error = std::thread::spawn(Context::init).join().unwrap().err().unwrap().to_string();
        println!("ERROR {error}");
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let done =
        cluster.begin_with(&["callers::a_test_that_makes_a_context_on_its_own_thread", "--nocapture"], &[]).ends_well();
    assert!(done.out.contains("make the context on the test's own thread"), "{}{}", done.out, done.err);
}

#[test]
fn jobs_inside_a_task_are_errors_that_the_worker_survives() {
    fn count(context: fn() -> Result<Context>) -> Result<u64> {
        context()?.range(0..10).count()
    }
    if driving() {
        let cx = Context::init().unwrap();
        let tried = cx.range_in(0..4, 1).map(|n| {
            let told = match n {
                0 => count(Context::init),
                1 => std::thread::spawn(|| count(Context::init)).join().unwrap(),
                2 => count(|| Context::local(1)),
                _ => {
                    let thread = std::thread::Builder::new().name("named".into());
                    thread.spawn(|| count(|| Context::local(1))).unwrap().join().unwrap()
                }
            };
            (told.unwrap_err().to_string(), std::process::id())
        });
        let tried = tried.collect().unwrap();
        for (error, process) in &tried {
            assert!(error.contains("`count` was called inside a task"), "{error}");
            assert_eq!(*process, tried[0].1);
        }
        assert_eq!(sums(&cx), 3);
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let done = cluster.drive(here!());
    assert!(!done.err.contains("a worker died"), "{}", done.err);
}

#[test]
fn a_process_forked_from_a_driver_or_a_task_gets_an_error_with_advice() {
    static CX: OnceLock<Context> = OnceLock::new();
    fn in_a_child(count: impl FnOnce() -> Result<u64>) -> bool {
        match fork().unwrap() {
            Fork::Child => {
                let told = count().map_err(|error| error.to_string());
                let told = told.err().is_some_and(|error| {
                    error.contains("make the context after the fork") || error.contains("was called inside a task")
                });
                std::process::exit(if told { 0 } else { 1 })
            }
            Fork::Parent(child) => waitpid(child).unwrap() == 0,
        }
    }
    if driving() {
        let cx = CX.get_or_init(|| Context::init().unwrap());
        assert_eq!(sums(cx), 3);
        assert!(in_a_child(|| cx.range(0..10).count()));
        let in_tasks = cx.range_in(0..2, 1).map(|_| in_a_child(|| Context::local(1)?.range(0..10).count()));
        assert_eq!(in_tasks.collect().unwrap(), [true, true]);
        assert_eq!(sums(cx), 3);
        cx.stop();
        return;
    }
    Cluster::by_hand(1, 1, &[]).drive(here!());
}
