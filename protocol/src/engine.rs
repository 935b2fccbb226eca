//! Between the hub and an engine.
//!
//! The legal order:
//!
//! ```text
//! engine  = Hello with its Offer, { report | Wrote | Beat } ;
//! report  = Done | [ Unreadable ], Failed | WorkerDied | Lost | Moved ;
//! hub     = welcome, { Session | Code | Peer | Places | Launch | Kill | Heard | Unheard | .. }, [ Leave ] ;
//! ```
//!
//! A code, its session and the places of what it reads are sent before the first task that needs them. Every task
//! that was launched is reported once, also after it was killed.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::driver::Program;
use serde::{Deserialize, Serialize};
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_scheduler::{Failure, Move, Partitions, Report, Task};
use tryworks_store::blocks::BlockKey;

/// What an engine brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The name it was given when it was started, which stays when it says hello again.
    pub name: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Where its blocks are.
    pub store: StorePlace,
    /// Blocks that it still has from before.
    pub held: Vec<HeldBlock>,
    /// Results that nobody has said to have received.
    pub results: Vec<HeldResult>,
    /// The sessions that it has workers, blocks or results of. It is told of those that are over.
    pub sessions: Vec<SessionId>,
    /// Partitions of caches that its workers keep, by the caches' global names.
    pub kept: Vec<(u64, u32)>,
}

/// How the blocks of an engine are reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorePlace {
    /// The machine, as in [`HostInfo`](super::HostInfo).
    pub host: String,
    /// Their directory there.
    pub directory: String,
    /// Its data port, if it listens.
    pub address: Option<String>,
    /// Its socket for processes of the same machine.
    pub socket: String,
    /// What block names are made with.
    pub key: BlockKey,
}

/// A block, and how to get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockPlace {
    /// The engine's store.
    pub store: StorePlace,
    /// The output, or the job's number with the highest bit set for a result.
    pub output: u64,
    /// The partition.
    pub partition: u32,
    /// The launch that made it.
    pub attempt: AttemptId,
}

/// The blocks of one launch that an engine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBlock {
    /// What they belong to.
    pub output: OutputId,
    /// The launch that made them.
    pub attempt: AttemptId,
    /// Their partitions.
    pub partitions: Partitions,
    /// What the launch reported of them.
    pub report: Report,
}

/// Results that an engine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldResult {
    /// Of which job.
    pub job: JobId,
    /// Whose workers made them.
    pub session: SessionId,
    /// The launch that made them.
    pub attempt: AttemptId,
    pub parts: Vec<(u32, ResultPart)>,
}

/// A result of a partition, as an engine hands it on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ResultPart {
    /// The bytes themselves.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It stays with the engine, this long.
    Kept(u64),
}

/// The code of a stage, with the values that it captures.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeBytes {
    /// The bytes themselves.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It is large, and lies at the hub's data port under the hash of its bytes.
    AtHub {
        /// The hash.
        id: [u8; 32],
        /// How many bytes it has.
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
    /// Its name from now on.
    pub engine: EngineId,
    /// How often it should say that it is there, in milliseconds.
    pub beat_ms: u32,
}

/// Which code a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CodeId {
    /// What makes an output.
    Output(OutputId),
    /// What makes the results of a job.
    Results(JobId),
}

/// A task with what it runs and reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// The session that it is for.
    pub session: SessionId,
    /// Its code.
    pub code: CodeId,
}

/// From the hub to an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// A driver is there, and may want tasks run.
    Session {
        session: SessionId,
        /// Its program.
        program: Box<Program>,
        /// The machine that its path is of.
        host: String,
        /// The hub's data port, for who does not see that path.
        address: Option<String>,
    },
    /// The session is over: its workers end, its blocks go.
    EndSession { session: SessionId },
    /// The code of a stage.
    Code {
        /// Of which session.
        session: SessionId,
        code: CodeId,
        /// It, or where it is.
        bytes: CodeBytes,
    },
    /// A code is not needed any more.
    ForgetCode { code: CodeId },
    /// Where the blocks of an engine are.
    Peer { engine: EngineId, store: Box<StorePlace> },
    /// Who has the blocks of an output, for tasks that come after this.
    Places {
        output: OutputId,
        /// The first partition of each run that one launch made, with the engine that has it; the last entry stands for
        /// the end.
        places: Vec<(u32, EngineId, AttemptId)>,
    },
    /// Run these, in this order as slots come free.
    Launch { tasks: Vec<Assignment> },
    /// Stop an attempt; report it all the same.
    Kill { attempt: AttemptId },
    /// Delete what an attempt made.
    Discard { attempt: AttemptId },
    /// Delete every block of an output.
    DeleteOutput { output: OutputId },
    /// Forget the kept partitions of a cache.
    DeleteCache {
        /// Its global name.
        cache: u64,
    },
    /// Results were received: forget them.
    Received {
        /// The launches that made them.
        attempts: Vec<AttemptId>,
    },
    /// The driver has all that a worker of its session wrote before an offset, or nobody waits for it.
    Heard {
        session: SessionId,
        run: u64,
        /// The standard error output, not the standard output.
        stderr: bool,
        /// All before this.
        offset: u64,
    },
    /// The driver of a session lost its connection: what was on its way to it may never arrive.
    Unheard { session: SessionId },
    /// Take over a block from another engine, which is about to leave.
    Move(Move),
    /// End: workers first.
    Leave,
}

/// From an engine to the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// A task finished. Its blocks are in the store.
    Done {
        attempt: AttemptId,
        /// What it made.
        report: Report,
        /// Results, of a task of a last stage.
        results: Vec<(u32, ResultPart)>,
        /// Partitions of caches that were kept meanwhile.
        kept: Vec<(u64, u32)>,
        /// When it began and ended, in microseconds of the engine's clock since 1970.
        span: (u64, u64),
    },
    /// A task did not finish.
    Failed {
        attempt: AttemptId,
        failure: Failure<Error>,
        /// As above.
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
    /// Workers of a session cannot be started here.
    CannotWork { session: SessionId, error: Error },
    /// A block is not there any more.
    Lost {
        /// What it belonged to.
        output: OutputId,
        /// Its partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
    },
    /// Why blocks of an output could not be read, before the task that read them fails for it.
    Unreadable { output: OutputId, why: String },
    /// A block was taken over, or could not be.
    Moved {
        what: Move,
        /// Whether it is here now.
        here: bool,
    },
    /// A worker wrote something.
    Wrote {
        /// Of which session.
        session: SessionId,
        written: super::driver::Written,
    },
    /// A sign of life.
    Beat {
        /// The anonymous memory of its workers.
        resident: u64,
        /// The bytes of its blocks.
        blocks: u64,
        /// It is short of memory, and wants no further task.
        short: bool,
    },
    /// It ends.
    Leaving,
}
