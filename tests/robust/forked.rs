//! A process that was forked from one with a context: the threads that it would wait for do not exist there.

use crate::child::{Process, role};
use fork::{Fork, fork, waitpid};
use tryworks::prelude::*;

/// Whether a forked child ended with success.
fn in_a_child(work: impl FnOnce() -> bool) -> bool {
    match fork().unwrap() {
        Fork::Child => std::process::exit(if work() { 0 } else { 1 }),
        Fork::Parent(child) => waitpid(child).unwrap() == 0,
    }
}

/// Runs `work` in a process of its own, so that no other test holds a lock at the fork.
fn alone(name: &str, work: impl FnOnce()) {
    if role().is_some() {
        return work();
    }
    Process::start(name, "alone").ends_well();
}

fn is_told(result: Result<u64>) -> bool {
    let error = result.unwrap_err().to_string();
    eprintln!("{error}");
    error.contains("`count` was called in a process that was forked after its context was made")
        && error.contains("make the context after the fork")
}

#[test]
fn a_job_in_a_forked_process_is_an_error_and_a_context_made_there_works() {
    alone("forked::a_job_in_a_forked_process_is_an_error_and_a_context_made_there_works", || {
        let cx = Context::local(2).unwrap();
        // Blocks are dropped with the help of other threads, which do not exist after a fork.
        let blocks = cx.range_in(0..100, 16).key_by(|n| n % 7).reduce_by_key(|a, b| a + b);
        assert_eq!(blocks.count().unwrap(), 7);
        drop(blocks);
        let pairs = cx.range(0..100).key_by(|n| n % 7).reduce_by_key(|a, b| a + b);
        assert!(in_a_child(|| is_told(pairs.count())), "before any job");
        assert_eq!(pairs.count().unwrap(), 7);
        assert!(in_a_child(|| is_told(pairs.count())), "with threads that have run");
        assert!(in_a_child(|| {
            cx.stop();
            // Nor does dropping it wait for other threads.
            drop((cx, pairs));
            let own = Context::local(2).unwrap();
            let again = own.range_in(0..100, 16).key_by(|n| n % 7).reduce_by_key(|a, b| a + b);
            again.count() == Ok(7)
        }));
    });
}
