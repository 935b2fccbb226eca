//! What the command line asks the hub, and the answers.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::HostInfo;
use serde::{Deserialize, Serialize};
use tryworks_base::Progress;
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::Why;

/// A question or a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// What is in the cluster, and what runs there?
    Status,
    /// The latest jobs.
    Jobs {
        /// The most jobs to list.
        limit: u32,
    },
    /// A job by its number or label, with its stages and tasks.
    Job {
        /// A number, or a label.
        name: String,
    },
    /// Stop a job.
    Cancel {
        /// A number, or a label.
        name: String,
    },
    /// Why do the tasks of a job wait?
    Why {
        /// A number, or a label.
        name: String,
    },
    /// The latest output of workers.
    Logs {
        /// Only of this engine, by its name or number.
        engine: Option<String>,
        /// Only of this job.
        job: Option<String>,
    },
    /// Ask an engine to leave once its blocks and results have been moved or received.
    Drain {
        /// Its name or number.
        engine: String,
    },
    /// Make new certificates. Engines and drivers need the new connection files.
    Rotate,
    /// Stop the cluster.
    Stop,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The state of the cluster.
    Status(Status),
    /// Jobs, newest first.
    Jobs(Vec<JobRow>),
    /// A job.
    Job(JobDetail),
    /// It was done, with a message for people.
    Done(String),
    /// Why tasks wait: for each stage and reason, how many partitions and an example.
    Why(Vec<WhyRow>),
    /// Lines of output, oldest first.
    Logs(Vec<LogRow>),
    /// It cannot be done, for this reason.
    No(String),
}

/// The state of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the cluster.
    pub cluster: String,
    /// The hub's process id.
    pub pid: u32,
    /// How long the hub has been running, in milliseconds.
    pub up_ms: u64,
    /// How many hubs have begun on its journal, including this one.
    pub epoch: u64,
    /// The hub's anonymous memory, in bytes.
    pub resident: u64,
    /// Its engines.
    pub engines: Vec<EngineRow>,
    /// The running jobs, with their progress.
    pub running: Vec<JobRow>,
    /// Why the journal cannot be written, while that is so.
    pub journal: Option<String>,
    /// How many drivers are connected.
    pub drivers: u32,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineRow {
    pub engine: EngineId,
    pub name: String,
    /// Its machine.
    pub host: HostInfo,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many tasks it is running.
    pub running: u32,
    /// Its memory for tasks, in bytes.
    pub memory: u64,
    /// The anonymous memory of its workers, in bytes.
    pub resident: u64,
    /// The bytes of its blocks.
    pub blocks: u64,
    /// `open`, `short of memory`, `excluded` (too many tasks failed there lately) or `leaving`.
    pub state: String,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its number.
    pub job: JobId,
    /// The action and the place of its call.
    pub label: String,
    /// Its name, if it is detached.
    pub detached: Option<String>,
    /// `waiting for engines`, `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// When it was submitted, in microseconds since 1970.
    pub submitted: u64,
    /// When it ended, in microseconds since 1970.
    pub ended: Option<u64>,
    /// Its progress.
    pub progress: Progress,
    /// Why it failed.
    pub error: Option<String>,
}

/// A job with its stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// The job as a list shows it.
    pub job: JobRow,
    /// Its stages.
    pub stages: Vec<StageRow>,
    /// Its latest tasks, newest first.
    pub tasks: Vec<TaskRow>,
}

/// A stage of a job. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its index in the plan.
    pub stage: u32,
    /// How many times it began.
    pub attempts: u32,
    /// When it first began.
    pub began: Option<u64>,
    /// When it last ended.
    pub ended: Option<u64>,
    /// How many tasks succeeded.
    pub tasks: u32,
    /// How many attempts at tasks failed.
    pub failed: u32,
    /// The running time of all its tasks together, in microseconds.
    pub busy: u64,
    /// How many rows its tasks made.
    pub rows: u64,
    /// How many bytes its tasks made.
    pub bytes: u64,
}

/// An attempt at a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its stage.
    pub stage: u32,
    /// The number of the attempt.
    pub attempt: u64,
    /// Its first partition.
    pub first: u32,
    /// How many partitions it has.
    pub partitions: u32,
    pub engine: EngineId,
    /// When it began and ended, in microseconds since 1970.
    pub span: (u64, u64),
    /// How many rows it made.
    pub rows: u64,
    /// How many bytes it made.
    pub bytes: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl TaskRow {
    /// What `error` says of an attempt that was stopped because nothing needed it any more.
    pub const STOPPED: &str = "stopped";

    /// Whether it counts as a failed attempt.
    ///
    /// ```
    /// # use tryworks_base::ids::EngineId;
    /// use tryworks_protocol::admin::TaskRow;
    /// let row = |error: Option<&str>| TaskRow {
    ///     stage: 0, attempt: 1, first: 0, partitions: 1, engine: EngineId(1), span: (0, 0), rows: 0, bytes: 0,
    ///     error: error.map(Into::into),
    /// };
    /// assert!(row(Some("no such file")).has_failed());
    /// assert!(!row(None).has_failed() && !row(Some(TaskRow::STOPPED)).has_failed());
    /// ```
    pub fn has_failed(&self) -> bool {
        self.error.as_deref().is_some_and(|error| error != TaskRow::STOPPED)
    }
}

/// Why some tasks of a stage wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyRow {
    /// Their stage.
    pub stage: u32,
    /// How many partitions wait for this reason.
    pub partitions: u32,
    /// One of them.
    pub example: u32,
    pub why: Why,
    /// If they wait for slots: the lost drivers that hold slots, in words.
    pub waits_for: Vec<String>,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// The name of its engine.
    pub engine: String,
    /// The worker's process id.
    pub worker: u32,
    /// Whether it is from the standard error output.
    pub stderr: bool,
    /// The line, without its line break.
    pub text: String,
}
