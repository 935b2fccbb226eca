//! Messages between an engine and its workers.
//!
//! ```text
//! worker  = Hello, { Beat | Done | [ Unreadable ], Failed | Fetch | GetFile } ;
//! engine  = welcome, { Code | Peer | Places | Launch | Kill | Fetched | File | .. } ;
//! ```

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::engine::{Assignment, CodeBytes, CodeId, Places, ResultPart, StorePlace};
use serde::{Deserialize, Serialize};
use tryworks_base::ids::{AttemptId, EngineId, GlobalCacheId, OutputId, SessionId};
use tryworks_base::{Error, Shipment};
use tryworks_scheduler::{Failure, Report};
use tryworks_store::blocks::{BlockId, Quota, Sealed};

/// The environment variable by which a program knows that it is a worker.
pub const VARIABLE: &str = "TRYWORKS_WORKER";

/// The answer to a worker's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session that the worker belongs to.
    pub session: SessionId,
    /// Its engine.
    pub engine: EngineId,
    /// The engine's name.
    pub name: String,
    /// The machine of its driver.
    pub driver_host: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Its memory budget in bytes.
    pub memory: u64,
    /// The directory for its spill files.
    pub spill_directory: String,
    /// The file in which it writes what each slot runs.
    pub running: String,
    /// The store of its engine.
    pub store: StorePlace,
    /// How many bytes of blocks it may write.
    pub quota: Quota,
}

/// Messages from an engine to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The code of a stage.
    Code {
        code: CodeId,
        /// The code, or where it is: then the worker gets it as a file.
        bytes: CodeBytes,
    },
    /// A code is no longer needed.
    ForgetCode { code: CodeId },
    /// Where an engine's blocks can be fetched.
    Peer { engine: EngineId, store: Box<StorePlace> },
    /// Which engines have the blocks of an output.
    Places { output: OutputId, places: Places },
    /// Run these tasks.
    Launch {
        tasks: Vec<Assignment>,
        /// How many bytes of blocks may be written from now on.
        quota: Quota,
    },
    /// Stop an attempt.
    Kill { attempt: AttemptId },
    /// An output was deleted.
    DeleteOutput { output: OutputId },
    /// A cache was deleted.
    DeleteCache {
        /// Its global name.
        cache: GlobalCacheId,
    },
    /// The answer to `GetFile`.
    File {
        /// The number of the question.
        number: u64,
        path: Result<String, Error>,
    },
    /// The answer to `Fetch`.
    Fetched {
        /// The number of the question.
        number: u64,
        /// One piece for each part that was asked for, in order.
        answer: Result<Vec<Piece>, Error>,
    },
}

/// A fetched part of a block.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// A whole small block.
    Whole(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The table of contents of a large one.
    Table(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A range of its bytes.
    Range(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The note that was added with the block.
    Note(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The part is not there, for this reason.
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

/// A part of a block to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The engine that has it.
    pub engine: EngineId,
    /// The block's name there.
    pub block: BlockId,
    /// The part.
    pub part: BlockPart,
}

/// A part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockPart {
    /// The whole of a small block, or the table of contents of a large one.
    Contents,
    /// The note that was added with the block.
    Note,
    /// A range of the bytes of a large block.
    Range {
        /// The beginning of the range.
        start: u64,
        /// The end of the range.
        end: u64,
    },
}

/// Messages from a worker to its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A sign of life.
    Beat,
    /// A task finished.
    Done {
        attempt: AttemptId,
        /// What it made.
        report: Report,
        /// Its blocks, and results that are too large for a message: the output and the partition of each.
        blocks: Vec<(OutputId, u32, Sealed)>,
        /// Its results.
        results: Vec<(u32, ResultPart)>,
        /// Cache partitions that are newly in memory, by the caches' global names.
        kept: Vec<(GlobalCacheId, u32)>,
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
    /// Why blocks of an output could not be read. It comes before the failure of the task that read them.
    Unreadable { output: OutputId, why: String },
    /// A task needs a file that is on the driver's machine.
    GetFile {
        /// The worker's number for the question.
        number: u64,
        shipment: Shipment,
    },
    /// Blocks that the worker cannot map: fetch these parts.
    Fetch {
        /// The worker's number for the question.
        number: u64,
        wanted: Vec<Wanted>,
    },
}
