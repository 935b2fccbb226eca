//! What workers write, on its way to the driver.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use serde::{Deserialize, Serialize};
use tryworks_base::ids::{AttemptId, EngineId};

/// A piece of a worker's output. Its offset lets the driver show a piece that comes twice only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The worker's engine.
    pub engine: EngineId,
    /// The name of the engine.
    pub name: String,
    /// The worker's number. Unlike its process id, no other worker ever has it.
    pub run: u64,
    /// Its process id, for people.
    pub worker: u32,
    /// The standard error output rather than the standard output.
    pub stderr: bool,
    /// The offset of the piece in everything that the worker wrote.
    pub offset: u64,
    /// The attempt that wrote it, if only one was running.
    pub attempt: Option<AttemptId>,
    /// The output itself.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl Written {
    /// The memory that it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        // Twice the struct, since a queue of these may reserve as much again.
        2 * size_of::<Self>() + self.name.len() + self.bytes.len()
    }

    /// The acknowledgement of this piece.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let Written { engine, run, stderr, .. } = *self;
        Heard { engine, run, stderr, offset: self.offset.saturating_add(self.bytes.len() as u64) }
    }
}

/// How much of a worker's output was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The worker's engine.
    pub engine: EngineId,
    pub run: u64,
    /// The standard error output rather than the standard output.
    pub stderr: bool,
    /// Everything before this offset was received.
    pub offset: u64,
}
