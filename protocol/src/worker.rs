//! Between an engine and its workers.
//!
//! ```text
//! worker  = Hello, { Beat | Done | [ Unreadable ], Failed | Fetch | GetFile } ;
//! engine  = welcome, { Code | Peer | Places | Launch | Kill | Fetched | File | .. } ;
//! ```

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::engine::{Assignment, CodeBytes, CodeId, ResultPart, StorePlace};
use serde::{Deserialize, Serialize};
use tryworks_base::ids::{AttemptId, EngineId, OutputId, SessionId};
use tryworks_base::{Error, Shipment};
use tryworks_scheduler::{Failure, Report};
use tryworks_store::blocks::{BlockId, Quota, Sealed};

/// The variable by which a program knows that it is a worker.
pub const VARIABLE: &str = "TRYWORKS_WORKER";

/// The answer to a worker's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session it works for.
    pub session: SessionId,
    /// Its engine.
    pub engine: EngineId,
    /// What that is called.
    pub name: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Its memory budget.
    pub memory: u64,
    /// Where it puts spill files.
    pub spill_directory: String,
    /// Where it writes down what each slot runs.
    pub running: String,
    /// Its engine's store.
    pub store: StorePlace,
    /// What it may write of blocks.
    pub quota: Quota,
}

/// From an engine to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The code of a stage.
    Code {
        code: CodeId,
        /// It, or where it is: then the worker gets it as a file.
        bytes: CodeBytes,
    },
    /// A code is not needed any more.
    ForgetCode { code: CodeId },
    /// How an engine's blocks are reached.
    Peer { engine: EngineId, store: Box<StorePlace> },
    /// Who has the blocks of an output.
    Places {
        output: OutputId,
        /// As in [`ToEngine::Places`](super::engine::ToEngine::Places).
        places: Vec<(u32, EngineId, AttemptId)>,
    },
    /// Run these.
    Launch {
        tasks: Vec<Assignment>,
        /// What may be written of blocks from now on.
        quota: Quota,
    },
    /// Stop an attempt.
    Kill { attempt: AttemptId },
    /// An output is gone.
    DeleteOutput { output: OutputId },
    /// A cache is gone.
    DeleteCache {
        /// Its global name.
        cache: u64,
    },
    /// A file that was wanted is here.
    File {
        /// The number of the question.
        number: u64,
        path: Result<String, Error>,
    },
    /// What was asked for.
    Fetched {
        /// The number of the question.
        number: u64,
        /// For each thing asked for: it, or why not.
        answer: Result<Vec<Piece>, Error>,
    },
}

/// Something fetched.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// A whole small block.
    Whole(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The table of contents of a large one.
    Table(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A range of its bytes.
    Range(#[serde(with = "serde_bytes")] Vec<u8>),
    /// What was said of the block when it was added.
    Note(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It is not there.
    Missing(String),
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Piece::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Piece::Table(bytes) => write!(f, "Table({} bytes)", bytes.len()),
            Piece::Range(bytes) => write!(f, "Range({} bytes)", bytes.len()),
            Piece::Note(bytes) => write!(f, "Note({} bytes)", bytes.len()),
            Piece::Missing(why) => write!(f, "Missing({why})"),
        }
    }
}

/// A part of a block that is to be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Who has it.
    pub engine: EngineId,
    /// Its name there.
    pub block: BlockId,
    /// Which part.
    pub part: BlockPart,
}

/// A part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockPart {
    /// The whole of a small block, or the table of contents of a large one.
    Contents,
    /// What was said of it when it was added.
    Note,
    /// A range of the bytes of a large one.
    Range {
        /// From there.
        start: u64,
        /// To here.
        end: u64,
    },
}

/// From a worker to its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A sign of life.
    Beat,
    /// A task finished.
    Done {
        attempt: AttemptId,
        /// What it made.
        report: Report,
        /// Its blocks, and results that are too large for a message: to what each belongs, and its partition.
        blocks: Vec<(u64, u32, Sealed)>,
        /// Its results.
        results: Vec<(u32, ResultPart)>,
        /// Partitions of caches that were kept meanwhile, by the caches' global names.
        kept: Vec<(u64, u32)>,
        /// When it began and ended.
        span: (u64, u64),
    },
    /// A task did not finish.
    Failed {
        attempt: AttemptId,
        failure: Failure<Error>,
        /// When it began and ended.
        span: (u64, u64),
    },
    /// Why blocks of an output could not be read, before the task that read them fails for it.
    Unreadable { output: OutputId, why: String },
    /// A file of the driver's is wanted, which is on another machine.
    GetFile {
        /// The worker's number for the question.
        number: u64,
        shipment: Shipment,
    },
    /// A block cannot be mapped here: bring it.
    Fetch {
        /// The worker's number for the question.
        number: u64,
        wanted: Vec<Wanted>,
    },
}
