//! Threads that help with the work of one task, and with dropping what tasks made.
//!
//! Rayon's global pool belongs to the program. A process forked after that pool began has the pool without its threads,
//! and would wait for them forever.

use crate::caller::mark_task_thread;
use crate::panics::catch;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;
use tryworks_base::lock::Lock;
use tryworks_base::{Op, Result, TaskSite};

/// The pool, and the process in which it was made.
static POOL: Lock<Option<(u32, Arc<ThreadPool>)>> = Lock::new(None);

/// The pool of this process, with a thread for each core; `None` if the system provides no threads.
fn pool() -> Option<Arc<ThreadPool>> {
    let mut pool = POOL.lock();
    let process = std::process::id();
    if let Some((owner, pool)) = &*pool
        && *owner == process
    {
        return Some(pool.clone());
    }
    let name = |number| format!("tryworks-pool-{number}");
    let new = ThreadPoolBuilder::new().thread_name(name).start_handler(|_| mark_task_thread()).build().ok()?;
    let new = Arc::new(new);
    // A pool from before a fork has no threads here, so dropping it would wait forever.
    std::mem::forget(pool.replace((process, new.clone())));
    Some(new)
}

/// Calls `work` with the numbers below `count`, on all cores, and returns the outcomes in this order.
pub(crate) fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    match pool() {
        Some(pool) => pool.install(|| (0..count).into_par_iter().map(&work).collect()),
        None => (0..count).map(work).collect(),
    }
}

/// Does pieces of a task's work on all cores. Gives the first error, in the order of the pieces.
pub(crate) fn in_parallel(
    op: Op,
    at: TaskSite,
    count: usize,
    work: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<()> {
    map(count, |piece| catch(op, at, || work(piece))).into_iter().collect()
}

/// Calls `work` with each of `all`, on all cores.
pub(crate) fn for_each<T: Send>(all: Vec<T>, work: impl Fn(T) + Sync) {
    match pool() {
        Some(pool) => pool.install(|| all.into_par_iter().for_each(&work)),
        None => all.into_iter().for_each(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_their_order_and_from_within_pieces() {
        let squares = map(100, |n| map(n % 3, |m| m).len() + n * n);
        assert_eq!(squares, (0..100).map(|n| n % 3 + n * n).collect::<Vec<_>>());
        let sum = std::sync::atomic::AtomicUsize::new(0);
        for_each((0..100).collect(), |n: usize| {
            sum.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}
