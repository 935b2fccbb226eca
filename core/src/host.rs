//! What a running task may ask of the process it runs in: memory, spill files, blocks. `core` opens no file itself.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Memory;
use tryworks_base::{Op, Place, Result};

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

    /// Begins the block of the map task at `place`, if blocks are to be read by other processes. `None` where readers are in this
    /// one, so that blocks stay values.
    ///
    /// # Errors
    /// If there is no place for it.
    fn block(&self, _place: Place) -> Result<Option<Box<dyn BlockWriter>>> {
        Ok(None)
    }

    /// The output that map partition `map` left for `exchange`.
    ///
    /// # Errors
    /// [`Error::Fetch`](tryworks_base::Error::Fetch) if it is not there any more.
    fn fetch(&self, exchange: u64, map: u32) -> Result<Fetched>;

    /// Prefetches frames of sealed blocks in one request, before they are read one by one. They stay cached while the
    /// returned guard lives.
    ///
    /// # Errors
    /// [`Error::Fetch`](tryworks_base::Error::Fetch) if a block is not there any more.
    fn bring(&self, _exchange: u64, _wanted: &mut dyn Iterator<Item = Wanted>) -> Result<Shared> {
        Ok(Arc::new(()))
    }

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

/// The output of a map task, as its reader finds it.
pub enum Fetched {
    /// As the value that the map task left in this process.
    Value(Shared),
    /// As bytes.
    Sealed(Arc<SealedBlock>),
}

/// A block that was written to be read by other processes.
pub struct SealedBlock {
    /// What its kind has to know beside the frames.
    pub head: Vec<u8>,
    /// Its sequences of frames.
    pub sequences: Vec<Arc<dyn Frames>>,
    /// What was made of the head by the first who read it.
    pub(crate) opened: OnceLock<Shared>,
}

impl SealedBlock {
    /// A block of a head and sequences.
    pub fn new(head: Vec<u8>, sequences: Vec<Arc<dyn Frames>>) -> Self {
        SealedBlock { head, sequences, opened: OnceLock::new() }
    }
}

/// Frames of a sealed block that are about to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The map partition that made the block.
    pub map: u32,
    /// Which of its sequences.
    pub sequence: usize,
    /// Which of its frames.
    pub frames: Range<usize>,
}

/// A block being written that is to be read by other processes. What is not sealed leaves nothing behind.
pub trait BlockWriter: Send {
    /// Begins the next sequence of frames.
    ///
    /// # Errors
    /// If the disk refuses.
    fn sequence(&mut self) -> Result<()>;

    /// Appends a frame to the sequence.
    ///
    /// # Errors
    /// If the disk refuses, with how much was needed where.
    fn frame(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the block. `head` is what its kind has to know beside the frames.
    ///
    /// # Errors
    /// If the disk refuses.
    fn seal(self: Box<Self>, head: &[u8]) -> Result<Shared>;
}
