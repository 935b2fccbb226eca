//! What happened: everything a shell can tell the scheduler.

use super::{partitions::Partitions, pools::PoolSpec, spec::JobSpec};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

/// Something happened. `E` is the shell's own error, carried whole and never looked into.
///
/// The legal order, of one engine session, one job and one output:
///
/// ```text
/// engine  = EngineJoined, { EngineGate | EnginePrefetch | EngineUnfit | report }, [ EngineLost ] ;
/// report  = TaskDone | TaskFailed | WorkerDied | BlockLost | BlockMoved | MoveFailed ;
/// pool    = { PoolDefined } ;
/// job     = JobSubmitted naming a pool that is defined, [ JobCancelled ] ;
/// output  = { JobSubmitted naming it | OutputKnown }, OutputReleased ;
/// ```
///
/// Ids of engine sessions, jobs and outputs are never used twice. Every launched attempt is reported once, by
/// `TaskDone`, `TaskFailed` or among the suspects of `WorkerDied`, also after it was asked to stop. Every `Move` that was asked for is answered
/// once, by `BlockMoved` or `MoveFailed`, unless one of its two engines is lost. What comes
/// out of this order (twice, late, from a lost session, about an unknown job) changes nothing.
///
/// A shell that begins anew with a new scheduler, while engines and drivers went on, tells it in this order:
///
/// ```text
/// again   = { EngineJoined of a session that lives on, { OutputKnown, parents before children } },
///           { JobSubmitted of a job that lives on } ;
/// ```
///
/// All ids stay what they were. A job that comes again wants only the results that its driver does not have yet.
/// An engine's `EngineJoined` and what it holds are handed in together, so that nothing of it is begun in between.
/// An engine that comes back later than a job is welcome all the same: `OutputKnown` may come at any time. What
/// engines still run from before, or copy to each other, is not known here: the shell has it stopped, or tells what it
/// leaves by `OutputKnown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event<E> {
    /// A session begins, with nothing running and no blocks but those that `OutputKnown` tells of.
    EngineJoined {
        /// Its name.
        engine: EngineId,
        /// How many tasks it runs at once.
        slots: u32,
    },
    /// From now on an engine may hold so many tasks beyond its slots: more for short ones, so that it need not wait
    /// between two; fewer for long ones, so that another engine that is free gets them.
    EnginePrefetch {
        /// Which engine.
        engine: EngineId,
        /// How many.
        prefetch: u32,
    },
    /// Whether an engine takes new tasks. What runs there goes on.
    EngineGate {
        /// Which engine.
        engine: EngineId,
        /// From now on.
        gate: Gate,
    },
    /// A program cannot be run on an engine, for a reason that lies there: its disk is full, say. What it had to run of
    /// it goes to others, and is reported all the same. A job fails when its program can be run nowhere.
    EngineUnfit {
        /// Which engine.
        engine: EngineId,
        /// Which program, as in [`JobSpec::program`].
        program: u64,
        /// Why.
        error: E,
        /// How long it gets no task of the program, as long as others do.
        lasts: Duration,
    },
    /// A session is over: its blocks are gone and what it ran is lost.
    EngineLost {
        /// Which engine.
        engine: EngineId,
        /// What is known of it.
        error: E,
    },
    /// There is a pool for jobs to name, or it gets another share from now on. The pool without a name, for jobs that
    /// name none, is there from the beginning.
    PoolDefined {
        /// Its name.
        pool: String,
        /// Its share.
        spec: PoolSpec,
    },
    /// A driver wants something.
    JobSubmitted {
        /// Its name. Smaller ones are served first, so a new job has a larger one than every job before it.
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
        /// Which engine.
        engine: EngineId,
        /// What the block belonged to.
        output: OutputId,
        /// A partition that was in it.
        partition: u32,
        /// The launch that made it.
        made_by: AttemptId,
    },
    /// The engine `to` has all of a block that was on the engine `from`, which has it still.
    BlockMoved(Move),
    /// It has not, and will not.
    MoveFailed(Move),
    /// An output that somebody holds, or that a job will name, exists in part: engines that were there before this
    /// scheduler began have these blocks of it. Blocks of sessions that did not join are passed over; a block of
    /// which something exists already or is running, or that fits no partition, is discarded whole. The first
    /// to describe an output is right: blocks told with other counts are discarded, and a job that names it with
    /// other counts fails. Launches that were asked to stop, and what was to be discarded, are not told: the shell has
    /// them deleted.
    OutputKnown {
        /// Which output.
        output: OutputId,
        /// How many partitions it has in all.
        partitions: u32,
        /// Into how many buckets each is divided.
        buckets: u32,
        /// The outputs that it was made from.
        parents: Vec<OutputId>,
        /// What was ever made of it, with the checksums, as far as the shell remembers: a partition that is not there
        /// any more and comes out different when it is made again means that user code is not deterministic.
        made: Vec<(u32, u64)>,
        /// That it answered differently once, if it did: what was made from the first answer is not taken in.
        changed: Option<Change>,
        /// What exists of it; may be told of in several events.
        blocks: Vec<KnownBlock>,
    },
    /// Nobody holds the output any more: delete it once no job needs it. Of jobs that come again to a shell that began
    /// anew, those that name it come first.
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
    /// It is not trusted.
    Excluded,
    /// It was asked to leave: what it has is moved, then [`Action::Drained`](super::Action::Drained) is said.
    Draining,
}

impl Gate {
    /// Whether it takes tasks, now or soon.
    pub(super) fn is_able(self) -> bool {
        matches!(self, Gate::Open | Gate::Memory)
    }
}

/// A block that goes from one engine to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What it belongs to.
    pub output: OutputId,
    /// The partitions in it.
    pub partitions: Partitions,
    /// The launch that made it.
    pub made_by: AttemptId,
    /// Who has it, and is about to leave.
    pub from: EngineId,
    /// Who is to have it.
    pub to: EngineId,
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

/// That an output answered differently when it was made again, as it was when `Nondeterministic` was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The partition that showed it.
    pub partition: u32,
    /// How many attempts were launched by then: those that read the output may have read the first answer.
    pub launched: u64,
}

/// A block from before: what the `TaskDone` of its launch said, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBlock {
    /// The engine that has it.
    pub engine: EngineId,
    /// The launch that made it.
    pub made_by: AttemptId,
    /// The partitions in it.
    pub partitions: Partitions,
    /// What they came to.
    pub report: Report,
}

/// Why a task did not finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure<E> {
    /// User code returned an error. Tried again.
    User(E),
    /// User code panicked. Tried again.
    Panic(E),
    /// Blocks that it reads could not be fetched: all that it found missing. The reader is not to blame.
    Fetch(Vec<FetchFailure>),
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
    /// The launch that computes the same and takes too long. The first to finish counts.
    pub copy_of: Option<AttemptId>,
}
