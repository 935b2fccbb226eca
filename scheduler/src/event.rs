//! Events: everything that a shell can tell the scheduler.

use super::{
    outputs::BlockLocation,
    partitions::Partitions,
    spec::{JobSpec, PoolSpec},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

/// Something happened. `E` is the shell's own error: the scheduler passes it on and never looks into it.
///
/// The legal order, for one engine session, one job and one output:
///
/// ```text
/// engine  = EngineJoined, { EngineGate | EnginePrefetch | EngineUnfit | report }, [ EngineLost ] ;
/// report  = TaskDone | TaskFailed | WorkerDied | BlockLost | BlockMoved | MoveFailed ;
/// pool    = { PoolDefined } ;
/// job     = { JobSubmitted naming a pool that is defined, [ JobCancelled ] } ;
/// output  = { JobSubmitted naming it | OutputKnown }, OutputReleased ;
/// ```
///
/// Ids of engine sessions, jobs and outputs are never reused. A job that has ended may be submitted again, for results
/// that were lost since. Every launched attempt is reported once, by `TaskDone`,
/// `TaskFailed` or among the suspects of `WorkerDied`, even after it was asked to stop. Every `Move` is answered once,
/// by `BlockMoved` or `MoveFailed`, unless one of its two engines is lost. Events that violate this order are ignored:
/// duplicates, late reports, reports from a lost session or about an unknown job.
///
/// A shell that restarts with a new scheduler, while engines and drivers went on, sends events in this order:
///
/// ```text
/// again   = { EngineJoined of a session that lives on, { OutputKnown, parents before children } },
///           { JobSubmitted of a job that lives on } ;
/// ```
///
/// All ids stay the same. A job that is submitted again wants only the results that its driver does not have yet. The
/// shell hands in an engine's `EngineJoined` together with the blocks that it holds, so that none of them is recomputed
/// in between. An engine may also come back after a job: `OutputKnown` may come at any time. The scheduler does not
/// know what engines still run from before, or copy to each other. The shell has it stopped, or reports what it leaves
/// by `OutputKnown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event<E> {
    /// A session begins. The engine runs nothing and has no blocks except those that `OutputKnown` reports.
    EngineJoined {
        /// The engine.
        engine: EngineId,
        /// How many tasks it runs at once.
        slots: u32,
    },
    /// From now on an engine may hold `prefetch` tasks beyond its slots. More suit short tasks, so that the engine does
    /// not wait between two. Fewer suit long tasks, so that another engine that is free gets them.
    EnginePrefetch {
        /// The engine.
        engine: EngineId,
        /// How many tasks.
        prefetch: u32,
    },
    /// Whether an engine takes new tasks. Running tasks go on.
    EngineGate {
        /// The engine.
        engine: EngineId,
        /// The gate from now on.
        gate: Gate,
    },
    /// An engine cannot run a program, for a reason of its own: for example, its disk is full. Its tasks of that
    /// program go to other engines; the engine still reports them. A job fails when no engine can run its program.
    EngineUnfit {
        /// The engine.
        engine: EngineId,
        /// The program, as in [`JobSpec::program`].
        program: u64,
        /// The reason.
        error: E,
        /// How long it gets no task of the program, as long as other engines do.
        lasts: Duration,
    },
    /// A session is over: its blocks are gone, and its running tasks are lost.
    EngineLost {
        /// The engine.
        engine: EngineId,
        /// What is known about the loss.
        error: E,
    },
    /// Defines a pool that jobs can name, or gives it another share from now on. The pool without a name, for jobs that
    /// name none, exists from the beginning.
    PoolDefined {
        /// The name of the pool.
        pool: String,
        /// The share of the pool.
        spec: PoolSpec,
    },
    /// A driver submits a job.
    JobSubmitted {
        /// The id of the job. Smaller ids are served first, so a new job has a larger one than every job before it.
        job: JobId,
        /// The job.
        spec: JobSpec,
    },
    /// The driver cancels a job.
    JobCancelled {
        /// The job.
        job: JobId,
    },
    /// A task finished.
    TaskDone {
        /// The launch.
        attempt: AttemptId,
        /// What the task made.
        report: Report,
    },
    /// A task did not finish.
    TaskFailed {
        /// The launch.
        attempt: AttemptId,
        /// The reason.
        failure: Failure<E>,
    },
    /// A worker process died, and with it the tasks that it was running.
    WorkerDied {
        /// The worker's engine.
        engine: EngineId,
        /// The launches that it was running: any of them may have killed it.
        suspects: Vec<AttemptId>,
        /// How it died.
        error: E,
    },
    /// An engine found that it no longer has the block of an attempt.
    BlockLost {
        /// The engine.
        engine: EngineId,
        /// The output that the block belonged to.
        output: OutputId,
        /// A partition in the block.
        partition: u32,
        /// The launch that made it.
        made_by: AttemptId,
    },
    /// The engine `to` has a complete copy of a block of the engine `from`, which still has it.
    BlockMoved(Move),
    /// The engine `to` has no copy, and will have none.
    MoveFailed(Move),
    /// Describes an output that a driver holds or a job will name: engines from before this scheduler have these blocks
    /// of it. Blocks of sessions that did not join are ignored. A block that does not fit its partitions, or of which a
    /// part exists or is running, is discarded as a whole. The first description of an output counts: blocks with other
    /// counts are discarded, and a job that names the output with other counts fails. Launches that were asked to stop,
    /// and blocks that were to be discarded, are not reported: the shell has them deleted.
    OutputKnown {
        /// The output.
        output: OutputId,
        /// How many partitions it has in all.
        partitions: u32,
        /// The number of buckets of each partition.
        buckets: u32,
        /// The outputs that it was made from.
        parents: Vec<OutputId>,
        /// Partitions that were ever made, with their checksums, as far as the shell remembers. If one of them is gone
        /// and comes out different when it is recomputed, user code is not deterministic.
        made: Vec<(u32, u64)>,
        /// When the output answered differently, if it ever did: blocks made from the first answer are not accepted.
        changed: Option<Change>,
        /// The blocks that exist; several events may report them.
        blocks: Vec<KnownBlock>,
    },
    /// No driver holds the output any more: delete it once no job needs it. After a restart of the shell, jobs that
    /// name it are submitted before this.
    OutputReleased {
        /// The output.
        output: OutputId,
    },
    /// Time has passed. Due when [`Action::WakeAt`](super::Action::WakeAt) asked for it.
    Tick,
}

/// Whether an engine takes new tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// It takes tasks.
    #[default]
    Open,
    /// It takes none: it is short of memory.
    Memory,
    /// It takes none: it is not trusted.
    Excluded,
    /// It takes none: it was asked to leave. Its blocks are moved, then the scheduler says
    /// [`Action::Drained`](super::Action::Drained).
    Draining,
}

impl Gate {
    /// Whether it takes tasks, now or soon.
    pub(super) fn is_able(self) -> bool {
        matches!(self, Gate::Open | Gate::Memory)
    }
}

/// A block that moves from one engine to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The output that it belongs to.
    pub output: OutputId,
    /// The partitions in it.
    pub partitions: Partitions,
    /// The launch that made it.
    pub made_by: AttemptId,
    /// The engine that has it and is about to leave.
    pub from: EngineId,
    /// The engine that is to have it.
    pub to: EngineId,
}

/// What a finished task made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One report for each partition of the task, in order.
    pub partitions: Vec<PartitionReport>,
    /// The bytes of each bucket, summed over the task's partitions; may be empty if no stage packs by size.
    pub bucket_bytes: Vec<u64>,
}

/// What a task made of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its size in bytes.
    pub bytes: u64,
    /// The number of its items.
    pub rows: u64,
    /// A checksum of its content. If the same partition gets another checksum, user code is not deterministic.
    pub checksum: u64,
}

/// An output was recomputed and came out different: recorded when `Nondeterministic` was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The partition that showed it.
    pub partition: u32,
    /// How many attempts had been launched by then: those that read the output may have read the first answer.
    pub launched: u64,
}

/// A block from before a restart: what the `TaskDone` of its launch said, and the engine that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBlock {
    /// The engine that has it.
    pub engine: EngineId,
    /// The launch that made it.
    pub made_by: AttemptId,
    /// The partitions in it.
    pub partitions: Partitions,
    /// The report of its partitions.
    pub report: Report,
}

/// Why a task did not finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure<E> {
    /// User code returned an error. The task is retried.
    User(E),
    /// User code panicked. The task is retried.
    Panic(E),
    /// Blocks that it reads could not be fetched: all that it found missing. The reader is not to blame.
    Fetch(Vec<FetchFailure>),
    /// It was stopped, because the scheduler asked or as the neighbour of a task that had to be stopped. It is not to
    /// blame.
    Killed,
    /// It can only fail again (a limit, a missing file). It is not retried.
    Final(E),
}

/// A block that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchFailure {
    /// The output it belongs to.
    pub output: OutputId,
    /// The map partition that the task wanted.
    pub partition: u32,
    /// Where the task looked for it. `None` if the task got no place for it.
    pub at: Option<BlockLocation>,
}

/// One task, as an engine runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// This launch.
    pub attempt: AttemptId,
    /// The job for which it runs. Another job may take the stage over; the launch keeps this id.
    pub job: JobId,
    /// The index of the stage in that job.
    pub stage: u32,
    /// How many times this stage has begun again. The places of its inputs may differ between two stage attempts.
    pub stage_attempt: u32,
    /// How many times this task was launched before.
    pub tries: u32,
    /// No other task may run in the same worker, since this one is suspected of having killed a worker.
    pub alone: bool,
    /// The partitions to compute.
    pub partitions: Partitions,
    /// The launch that computes the same and takes too long. The first of the two to finish counts.
    pub copy_of: Option<AttemptId>,
}
