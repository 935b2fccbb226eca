//! What a running task may ask of its process: memory, spill files, blocks. `core` opens no file itself.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Op, Result, TaskSite};

/// A value whose type only its maker and its readers know.
type Opaque = Arc<dyn Any + Send + Sync>;

/// The block of a map task as a value, for readers in this process.
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

/// Keeps prefetched frames while it lives.
#[derive(Clone, Default)]
pub struct Prefetched {
    _guard: Option<Opaque>,
}

impl Prefetched {
    /// A guard that must live while the frames are read.
    pub fn holding<T: Send + Sync + 'static>(guard: T) -> Self {
        Prefetched { _guard: Some(Arc::new(guard)) }
    }
}

/// A [`BlockWriter`]'s handle of a block that it has sealed. The host that made the writer knows the type of the
/// handle.
pub struct SealedHandle(Box<dyn Any + Send>);

impl SealedHandle {
    /// Wraps what the host will get back.
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
    /// [`Error::Bug`] if the block was sealed, though its host made no writer.
    pub fn value(self) -> Result<BlockValue> {
        match self {
            MadeBlock::Value(value) => Ok(value),
            MadeBlock::Sealed(_) => Err(Error::Bug("a block was written that is to stay in this process".into())),
        }
    }

    /// The handle of its writer.
    ///
    /// # Errors
    /// [`Error::Bug`] if it is a value, or a handle of another type.
    pub fn sealed<T: Send + 'static>(self) -> Result<T> {
        let handle = match self {
            MadeBlock::Sealed(SealedHandle(handle)) => handle.downcast().ok().map(|handle| *handle),
            MadeBlock::Value(_) => None,
        };
        handle.ok_or_else(|| Error::Bug("a block was made that other processes cannot read".into()))
    }
}

/// The process around a task.
///
/// Tasks call it from many threads, and hold no lock while they do.
pub trait Host: Send + Sync {
    /// The memory budget of the process.
    fn memory(&self) -> &Arc<Memory>;

    /// How many tasks run at once. A task's share of the budget follows from it, but no answer does.
    fn slots(&self) -> usize;

    /// A new sequence of frames outside memory.
    ///
    /// # Errors
    /// If the disk or its quota refuses.
    fn spill(&self) -> Result<Box<dyn FrameWriter>>;

    /// Begins the block of the map task at `place`, if other processes read blocks. `None` if readers are in this
    /// process, so that blocks stay values.
    ///
    /// # Errors
    /// If the disk or its quota refuses.
    fn block(&self, _place: TaskSite) -> Result<Option<Box<dyn BlockWriter>>> {
        Ok(None)
    }

    /// The output of map partition `map` for `exchange`.
    ///
    /// # Errors
    /// [`Error::Fetch`] if it no longer exists.
    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched>;

    /// Prefetches frames of sealed blocks in one request. They stay cached while the returned guard lives.
    ///
    /// # Errors
    /// [`Error::Fetch`] if a block no longer exists.
    fn prefetch(&self, _exchange: ExchangeId, _wanted: &mut dyn Iterator<Item = FrameRequest>) -> Result<Prefetched> {
        Ok(Prefetched::default())
    }

    /// The cached partition, if it is there.
    fn cached(&self, cache: CacheId, partition: u32) -> Option<CachedPartition>;

    /// Does `count` pieces of a task's work, `work(0)` and so on, on all cores. Returns the first error, in the order
    /// of the pieces.
    ///
    /// # Errors
    /// The error of a piece.
    fn in_parallel(
        &self,
        _op: Op,
        _at: TaskSite,
        count: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        (0..count).try_for_each(work)
    }

    /// Keeps a partition until the cache is dropped.
    fn keep(&self, cache: CacheId, partition: u32, kept: CachedPartition);
}

/// The output of a map task, as its reader gets it.
pub enum Fetched {
    /// As the value that the map task left in this process.
    Value(BlockValue),
    /// As bytes.
    Sealed(Arc<SealedBlock>),
}

/// A block that was written for other processes.
pub struct SealedBlock {
    /// What its kind needs besides the frames.
    pub head: Vec<u8>,
    /// Its sequences of frames.
    pub sequences: Vec<Arc<dyn Frames>>,
    /// The opened block, which its first reader makes.
    pub(crate) opened: OnceLock<BlockValue>,
}

impl SealedBlock {
    /// A block of a head and sequences.
    pub fn new(head: Vec<u8>, sequences: Vec<Arc<dyn Frames>>) -> Self {
        SealedBlock { head, sequences, opened: OnceLock::new() }
    }
}

/// A request for frames of a sealed block, which the task is about to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// The map partition that made the block.
    pub map: u32,
    /// Which of its sequences.
    pub sequence: usize,
    /// Which of its frames.
    pub frames: Range<usize>,
}

/// Writes a block for other processes. Dropping a writer before `seal` leaves nothing behind.
pub trait BlockWriter: Send {
    /// Begins the next sequence of frames.
    ///
    /// # Errors
    /// If the disk refuses.
    fn sequence(&mut self) -> Result<()>;

    /// Appends a frame to the sequence.
    ///
    /// # Errors
    /// If the disk refuses; the error says how much was needed, and where.
    fn frame(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the block. `head` is what its kind needs besides the frames.
    ///
    /// # Errors
    /// If the disk refuses.
    fn seal(self: Box<Self>, head: &[u8]) -> Result<SealedHandle>;
}
