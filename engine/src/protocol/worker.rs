//! Between an engine and its workers.
//!
//! ```text
//! worker  = Hello, { Done | Failed | Fetch } ;
//! engine  = welcome, { Code | Peer | Places | Launch | Kill | Fetched | .. } ;
//! ```

use super::engine::{Assignment, CodeId, StorePlace};
use crate::scheduler::{Failure, Report};
use serde::{Deserialize, Serialize};
use tryworks_core::Error;
use tryworks_core::ids::{AttemptId, EngineId, OutputId, SessionId};

/// The answer to a worker's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session it works for.
    pub session: SessionId,
    /// Its engine.
    pub engine: EngineId,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Its memory budget.
    pub memory: u64,
    /// Where it puts spill files.
    pub spill_directory: String,
    /// Its engine's store.
    pub store: StorePlace,
    /// How many bytes of blocks it may write.
    pub quota: u64,
}

/// From an engine to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The code of a stage.
    Code {
        /// Its name.
        code: CodeId,
        /// It.
        bytes: Vec<u8>,
    },
    /// A code is not needed any more.
    ForgetCode {
        /// Which.
        code: CodeId,
    },
    /// How an engine's blocks are reached.
    Peer {
        /// Which engine.
        engine: EngineId,
        /// There.
        store: Box<StorePlace>,
    },
    /// Who has the blocks of an output.
    Places {
        /// Which output.
        output: OutputId,
        /// As in [`ToEngine::Places`](super::engine::ToEngine::Places).
        places: Vec<(u32, EngineId, AttemptId)>,
    },
    /// Run these.
    Launch {
        /// They.
        tasks: Vec<Assignment>,
        /// How many bytes of blocks may be written from now on.
        quota: u64,
    },
    /// Stop an attempt.
    Kill {
        /// Which.
        attempt: AttemptId,
    },
    /// An output is gone.
    DeleteOutput {
        /// Which.
        output: OutputId,
    },
    /// A cache is gone.
    DeleteCache {
        /// Its global name.
        cache: u64,
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
    /// Bytes.
    Bytes(Vec<u8>),
    /// A range of a file that is unlinked when the next message is answered.
    File {
        /// Its path.
        path: String,
        /// Where in it.
        offset: u64,
        /// How long.
        len: u64,
    },
    /// It is not there.
    Missing(String),
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Piece::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Piece::File { len, .. } => write!(f, "File({len} bytes)"),
            Piece::Missing(why) => write!(f, "Missing({why})"),
        }
    }
}

/// What a worker asks its engine to bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Want {
    /// The whole of a small block, or the table of contents of a large one.
    Contents {
        /// Who has it.
        engine: EngineId,
        /// What it belongs to.
        output: OutputId,
        /// Its partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
    },
    /// A range of a block's bytes.
    Range {
        /// Who has it.
        engine: EngineId,
        /// What it belongs to.
        output: OutputId,
        /// Its partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
        /// Where.
        offset: u64,
        /// How long.
        len: u64,
    },
}

/// A block or result that a task made, as the engine takes it over.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Stored {
    /// A file in the store, under the name that follows from what it is, this long.
    File(u64),
    /// A small one: its bytes.
    Small(Vec<u8>),
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stored::File(len) => write!(f, "File({len} bytes)"),
            Stored::Small(bytes) => write!(f, "Small({} bytes)", bytes.len()),
        }
    }
}

/// From a worker to its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A task begins to run.
    Began {
        /// Which launch.
        attempt: AttemptId,
    },
    /// A task finished.
    Done {
        /// Which launch.
        attempt: AttemptId,
        /// What it made.
        report: Report,
        /// Its blocks.
        blocks: Vec<(u32, Stored)>,
        /// Its results.
        results: Vec<(u32, Stored)>,
        /// Partitions of caches that were kept meanwhile, by the caches' global names.
        kept: Vec<(u64, u32)>,
        /// When it began and ended.
        span: (u64, u64),
    },
    /// A task did not finish.
    Failed {
        /// Which launch.
        attempt: AttemptId,
        /// Why.
        failure: Failure<Error>,
        /// When it began and ended.
        span: (u64, u64),
    },
    /// A block cannot be mapped here: bring it.
    Fetch {
        /// The worker's number for the question.
        number: u64,
        /// What.
        wanted: Vec<Want>,
    },
}
