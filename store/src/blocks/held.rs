//! How a store describes a block: where it is, and what it belongs to.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tryworks_base::ids::{AttemptId, OutputId};

/// Where a block is.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    /// In a file, opened by [`OpenBlock::file`](super::OpenBlock::file).
    File {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// In memory.
    Small(Bytes),
}

impl Held {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Held::File { bytes, .. } => *bytes,
            Held::Small(bytes) => bytes.len() as u64,
        }
    }
}

/// One block of a store, as its owner describes it to other processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The output that it belongs to.
    pub output: OutputId,
    /// The partition that made it.
    pub partition: u32,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// Its size in bytes.
    pub bytes: u64,
    /// The note that was added with it.
    pub note: Vec<u8>,
}
