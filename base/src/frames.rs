//! Sequences of frames: what spill files and blocks are made of.

use crate::Result;
use std::sync::Arc;

/// A sequence of frames being written. An unfinished sequence leaves nothing behind.
pub trait FrameWriter: Send {
    /// Appends a frame: frames are numbered from 0, and an empty frame costs next to nothing.
    ///
    /// # Errors
    /// If the disk refuses, with how much was needed where.
    fn frame(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the sequence.
    ///
    /// # Errors
    /// If the disk refuses.
    fn finish(self: Box<Self>) -> Result<Arc<dyn Frames>>;
}

/// A finished sequence of frames: checked by a checksum when read, freed when dropped.
pub trait Frames: Send + Sync {
    /// Frame `index`: in place if it is in memory, else read into `scratch`.
    ///
    /// # Errors
    /// If the frame cannot be read or is not what was written.
    fn view<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]>;

    /// The number of frames.
    fn len(&self) -> usize;

    /// True if there is no frame.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes taken on the disk.
    fn bytes(&self) -> u64;
}
