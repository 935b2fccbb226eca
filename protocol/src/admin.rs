//! What the command line asks the hub, and what it is told.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::HostInfo;
use serde::{Deserialize, Serialize};
use tryworks_base::Progress;
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::Why;

/// A question, or an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// What is there and what runs?
    Status,
    /// The latest jobs.
    Jobs {
        /// At most so many.
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
    /// The last output of workers.
    Logs {
        /// Of this engine alone, by its name or number.
        engine: Option<String>,
        /// Of this job alone.
        job: Option<String>,
    },
    /// Ask an engine to leave once what it has is elsewhere.
    Drain {
        /// Its name or number.
        engine: String,
    },
    /// Make new certificates. Engines and drivers need the new connection files.
    Rotate,
    /// End the cluster.
    Stop,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// What is there.
    Status(Status),
    /// Jobs, the latest first.
    Jobs(Vec<JobRow>),
    /// A job.
    Job(JobDetail),
    /// Done, with what there is to say.
    Done(String),
    /// Why tasks wait: for each reason a stage, how many tasks, and an example partition.
    Why(Vec<WhyRow>),
    /// Lines of output, oldest first.
    Logs(Vec<LogRow>),
    /// It cannot be done, and why.
    No(String),
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the cluster.
    pub cluster: String,
    /// The hub's process.
    pub pid: u32,
    /// How long the hub has been there, in milliseconds.
    pub up_ms: u64,
    /// How often the hub has begun, from 1.
    pub epoch: u64,
    /// Its anonymous memory.
    pub resident: u64,
    /// Its engines.
    pub engines: Vec<EngineRow>,
    /// Jobs that run, with how far they are.
    pub running: Vec<JobRow>,
    /// Why the journal cannot be written, if it cannot.
    pub journal: Option<String>,
    /// Drivers that are there.
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
    /// How many it has.
    pub running: u32,
    /// Its memory for tasks.
    pub memory: u64,
    /// The anonymous memory of its workers.
    pub resident: u64,
    /// The bytes of its blocks.
    pub blocks: u64,
    /// `open`, `short of memory`, `leaving` or `excluded`.
    pub state: String,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its number.
    pub job: JobId,
    /// The action and the call.
    pub label: String,
    /// The name it was detached under.
    pub detached: Option<String>,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// When it was submitted, in microseconds since 1970.
    pub submitted: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// How far it is.
    pub progress: Progress,
    /// Why it failed.
    pub error: Option<String>,
}

/// A job with its stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// As in a list.
    pub job: JobRow,
    /// Its stages.
    pub stages: Vec<StageRow>,
    /// Its last tasks.
    pub tasks: Vec<TaskRow>,
}

/// A stage of a job. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its place in the plan.
    pub stage: u32,
    /// How often it began.
    pub attempts: u32,
    /// When it began first.
    pub began: Option<u64>,
    /// When it ended last.
    pub ended: Option<u64>,
    /// Tasks done.
    pub tasks: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// The time of its tasks together, in microseconds.
    pub busy: u64,
    /// Rows that they made.
    pub rows: u64,
    /// Bytes that they made.
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
    /// How many partitions.
    pub partitions: u32,
    pub engine: EngineId,
    /// When it began and ended, in microseconds since 1970.
    pub span: (u64, u64),
    /// Rows that it made.
    pub rows: u64,
    /// Bytes that it made.
    pub bytes: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Why some tasks of a stage wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyRow {
    /// Their stage.
    pub stage: u32,
    /// How many partitions.
    pub partitions: u32,
    /// One of them.
    pub example: u32,
    pub why: Why,
    /// If they wait for slots: in words, drivers that have some and were cut off.
    pub waits_for: Vec<String>,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// The name of its engine.
    pub engine: String,
    /// The worker's process.
    pub worker: u32,
    /// To the standard error output.
    pub stderr: bool,
    /// The line, without its end.
    pub text: String,
}
