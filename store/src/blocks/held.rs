//! What a store says of a block: where it is, and what it is a part of.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a block is.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    /// In a file, to be opened by [`OpenBlock::file`](super::OpenBlock::file).
    File {
        /// The file.
        path: PathBuf,
        /// What it takes.
        bytes: u64,
    },
    /// In memory.
    Small(Bytes),
}

impl Held {
    /// What it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Held::File { bytes, .. } => *bytes,
            Held::Small(bytes) => bytes.len() as u64,
        }
    }
}

/// One block of a store, as its owner tells others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The output that it is a part of.
    pub output: u64,
    /// The partition that made it.
    pub partition: u32,
    /// The attempt that made it.
    pub attempt: u64,
    /// What it takes.
    pub bytes: u64,
    /// What was said of it when it was added.
    pub note: Vec<u8>,
}
