//! Spill files: sequences of frames in unlinked files, for rows that do not fit into memory.
//!
//! `space` manages the few files and the quota. `file` says which sequence has which range of a file. `sequence` writes
//! and reads frames.

mod file;
mod sequence;
mod space;

pub use space::{SpillOptions, SpillSpace};
