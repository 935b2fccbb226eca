//! Who may run jobs: a program, but none of its tasks, nothing that they have started, and no process that was forked from it.

use crate::panics;
use rustix::thread;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{LazyLock, Once};
use tryworks_base::{Op, Result};

/// The name of a thread that runs tasks.
pub(crate) fn task_thread(number: impl std::fmt::Display) -> String {
    format!("tryworks-task-{number}")
}

/// What tells threads that run tasks, and all threads that they start, from the others of this process: by how many
/// nanoseconds the system may be late with their timers. Each thread has it from the one that started it, whatever its
/// name is, and some nanoseconds more harm nobody. A process that a task starts inherits it too, so the value is one that
/// the thread which makes the first context has not got.
static MARK: LazyLock<u64> = LazyLock::new(|| {
    let own = thread::current_timer_slack().unwrap_or(USUAL_SLACK);
    own + 1 + u64::from(std::process::id()) % 1000
});

/// What threads have on Linux if nobody says otherwise.
const USUAL_SLACK: u64 = 50_000;

/// Marks this thread as one that runs tasks, and so all that it starts.
pub(crate) fn mark_task_thread() {
    // A system that refuses has no marks: there a thread of a task is taken for one of the program's.
    let _ = thread::set_current_timer_slack(NonZeroU64::new(*MARK));
}

/// Lets the pool that all of a process shares begin before a task does: its threads are for whoever comes, and would be
/// marked if a task were the first to need them.
pub(crate) fn begin_shared_pool() {
    static ONCE: Once = Once::new();
    // On a thread of its own: one of another pool of rayon's would ask that one.
    ONCE.call_once(|| drop(std::thread::scope(|scope| scope.spawn(rayon::current_num_threads).join())));
}

/// Whether this process is a worker: all that runs in it belongs to tasks.
static WORKER: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker.
pub(crate) fn is_worker() -> bool {
    WORKER.load(Relaxed)
}

/// From now on this process is a worker.
#[cfg(feature = "cluster")]
pub(crate) fn become_worker() {
    WORKER.store(true, Relaxed);
}

/// The process that has a runtime.
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

    /// Whether this is another process by now: one that was forked has none of the threads that it would wait for.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Refuses a job of somebody whom it would never be done for.
    pub(crate) fn admit(&self, op: Op) -> Result<()> {
        if panics::in_task() || is_worker() || started_by_a_task() {
            return Err(panics::nested(op));
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

/// Whether a task started this thread, or a thread of a task's did: it would wait for slots that are taken by the task that
/// waits for it.
fn started_by_a_task() -> bool {
    thread::current_timer_slack() == Ok(*MARK)
}
