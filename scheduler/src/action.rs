//! What to do: everything the scheduler can ask of a shell.

use super::{
    event::{FetchFailure, Move, Task},
    partitions::Partitions,
    time::Time,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time::Duration};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

/// Something to do. Actions about one engine reach it in this order, or not at all once it is lost.
///
/// The order, of one job: `{ StageStarted | StageFinished | Commit | Nondeterministic }`, then exactly one of
/// `JobDone`, `JobFailed`, `JobCancelled`. Of one attempt: `Launch`, then `Kill` or `Commit` at most once. Of an
/// engine that was asked to leave: `{ Move }`, then `Drained` at most once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action<E> {
    /// Run these tasks, in this order as slots come free.
    Launch {
        /// Where.
        engine: EngineId,
        /// What.
        tasks: Batch,
    },
    /// Stop an attempt; report it all the same.
    Kill {
        /// Where it runs.
        engine: EngineId,
        /// Which.
        attempt: AttemptId,
    },
    /// Delete what an attempt made: it is not wanted, or not whole.
    Discard {
        /// Where it ran.
        engine: EngineId,
        /// Which.
        attempt: AttemptId,
    },
    /// Delete every block of an output.
    DeleteOutput {
        /// Where some of them are.
        engine: EngineId,
        /// Which output.
        output: OutputId,
    },
    /// Results of a job are accepted. Said once for each wanted partition, whatever died.
    Commit {
        /// Which job.
        job: JobId,
        /// The launch whose results count.
        attempt: AttemptId,
        /// Where it ran.
        engine: EngineId,
        /// The results.
        partitions: Partitions,
    },
    /// Every wanted partition was committed.
    JobDone {
        /// Which job.
        job: JobId,
    },
    /// The job is over without its results.
    JobFailed {
        /// Which job.
        job: JobId,
        /// Why.
        reason: Reason<E>,
    },
    /// The job is over because it was cancelled.
    JobCancelled {
        /// Which job.
        job: JobId,
        /// What became of its tasks.
        report: Vec<Cancelled>,
    },
    /// A stage begins to run, or begins anew.
    StageStarted {
        /// On whose behalf.
        job: JobId,
        /// Its index there.
        stage: u32,
        /// Which time.
        stage_attempt: u32,
        /// How many tasks wait in it.
        tasks: u32,
    },
    /// Everything that is wanted of a stage exists.
    StageFinished {
        /// On whose behalf.
        job: JobId,
        /// Its index there.
        stage: u32,
        /// Which time.
        stage_attempt: u32,
    },
    /// A map task that ran again made something else. What depends on the first is made again.
    Nondeterministic {
        /// On whose behalf it ran again.
        job: JobId,
        /// The stage that is not deterministic.
        stage: u32,
        /// The partition that shows it.
        partition: u32,
        /// Whether the stage had said so itself.
        declared: bool,
    },
    /// Copy a block to another engine. Said while an engine is asked to leave.
    Move(Move),
    /// An engine that was asked to leave has nothing more that is needed: nothing runs there, nothing that exists is
    /// there alone, and nobody reads from it. Results that it holds for a driver are the shell's to see to.
    Drained {
        /// Which engine.
        engine: EngineId,
    },
    /// Send a tick at this time, or a little later.
    WakeAt {
        /// When.
        time: Time,
    },
}

/// The tasks of one launch: at least one, and no allocation for just one.
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
    /// A task failed as often as it may.
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
    /// A task, running alone, killed its worker again.
    Worker {
        /// Its stage.
        stage: u32,
        /// Its partitions.
        partitions: Partitions,
        /// How many workers died under it.
        deaths: u32,
        /// How the last one died.
        error: E,
    },
    /// A task was lost with its engine as often as it may.
    Losses {
        /// Its stage.
        stage: u32,
        /// Its partitions.
        partitions: Partitions,
        /// How often it was lost.
        losses: u32,
    },
    /// A stage began anew again and again because the same partition of its input could not be fetched.
    Fetch {
        /// The reading stage.
        stage: u32,
        /// Where it was each time.
        failures: Vec<FetchFailure>,
    },
    /// User code is not deterministic, and results that depend on its first answer are delivered already.
    Nondeterministic {
        /// The stage that answered twice.
        stage: u32,
        /// The partition that shows it.
        partition: u32,
        /// How many results were delivered.
        delivered: u32,
    },
    /// A limit of the job was reached.
    Limit {
        /// The field of [`Limits`](super::Limits).
        name: Cow<'static, str>,
        /// What it allows.
        limit: u64,
        /// What there was.
        value: u64,
    },
    /// There was no engine for as long as the job is ready to wait.
    NoEngine {
        /// How long.
        waited: Duration,
    },
    /// No engine that takes tasks can run its program.
    Unfit {
        /// Each of them, with its reason.
        engines: Vec<(EngineId, E)>,
    },
    /// It asks for a pool that there is not.
    NoPool {
        /// What asks: the action and the place of its call.
        asks: String,
        /// The pool.
        pool: String,
        /// The names of those that there are.
        known: Vec<String>,
    },
    /// The job makes no sense.
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
                    "{error}\ntask {partitions:?} of stage {stage} killed its worker {deaths} times, the last one alone"
                )
            }
            Reason::Losses { stage, partitions, losses } => {
                write!(f, "task {partitions:?} of stage {stage} was lost {losses} times through no fault of its own")
            }
            Reason::Fetch { stage, failures } => {
                write!(f, "stage {stage} could not read its input {} times in a row:", failures.len())?;
                failures.iter().try_for_each(|lost| {
                    write!(
                        f,
                        "\n  partition {} of {}, by {} on {}",
                        lost.partition, lost.output, lost.made_by, lost.engine
                    )
                })
            }
            Reason::Nondeterministic { stage, partition, delivered } => write!(
                f,
                "stage {stage} is not deterministic: partition {partition} was made again and came out different, \
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

/// What a cancel did to one stage, in partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The stage's index in the job.
    pub stage: u32,
    /// Never began.
    pub not_started: u32,
    /// Were running and have been asked to stop.
    pub stopped: u32,
    /// Were done already.
    pub done: u32,
    /// Another job needs the stage, so it goes on: nothing was stopped.
    pub shared: bool,
}
