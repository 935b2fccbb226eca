//! What happened: everything a shell can tell the scheduler.

use super::{partitions::Partitions, spec::JobSpec};
use serde::{Deserialize, Serialize};
use tryworks_core::ids::{AttemptId, EngineId, JobId, OutputId};

/// Something happened. `E` is the shell's own error, carried whole and never looked into.
///
/// The legal order, of one engine session, one job and one output:
///
/// ```text
/// engine  = EngineJoined, { EngineGate | report }, [ EngineLost ] ;
/// report  = TaskDone | TaskFailed | WorkerDied | BlockLost ;
/// job     = JobSubmitted, [ JobCancelled ] ;
/// output  = { JobSubmitted naming it }, OutputReleased ;
/// ```
///
/// Ids of engine sessions, jobs and outputs are never used twice. Every launched attempt is reported once, by
/// `TaskDone`, `TaskFailed` or among the suspects of `WorkerDied`, also after it was asked to stop. What comes
/// out of this order (twice, late, from a lost session, about an unknown job) changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event<E> {
    /// A session begins with nothing running and no blocks.
    EngineJoined {
        /// Its name.
        engine: EngineId,
        /// How many tasks it runs at once.
        slots: u32,
    },
    /// Whether an engine takes new tasks. What runs there goes on.
    EngineGate {
        /// Which engine.
        engine: EngineId,
        /// From now on.
        gate: Gate,
    },
    /// A session is over: its blocks are gone and what it ran is lost.
    EngineLost {
        /// Which engine.
        engine: EngineId,
        /// What is known of it.
        error: E,
    },
    /// A driver wants something.
    JobSubmitted {
        /// Its name, larger than every earlier one.
        job: JobId,
        /// What it wants.
        spec: JobSpec,
    },
    /// The driver does not want it any more.
    JobCancelled {
        /// Which job.
        job: JobId,
    },
    /// A task finished.
    TaskDone {
        /// Which launch of it.
        attempt: AttemptId,
        /// What it made.
        report: Report,
    },
    /// A task did not finish.
    TaskFailed {
        /// Which launch of it.
        attempt: AttemptId,
        /// Why.
        failure: Failure<E>,
    },
    /// A worker process died, and whatever it was running with it.
    WorkerDied {
        /// Whose worker.
        engine: EngineId,
        /// The launches it was running: any of them may have killed it.
        suspects: Vec<AttemptId>,
        /// How it died.
        error: E,
    },
    /// An engine found that it no longer has what an attempt made.
    BlockLost {
        /// What the block belonged to.
        output: OutputId,
        /// A partition that was in it.
        partition: u32,
        /// The launch that made it.
        made_by: AttemptId,
    },
    /// Nobody holds the output any more: delete it once no job needs it.
    OutputReleased {
        /// Which output.
        output: OutputId,
    },
    /// Time has passed. Due when [`Action::WakeAt`](super::Action::WakeAt) asked for it.
    Tick,
}

/// Whether an engine takes new tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// It does.
    #[default]
    Open,
    /// It is short of memory.
    Memory,
    /// It was asked to leave or is not trusted.
    Excluded,
}

/// What a finished task made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One for each partition of the task, in its order.
    pub partitions: Vec<PartitionReport>,
    /// The bytes of each bucket, summed over the task's partitions; may be empty if nobody packs by size.
    pub bucket_bytes: Vec<u64>,
}

/// What one partition came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its size.
    pub bytes: u64,
    /// Its items.
    pub rows: u64,
    /// A checksum of its content: another one for the same partition means that user code is not deterministic.
    pub checksum: u64,
}

/// Why a task did not finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure<E> {
    /// User code returned an error. Tried again.
    User(E),
    /// User code panicked. Tried again.
    Panic(E),
    /// What it reads could not be fetched. The reader is not to blame.
    Fetch(FetchFailure),
    /// It was stopped: because we asked, or as the neighbour of one that had to be. Not its fault.
    Killed,
    /// It can only fail again (a limit, a missing file). Never tried again.
    Final(E),
}

/// A block that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchFailure {
    /// The output it belongs to.
    pub output: OutputId,
    /// The map partition that was wanted.
    pub partition: u32,
    /// Where it was said to be.
    pub engine: EngineId,
    /// The launch that was said to have made it.
    pub made_by: AttemptId,
}

/// One task as an engine is to run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// This launch.
    pub attempt: AttemptId,
    /// The job on whose behalf it runs. Another job may take the stage over; the launch keeps this name.
    pub job: JobId,
    /// The stage, by its index in that job.
    pub stage: u32,
    /// How often this stage has been begun anew; where its inputs are may differ between two of them.
    pub stage_attempt: u32,
    /// How often this task was launched before.
    pub tries: u32,
    /// No other task may run in the same worker, since this one is suspected of having killed one.
    pub alone: bool,
    /// What to compute.
    pub partitions: Partitions,
}
