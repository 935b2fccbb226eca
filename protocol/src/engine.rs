//! Messages between the hub and an engine.
//!
//! The legal order:
//!
//! ```text
//! engine  = Hello with its Offer, { report | Wrote | Beat } ;
//! report  = Done | [ Unreadable ], Failed | WorkerDied | Lost | Moved ;
//! hub     = welcome, { Session | Code | Peer | Places | Launch | Kill | Heard | Unheard | .. }, [ Leave ] ;
//! ```
//!
//! The hub sends a code, its session and the places of what the code reads before the first task that needs them. The
//! engine reports every launched task once, even after it was killed.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::program::Program;
use serde::{Deserialize, Serialize};
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_scheduler::{BlockLocation, Failure, Move, Partitions, Report, Run, Task};
use tryworks_store::blocks::BlockKey;

/// What an engine offers a hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The name that it was given at its start. It keeps the name when it says hello again.
    pub name: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Where its blocks can be fetched.
    pub store: StorePlace,
    /// Blocks that it still has from before.
    pub held: Vec<HeldBlock>,
    /// Results that were not acknowledged.
    pub results: Vec<HeldResult>,
    /// The sessions of which it has workers, blocks or results. The hub answers with those that are over.
    pub sessions: Vec<SessionId>,
    /// Cache partitions that its workers have in memory, by the caches' global names.
    pub kept: Vec<(GlobalCacheId, u32)>,
}

/// How the blocks of an engine can be fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorePlace {
    /// The machine, as in [`HostInfo`](super::HostInfo).
    pub host: String,
    /// The directory of its blocks there.
    pub directory: String,
    /// Its data port, if it listens.
    pub address: Option<String>,
    /// Its socket for processes on the same machine.
    pub socket: String,
    /// The key from which block names are made.
    pub key: BlockKey,
}

/// A block, and where to fetch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockPlace {
    /// The engine's store.
    pub store: StorePlace,
    /// The output that it belongs to; for a result, [`results_of`](super::results_of) its job.
    pub output: OutputId,
    /// The partition.
    pub partition: u32,
    /// The launch that made it.
    pub attempt: AttemptId,
}

/// Which engines have the blocks of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// How many partitions the output has.
    pub partitions: u32,
    /// Runs of partitions that one launch made, ascending. A partition in none of them does not exist.
    pub runs: Vec<(Run, BlockLocation)>,
}

impl Places {
    /// Where the block of a partition is, if it exists.
    #[must_use]
    pub fn at(&self, partition: u32) -> Option<BlockLocation> {
        let next = self.runs.partition_point(|(run, _)| run.start <= partition);
        let (run, at) = self.runs.get(next.checked_sub(1)?)?;
        (partition < run.end).then_some(*at)
    }
}

/// The blocks of one launch that an engine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBlock {
    /// The output that they belong to.
    pub output: OutputId,
    /// The launch that made them.
    pub attempt: AttemptId,
    /// Their partitions.
    pub partitions: Partitions,
    /// The launch's report.
    pub report: Report,
}

/// Results that an engine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldResult {
    /// The job.
    pub job: JobId,
    /// The session whose workers made them.
    pub session: SessionId,
    /// The launch that made them.
    pub attempt: AttemptId,
    pub parts: Vec<(u32, ResultPart)>,
}

/// The result of a partition, as an engine reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ResultPart {
    /// The bytes themselves.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The engine keeps it; its size in bytes.
    Kept(u64),
}

/// The code of a stage, with its captured values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeBytes {
    /// The bytes themselves.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A large code, which is at the hub's data port under the hash of its bytes.
    AtHub {
        /// The hash.
        id: [u8; 32],
        /// Its size in bytes.
        bytes: u64,
    },
}

impl std::fmt::Debug for CodeBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CodeBytes::Here(bytes) => write!(f, "Here({} bytes)", bytes.len()),
            CodeBytes::AtHub { bytes, .. } => write!(f, "AtHub({bytes} bytes)"),
        }
    }
}

/// The answer to an engine's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The engine's number from now on.
    pub engine: EngineId,
    /// How often it should send a beat, in milliseconds.
    pub beat_ms: u32,
}

/// The code that a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CodeId {
    /// The code that makes an output.
    Output(OutputId),
    /// The code that makes the results of a job.
    Results(JobId),
}

/// A task, with the code that it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// The session that it is for.
    pub session: SessionId,
    /// Its code.
    pub code: CodeId,
}

/// Messages from the hub to an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// A driver has connected, and may have tasks to run.
    Session {
        session: SessionId,
        /// Its program.
        program: Box<Program>,
        /// The machine on which the program's path is.
        host: String,
        /// The hub's data port, for engines that do not see that path.
        address: Option<String>,
    },
    /// The session is over: end its workers and delete its blocks.
    EndSession { session: SessionId },
    /// The code of a stage.
    Code {
        /// The session that it belongs to.
        session: SessionId,
        code: CodeId,
        /// The code, or where it can be fetched.
        bytes: CodeBytes,
    },
    /// A code is no longer needed.
    ForgetCode { code: CodeId },
    /// Where the blocks of an engine can be fetched.
    Peer { engine: EngineId, store: Box<StorePlace> },
    /// Which engines have the blocks of an output, for the tasks that follow.
    Places { output: OutputId, places: Places },
    /// Run these tasks, in this order, as slots become free.
    Launch { tasks: Vec<Assignment> },
    /// Stop an attempt. It is still reported.
    Kill { attempt: AttemptId },
    /// Delete what an attempt made.
    Discard { attempt: AttemptId },
    /// Delete every block of an output.
    DeleteOutput { output: OutputId },
    /// Forget the partitions of a cache.
    DeleteCache {
        /// Its global name.
        cache: GlobalCacheId,
    },
    /// Results were received: delete them.
    Received {
        /// The launches that made them.
        attempts: Vec<AttemptId>,
    },
    /// The driver has received all output of a worker before an offset, or is not there to do so.
    Heard {
        session: SessionId,
        run: u64,
        /// The standard error output rather than the standard output.
        stderr: bool,
        /// Everything before this was received.
        offset: u64,
    },
    /// The driver of a session lost its connection: output on its way may never arrive.
    Unheard { session: SessionId },
    /// Take over a block from another engine, which is about to leave.
    Move(Move),
    /// End, the workers first.
    Leave,
}

/// Messages from an engine to the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// A task finished. Its blocks are in the store.
    Done {
        attempt: AttemptId,
        /// What it made.
        report: Report,
        /// Its results, if it is a task of the last stage.
        results: Vec<(u32, ResultPart)>,
        /// Cache partitions that its worker has newly in memory.
        kept: Vec<(GlobalCacheId, u32)>,
        /// When it began and ended, in microseconds of the engine's clock since 1970.
        span: (u64, u64),
    },
    /// A task did not finish.
    Failed {
        attempt: AttemptId,
        failure: Failure<Error>,
        /// When it began and ended, as for `Done`.
        span: (u64, u64),
    },
    /// A worker died.
    WorkerDied {
        session: SessionId,
        /// The launches that it was running.
        suspects: Vec<AttemptId>,
        /// Launches that waited in it.
        waiting: Vec<AttemptId>,
        /// How it died.
        error: Error,
    },
    /// Workers of a session do not start here.
    CannotWork { session: SessionId, error: Error },
    /// A block is lost.
    Lost {
        /// The output that it belonged to.
        output: OutputId,
        /// Its partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
    },
    /// Why blocks of an output could not be read. It comes before the failure of the task that read them.
    Unreadable { output: OutputId, why: String },
    /// A block was taken over, or could not be.
    Moved {
        what: Move,
        /// Whether it is here now.
        here: bool,
    },
    /// A worker wrote something.
    Wrote {
        /// The session.
        session: SessionId,
        written: super::output::Written,
    },
    /// A sign of life.
    Beat {
        /// The anonymous memory of its workers.
        resident: u64,
        /// The bytes of its blocks.
        blocks: u64,
        /// Whether it is short of memory and wants no further task.
        short: bool,
    },
    /// The engine is ending.
    Leaving,
}
