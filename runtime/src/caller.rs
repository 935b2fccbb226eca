//! Who may run jobs: the program itself, but not its tasks, not threads and processes that they started, and not a
//! forked process.

use crate::panics;
use rustix::thread;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{LazyLock, Once};
use tryworks_base::{Error, Op, Result};

/// The name of a thread that runs tasks.
pub(crate) fn task_thread(number: impl std::fmt::Display) -> String {
    format!("tryworks-task-{number}")
}

/// The timer slack that marks threads that run tasks, and all threads that they start. It says by how many nanoseconds
/// the system may delay a thread's timers. A thread inherits it from the thread that started it, whatever its
/// name is, and a few nanoseconds more do no harm. A process that a task starts inherits it too. So the value differs
/// from the slack of the thread that makes the first context.
static MARK: LazyLock<u64> = LazyLock::new(|| {
    let own = thread::current_timer_slack().unwrap_or(USUAL_SLACK);
    own + 1 + u64::from(std::process::id()) % 1000
});

/// The timer slack that Linux gives threads by default.
const USUAL_SLACK: u64 = 50_000;

/// Marks this thread as one that runs tasks, and so all threads that it starts.
pub(crate) fn mark_task_thread() {
    // If the system refuses, there are no marks, and a task's thread is taken for one of the program's.
    let _ = thread::set_current_timer_slack(NonZeroU64::new(*MARK));
}

/// Starts rayon's global pool before a task does. The whole process uses its threads, and they would be marked if a
/// task were the first to need them.
pub(crate) fn begin_shared_pool() {
    static ONCE: Once = Once::new();
    // On a new thread: on a thread of another rayon pool, this call would ask that pool instead.
    ONCE.call_once(|| drop(std::thread::scope(|scope| scope.spawn(rayon::current_num_threads).join())));
}

/// Whether this process is a worker, so that everything in it belongs to tasks.
static WORKER: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker.
pub(crate) fn is_worker() -> bool {
    WORKER.load(Relaxed)
}

/// Declares this process a worker.
#[cfg(feature = "cluster")]
pub(crate) fn become_worker() {
    WORKER.store(true, Relaxed);
}

/// The process to which a runtime belongs.
#[derive(Debug)]
pub(crate) struct Caller {
    process: u32,
}

impl Caller {
    /// This process.
    pub(crate) fn here() -> Self {
        LazyLock::force(&MARK);
        Caller { process: std::process::id() }
    }

    /// Whether this process was forked from that one: then it has none of the threads that a job needs.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Refuses a job whose caller would wait for it forever.
    pub(crate) fn admit(&self, op: Op) -> Result<()> {
        if panics::in_task() || is_worker() || started_by_a_task() {
            return Err(nested(op));
        }
        if self.is_forked() {
            let message = format!(
                "`{}` was called in a process that was forked after its context was made, whose threads are not in it: \
                 make the context after the fork",
                op.name
            );
            return Err(op.fault(message));
        }
        Ok(())
    }
}

/// The error of a job that was requested inside a task.
fn nested(op: Op) -> Error {
    let message = format!(
        "`{}` was called inside a task, or on a thread that a task has started: a function given to an operator runs \
         where the data is and cannot run jobs of its own; join the datasets, or collect one and give it to the other \
         by `.with(value)`",
        op.name
    );
    op.fault(message)
}

/// Whether a task started this thread, directly or through another thread. Its job would wait for slots that are taken
/// by the task that waits for the job.
fn started_by_a_task() -> bool {
    thread::current_timer_slack() == Ok(*MARK)
}
