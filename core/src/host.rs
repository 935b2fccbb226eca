//! What a running task may ask of the process it runs in: memory, spill files, blocks. `core` opens no file itself.

use crate::error::{Place, Result};
use crate::memory::Memory;
use crate::task::Op;
use std::any::Any;
use std::sync::Arc;

/// A value of any type that outlives the task that made it.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// The process around a task.
pub trait Host: Send + Sync {
    /// The budget of the process.
    fn memory(&self) -> &Arc<Memory>;

    /// How many tasks run at once: what one task may take of the budget follows from it.
    fn slots(&self) -> usize;

    /// A new sequence of frames outside memory.
    ///
    /// # Errors
    /// If there is no place for it.
    fn spill(&self) -> Result<Box<dyn FrameWriter>>;

    /// The output that map partition `map` left for `exchange`.
    ///
    /// # Errors
    /// [`Error::Fetch`](crate::Error::Fetch) if it is not there any more.
    fn fetch(&self, exchange: u64, map: u32) -> Result<Shared>;

    /// The cached partition, if it is there.
    fn cached(&self, cache: u64, partition: u32) -> Option<Shared>;

    /// Does the `count` pieces of a task's work for an operator, `work(0)` and so on, on as many cores as there are. The first error in
    /// their order is returned.
    ///
    /// # Errors
    /// What a piece met.
    fn in_parallel(
        &self,
        _op: Op,
        _at: Place,
        count: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        (0..count).try_for_each(work)
    }

    /// Keeps a partition in the cache until the cache is dropped.
    fn keep(&self, cache: u64, partition: u32, block: Shared);
}

/// A sequence of frames being written. What is not finished leaves nothing behind.
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
    /// Replaces what is in `out` by frame `index`.
    ///
    /// # Errors
    /// If the frame cannot be read or is not what was written.
    fn read(&self, index: usize, out: &mut Vec<u8>) -> Result<()>;

    /// The number of frames.
    fn len(&self) -> usize;

    /// True if there is no frame.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes taken on the disk.
    fn bytes(&self) -> u64;
}
