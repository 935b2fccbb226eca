//! Who may run jobs: a program, but none of its tasks, nothing that they have started, and no process that was forked from it.

use crate::{panics, worker};
use tryworks_core::task::Op;
use tryworks_core::{Error, Result};

/// What the names of threads that run tasks begin with. The system's name of a thread, which the threads that it starts
/// inherit, has room for 15 bytes.
const TASK: &str = "tryworks-task-";

/// The name of a thread that runs tasks.
pub(crate) fn task_thread(number: impl std::fmt::Display) -> String {
    format!("{TASK}{number}")
}

/// The process that has a runtime.
#[derive(Debug)]
pub(crate) struct Caller {
    process: u32,
}

impl Caller {
    /// This process.
    pub(crate) fn here() -> Self {
        Caller { process: std::process::id() }
    }

    /// Whether this is another process by now: one that was forked has none of the threads that it would wait for.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Refuses a job of somebody whom it would never be done for.
    pub(crate) fn admit(&self, op: Op) -> Result<()> {
        if panics::in_task() || worker::serves() || started_by_a_task() {
            return Err(panics::nested(op));
        }
        if self.is_forked() {
            let message = format!(
                "`{}` was called in a process that was forked after its context was made, whose threads are not in it: \
                 make the context after the fork",
                op.name
            );
            return Err(Error::Plan { message, site: op.site });
        }
        Ok(())
    }
}

/// Whether a task started this thread: it would wait for slots that are taken by the task that waits for it. A thread without
/// a name has that of who started it. Those of the pool that all of a process shares are for whoever comes.
fn started_by_a_task() -> bool {
    let inherited = || rustix::thread::name().is_ok_and(|name| name.to_bytes().starts_with(TASK.as_bytes()));
    std::thread::current().name().is_none() && rayon::current_thread_index().is_none() && inherited()
}
