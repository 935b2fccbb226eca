//! Actions: everything that the scheduler can ask of a shell.

use super::{
    Time,
    event::{FetchFailure, Move, Task},
    partitions::Partitions,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time::Duration};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

/// Something for a shell to do. Actions about one engine reach it in this order, or not at all once it is lost.
///
/// The order for one job: `{ StageStarted | StageFinished | Commit | Nondeterministic }`, then exactly one of
/// `JobDone`, `JobFailed`, `JobCancelled`. For one attempt: `Launch`, then `Kill` or `Commit` at most once. For an
/// engine that was asked to leave: `{ Move }`, then `Drained` at most once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action<E> {
    /// Run these tasks, in this order as slots come free.
    Launch {
        /// The engine.
        engine: EngineId,
        /// The tasks.
        tasks: Batch,
    },
    /// Stop an attempt; the engine reports it all the same.
    Kill {
        /// The engine that runs it.
        engine: EngineId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Delete what an attempt made: it is not wanted, or not complete.
    Discard {
        /// The engine that ran it.
        engine: EngineId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Delete every block of an output.
    DeleteOutput {
        /// An engine that has some of them.
        engine: EngineId,
        /// The output.
        output: OutputId,
    },
    /// Results of a job are accepted: once for each wanted partition, whatever is lost later.
    Commit {
        /// The job.
        job: JobId,
        /// The launch whose results count.
        attempt: AttemptId,
        /// The engine that ran it.
        engine: EngineId,
        /// The results.
        partitions: Partitions,
    },
    /// Every wanted partition has been committed.
    JobDone {
        /// The job.
        job: JobId,
    },
    /// The job is over without its results.
    JobFailed {
        /// The job.
        job: JobId,
        /// The reason.
        reason: Reason<E>,
    },
    /// The job is over because it was cancelled.
    JobCancelled {
        /// The job.
        job: JobId,
        /// What happened to its tasks.
        report: Vec<Cancelled>,
    },
    /// A stage begins to run, or begins again.
    StageStarted {
        /// The job for which it runs.
        job: JobId,
        /// The index of the stage in that job.
        stage: u32,
        /// The number of the stage attempt.
        stage_attempt: u32,
        /// How many tasks wait in it.
        tasks: u32,
    },
    /// Every wanted partition of a stage exists.
    StageFinished {
        /// The job for which it ran.
        job: JobId,
        /// The index of the stage in that job.
        stage: u32,
        /// The number of the stage attempt.
        stage_attempt: u32,
    },
    /// A map task was recomputed and its output was different. Everything that depends on the first output is
    /// recomputed.
    Nondeterministic {
        /// The job for which it was recomputed.
        job: JobId,
        /// The stage that is not deterministic.
        stage: u32,
        /// The partition whose output was different.
        partition: u32,
        /// Whether the stage was declared nondeterministic.
        declared: bool,
    },
    /// Copy a block to another engine. This happens while an engine is asked to leave.
    Move(Move),
    /// An engine that was asked to leave is not needed any more: it runs nothing, no existing block is there alone, and
    /// no task reads from it. If it holds results for a driver, the shell has to look after them.
    Drained {
        /// The engine.
        engine: EngineId,
    },
    /// Send a tick at this time, or a little later.
    WakeAt {
        /// The time.
        time: Time,
    },
}

/// The tasks of one launch: at least one. A single task needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Batch {
    /// A single task.
    One(Task),
    /// More than one.
    Many(Vec<Task>),
}

impl Batch {
    pub(super) fn push(&mut self, task: Task) {
        match self {
            Batch::Many(tasks) => tasks.push(task),
            Batch::One(_) => {
                let Batch::One(first) = std::mem::replace(self, Batch::Many(Vec::with_capacity(4))) else { return };
                if let Batch::Many(tasks) = self {
                    tasks.extend([first, task]);
                }
            }
        }
    }
}

impl std::ops::Deref for Batch {
    type Target = [Task];

    fn deref(&self) -> &[Task] {
        match self {
            Batch::One(task) => std::slice::from_ref(task),
            Batch::Many(tasks) => tasks,
        }
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reason<E> {
    /// A task failed as many times as its limit allows.
    Task {
        /// Its stage.
        stage: u32,
        /// Its partitions.
        partitions: Partitions,
        /// How often it failed.
        failures: u32,
        /// The first of its errors.
        error: E,
    },
    /// A task that ran alone killed its worker again.
    Worker {
        /// Its stage.
        stage: u32,
        /// Its partitions.
        partitions: Partitions,
        /// How many workers died while they ran it.
        deaths: u32,
        /// How the last one died.
        error: E,
    },
    /// A task was lost with its engine as many times as its limit allows.
    Losses {
        /// Its stage.
        stage: u32,
        /// Its partitions.
        partitions: Partitions,
        /// How often it was lost.
        losses: u32,
    },
    /// A stage began again and again, because the same partition of its input could not be fetched.
    Fetch {
        /// The reading stage.
        stage: u32,
        /// Where the partition should have been each time.
        failures: Vec<FetchFailure>,
    },
    /// User code is not deterministic, and results that depend on its first answer have been delivered.
    Nondeterministic {
        /// The stage that gave two answers.
        stage: u32,
        /// The partition whose output was different.
        partition: u32,
        /// How many results had been delivered.
        delivered: u32,
    },
    /// A limit of the job was reached.
    Limit {
        /// The field of [`Limits`](super::Limits).
        name: Cow<'static, str>,
        /// The value of the limit.
        limit: u64,
        /// The value that exceeded it.
        value: u64,
    },
    /// There was no engine for as long as the job waits for one.
    NoEngine {
        /// How long the job waited.
        waited: Duration,
    },
    /// No engine that takes tasks can run the job's program.
    Unfit {
        /// Each of these engines, with its reason.
        engines: Vec<(EngineId, E)>,
    },
    /// The job names a pool that does not exist.
    NoPool {
        /// The job's action and the place of its call.
        asks: String,
        /// The pool.
        pool: String,
        /// The names of the pools that exist.
        known: Vec<String>,
    },
    /// The shape of the job is wrong.
    Invalid {
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
}

impl<E: fmt::Display> fmt::Display for Reason<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Task { stage, partitions, failures, error } => {
                let times = if *failures == 1 { "once" } else { &format!("{failures} times") };
                write!(f, "{error}\ntask {partitions:?} of stage {stage} failed {times}")
            }
            Reason::Worker { stage, partitions, deaths, error } => {
                write!(
                    f,
                    "{error}\ntask {partitions:?} of stage {stage} killed its worker {deaths} times, the last time alone"
                )
            }
            Reason::Losses { stage, partitions, losses } => {
                write!(f, "task {partitions:?} of stage {stage} was lost {losses} times and is not to blame")
            }
            Reason::Fetch { stage, failures } => {
                write!(f, "stage {stage} could not read its input {} times in a row:", failures.len())?;
                failures.iter().try_for_each(|lost| {
                    write!(f, "\n  partition {} of {}, ", lost.partition, lost.output)?;
                    match lost.at {
                        Some(at) => write!(f, "by {} on {}", at.made_by, at.engine),
                        None => write!(f, "which was on no engine"),
                    }
                })
            }
            Reason::Nondeterministic { stage, partition, delivered } => write!(
                f,
                "stage {stage} is not deterministic: partition {partition} was recomputed and came out different, \
                 after {delivered} results that depend on it were delivered"
            ),
            Reason::Limit { name, limit, value } => write!(f, "{name} is {limit}, and the job came to {value}"),
            Reason::NoEngine { waited } => write!(f, "there was no engine for {waited:?}"),
            Reason::Unfit { engines } => {
                write!(f, "no engine can run the program:")?;
                engines.iter().try_for_each(|(engine, error)| write!(f, "\n  {engine}: {error}"))
            }
            Reason::NoPool { asks, pool, known } => {
                write!(f, "there is no pool named {pool:?}, which {asks} is to run in; ")?;
                match known.is_empty() {
                    true => write!(f, "the cluster has none with a name"),
                    false => write!(f, "the cluster's pools are `{}`", known.join("`, `")),
                }
            }
            Reason::Invalid { what } => write!(f, "{what}"),
        }
    }
}

/// What cancelling a job did to one of its stages, in partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The stage's index in the job.
    pub stage: u32,
    /// Partitions that never began.
    pub not_started: u32,
    /// Partitions that were running and were asked to stop.
    pub stopped: u32,
    /// Partitions that were done.
    pub done: u32,
    /// Another job needs the stage, so it continues: nothing was stopped.
    pub shared: bool,
}
