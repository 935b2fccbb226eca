//! What a dataset asks of the runner of its jobs.

use crate::lineage::Node;
use crate::stage::{ResultValue, Stage};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::{Action, Error, Op, Progress, Result, Shipment};

/// Runs jobs: the part of a context that datasets know.
pub trait Runner: Send + Sync + 'static {
    /// Plans a job and begins to run it.
    ///
    /// # Errors
    /// If the plan has a mistake, or the runner is stopped.
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>>;

    /// Looks for the detached job that a save may be, before its place is prepared. If there is none, no other program is told
    /// so until what is returned is dropped.
    ///
    /// # Errors
    /// If a job of that name is another action, or nothing can be detached here.
    fn seek(&self, tie: &Tie, action: &Action) -> Result<Sought> {
        let _ = (tie, action);
        Err(cannot_detach())
    }

    /// The plan of `node`. The same lineage and the same facts must give the same text.
    ///
    /// # Errors
    /// If the plan has a mistake.
    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String>;

    /// Deletes blocks to which no reference is left. It is called from `Drop`, so it must not wait.
    fn release(&self, what: Releasable);

    /// Whether tasks check every row that they hand over.
    fn checks_rows(&self) -> bool {
        false
    }

    /// Whether tasks run in other processes, so that what they capture is sent.
    fn sends_stages(&self) -> bool {
        false
    }

    /// Calls `code`, which calls the user's code on the driver before there is a job, such as the serde code of a value
    /// that `op` was given. A runner that knows where a panic came from returns it as an error. Otherwise the panic goes
    /// on.
    ///
    /// # Errors
    /// The panic.
    fn guard(&self, op: Op, code: &mut dyn FnMut()) -> Result<()> {
        let _ = op;
        code();
        Ok(())
    }

    /// Makes a file of this process available to tasks on other machines; `None` if all tasks run in this process.
    ///
    /// # Errors
    /// If the file cannot be read, or cannot be sent to the cluster.
    fn ship(&self, path: &Path) -> Result<Option<Shipment>> {
        let _ = path;
        Ok(None)
    }
}

/// Calls `code` by `guard`, a method of a runner or of a job.
pub(crate) fn guarded<R>(
    guard: impl FnOnce(&mut dyn FnMut()) -> Result<()>,
    code: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let (mut code, mut result) = (Some(code), None);
    guard(&mut || result = code.take().map(|code| code()))?;
    result.unwrap_or_else(|| Err(Error::Bug("the user's code on the driver was never called".into())))
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanForm {
    /// Text for people, the same every time.
    Text,
    /// A Graphviz graph.
    Dot,
}

/// Blocks that outlive a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Releasable {
    /// The output of the map tasks of an exchange.
    Exchange(ExchangeId),
    /// A cached dataset.
    Cache(CacheId),
}

/// An action that a program asks for.
pub struct JobRequest {
    /// The dataset.
    pub node: Arc<Node>,
    /// What a task does with each partition of it.
    pub stage: Arc<dyn Stage>,
    /// Which partitions.
    pub partitions: std::ops::Range<u32>,
    /// The action, and where it was called.
    pub op: Op,
    /// Whether the job goes on without the program.
    pub tie: Tie,
    /// The action: a program gets an existing detached job only if it asks for the same action.
    pub action: Action,
    /// Distinguishes the files that it saves from those of other jobs; empty if it saves none, or ends with the program.
    pub token: String,
}

/// A detached job that was looked for.
pub struct Sought {
    /// Distinguishes its files from those of other jobs.
    pub token: String,
    /// Whether the job exists. If not, this program submits it.
    pub is_known: bool,
    /// The cluster of the job. In a cluster, one job has a name at a time.
    pub cluster: String,
    /// Keeps its name for this program.
    pub held: Box<dyn Any + Send>,
}

/// Why a job of a program's own threads is not detached.
pub fn cannot_detach() -> Error {
    Error::cluster(
        "a job on this program's own threads ends with the program and cannot be detached from it",
        "run the program on a cluster: `tryworks cluster start`, then `tryworks run PROGRAM`",
    )
}

/// How long a job lives, compared with the program that asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// The job ends with its handle and with the program.
    #[default]
    Bound,
    /// The job goes on under this name. Asking for the same action under the same name returns the existing job.
    Detached(String),
    /// The existing detached job of this number, running or ended.
    Attached(u64),
}

/// The runner's handle of a job.
pub trait JobControl: Send + Sync {
    /// The number of the job.
    fn id(&self) -> u64;

    /// Waits for the next result, in the order in which they are ready. `None` after the last one.
    ///
    /// # Errors
    /// Why the job failed. Calling again must return the same error.
    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>>;

    /// Stops the job: waiting tasks are dropped, and running tasks stop at their next batch. Does nothing if the job
    /// has ended.
    fn cancel(&self);

    /// Called when the handle is dropped before the program waited for the job: cancels the job, unless it goes on
    /// without the program.
    fn abandon(&self) {
        self.cancel();
    }

    /// Whether the job itself has failed, and not only the way of its results to this program.
    fn has_failed(&self) -> bool {
        true
    }

    /// What the program made of the results came to nothing. A detached job is to be collected again.
    fn keep(&self) {}

    /// Calls `code`, which calls the user's functions on the driver. A runner that knows where a panic came from
    /// returns it as an error, as in a task. Otherwise the panic goes on.
    ///
    /// # Errors
    /// The panic.
    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        code();
        Ok(())
    }

    /// How far the job is.
    fn progress(&self) -> Progress;
}
