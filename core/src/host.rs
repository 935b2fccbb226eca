//! What a running task may ask of the process it runs in: memory, spill files, blocks. `core` opens no file itself.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Op, Result, TaskSite};

/// A value of a type that only those know who made it and who read it.
type Opaque = Arc<dyn Any + Send + Sync>;

/// The block of a map task as a value, for readers in the same process.
#[derive(Clone)]
pub struct BlockValue(Opaque);

impl BlockValue {
    /// A block that readers ask for by its type.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        BlockValue(Arc::new(value))
    }

    /// The value, if it is of this type.
    pub fn get<T: Send + Sync + 'static>(self) -> Option<Arc<T>> {
        self.0.downcast().ok()
    }
}

/// A partition of a cached dataset.
#[derive(Clone)]
pub struct CachedPartition(Opaque);

impl CachedPartition {
    /// A partition that readers ask for by its type.
    pub fn new<T: Send + Sync + 'static>(partition: Arc<T>) -> Self {
        CachedPartition(partition)
    }

    /// The partition, if it is of this type.
    pub fn get<T: Send + Sync + 'static>(self) -> Option<Arc<T>> {
        self.0.downcast().ok()
    }
}

/// Keeps prefetched frames for as long as it lives.
#[derive(Clone, Default)]
pub struct Prefetched {
    _guard: Option<Opaque>,
}

impl Prefetched {
    /// What is to live as long as the frames are read.
    pub fn holding<T: Send + Sync + 'static>(guard: T) -> Self {
        Prefetched { _guard: Some(Arc::new(guard)) }
    }
}

/// What a [`BlockWriter`] says of a block that it has sealed. The host that gave out the writer knows its type.
pub struct SealedHandle(Box<dyn Any + Send>);

impl SealedHandle {
    /// What the host is to get back.
    pub fn new<T: Send + 'static>(handle: T) -> Self {
        SealedHandle(Box::new(handle))
    }
}

/// The block of a map task.
pub enum MadeBlock {
    /// A value, for readers in this process.
    Value(BlockValue),
    /// Written for other processes.
    Sealed(SealedHandle),
}

impl MadeBlock {
    /// The value.
    ///
    /// # Errors
    /// [`Error::Bug`] if it was written, though its host gave out no writer.
    pub fn value(self) -> Result<BlockValue> {
        match self {
            MadeBlock::Value(value) => Ok(value),
            MadeBlock::Sealed(_) => Err(Error::Bug("a block was written that is to stay in this process".into())),
        }
    }

    /// What its writer said of it.
    ///
    /// # Errors
    /// [`Error::Bug`] if it stayed a value, or was written by a writer whose handle is of another type.
    pub fn sealed<T: Send + 'static>(self) -> Result<T> {
        let handle = match self {
            MadeBlock::Sealed(SealedHandle(handle)) => handle.downcast().ok().map(|handle| *handle),
            MadeBlock::Value(_) => None,
        };
        handle.ok_or_else(|| Error::Bug("a block was made that other processes cannot read".into()))
    }
}

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
    fn block(&self, _place: TaskSite) -> Result<Option<Box<dyn BlockWriter>>> {
        Ok(None)
    }

    /// The output that map partition `map` left for `exchange`.
    ///
    /// # Errors
    /// [`Error::Fetch`] if it is not there any more.
    fn fetch(&self, exchange: u64, map: u32) -> Result<Fetched>;

    /// Prefetches frames of sealed blocks in one request, before they are read one by one. They stay cached while the
    /// returned guard lives.
    ///
    /// # Errors
    /// [`Error::Fetch`] if a block is not there any more.
    fn prefetch(&self, _exchange: u64, _wanted: &mut dyn Iterator<Item = FrameRequest>) -> Result<Prefetched> {
        Ok(Prefetched::default())
    }

    /// The cached partition, if it is there.
    fn cached(&self, cache: u64, partition: u32) -> Option<CachedPartition>;

    /// Does the `count` pieces of a task's work for an operator, `work(0)` and so on, on as many cores as there are. The first error in
    /// their order is returned.
    ///
    /// # Errors
    /// What a piece met.
    fn in_parallel(
        &self,
        _op: Op,
        _at: TaskSite,
        count: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        (0..count).try_for_each(work)
    }

    /// Keeps a partition in the cache until the cache is dropped.
    fn keep(&self, cache: u64, partition: u32, kept: CachedPartition);
}

/// The output of a map task, as its reader finds it.
pub enum Fetched {
    /// As the value that the map task left in this process.
    Value(BlockValue),
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
    pub(crate) opened: OnceLock<BlockValue>,
}

impl SealedBlock {
    /// A block of a head and sequences.
    pub fn new(head: Vec<u8>, sequences: Vec<Arc<dyn Frames>>) -> Self {
        SealedBlock { head, sequences, opened: OnceLock::new() }
    }
}

/// Frames of a sealed block that are about to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRequest {
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
    fn seal(self: Box<Self>, head: &[u8]) -> Result<SealedHandle>;
}
