//! Spill files: sequences of frames in unlinked files, where operators put what does not fit into memory.
//!
//! `space` keeps the few files and the quota, `file` says which range of a file is whose, `sequence` writes and
//! reads frames.

mod file;
mod sequence;
mod space;

pub use space::{SpillOptions, SpillSpace};
