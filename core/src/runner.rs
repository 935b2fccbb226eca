//! What a dataset asks of whatever runs its jobs.

use crate::lineage::Node;
use crate::stage::{ResultValue, Stage};
use std::path::Path;
use std::sync::Arc;
use tryworks_base::{Op, Progress, Result, Shipment};

/// Runs jobs: the driver's side of a context.
pub trait Runner: Send + Sync + 'static {
    /// Plans a job and begins to run it.
    ///
    /// # Errors
    /// If the plan has a mistake, or the runner is stopped.
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>>;

    /// The plan of `node` as text.
    ///
    /// # Errors
    /// If the plan has a mistake.
    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String>;

    /// Deletes blocks that nobody holds any more.
    fn release(&self, what: Releasable);

    /// Whether the tasks of its jobs check every row that they hand over.
    fn checks_rows(&self) -> bool {
        false
    }

    /// Makes a file of this process available to tasks on other machines; `None` if all tasks run in this process.
    ///
    /// # Errors
    /// If it cannot be read, or cannot be sent to where they would get it from.
    fn ship(&self, path: &Path) -> Result<Option<Shipment>> {
        let _ = path;
        Ok(None)
    }
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanForm {
    /// Stable text for people.
    Text,
    /// A graph in the language of Graphviz.
    Dot,
}

/// Blocks that outlive a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Releasable {
    /// The output of the map tasks of an exchange.
    Exchange(u64),
    /// A cached dataset.
    Cache(u64),
}

/// An action, to be run.
pub struct JobRequest {
    /// The dataset.
    pub node: Arc<Node>,
    /// What is done with each partition of it.
    pub stage: Arc<dyn Stage>,
    /// Which partitions.
    pub partitions: std::ops::Range<u32>,
    /// The action and the call.
    pub op: Op,
    /// Whether it goes on without the program.
    pub tie: Tie,
}

/// How a job is tied to the program that asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// It ends with its handle and with the program.
    #[default]
    Bound,
    /// It goes on under a name. Asking for the same action under the same name returns the existing job.
    Detached(String),
    /// It is the detached job of this number, which runs or has ended already.
    Attached(u64),
}

/// A job that was begun.
pub trait JobControl: Send + Sync {
    /// Its number.
    fn id(&self) -> u64;

    /// Waits for the next result, in the order in which they are ready; `None` when all were given.
    ///
    /// # Errors
    /// Why the job failed. Asking again gives the same error.
    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>>;

    /// Stops the job: tasks that wait are dropped, tasks that run stop at their next batch. Harmless when it has
    /// ended.
    fn cancel(&self);

    /// The handle is dropped before the job was waited for: it is cancelled, unless it goes on without the program.
    fn abandon(&self) {
        self.cancel();
    }

    /// Calls `code`, which calls functions of the user's on the driver. Who can tell where panics come from makes an
    /// error of one, as in a task; else it goes on.
    ///
    /// # Errors
    /// The panic.
    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        code();
        Ok(())
    }

    /// How far it is.
    fn progress(&self) -> Progress;
}
