//! `cache` and `persist`: keep partitions once they are computed.

use crate::buffer::Buffer;
use crate::dataset::Dataset;
use crate::exchange::{decode_rows, encode_rows};
use crate::gather::gather;
use crate::heap::heap_bytes;
use crate::host::CachedPartition;
use crate::lineage::{Cache, Node};
use crate::pipe::{BATCH, CONTINUE, Cursor, Flow, Pipe, Step};
use crate::row::{Row, RowSize};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::ids::CacheId;
use tryworks_base::memory::Reservation;
use tryworks_base::{Op, Result, codec};

/// Where a cache keeps partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageLevel {
    /// In memory. Partitions that do not fit are not kept: actions recompute them.
    Memory,
    /// In memory, and partitions that do not fit on the disk.
    MemoryAndDisk,
    /// On the disk.
    Disk,
}

/// The pipe of [`Dataset::cache`].
pub struct Cached<P> {
    input: P,
    cache: CacheId,
    level: StorageLevel,
    /// Whether a partition that cannot be read may be recomputed, because that gives the same items.
    repeatable: bool,
    /// On the driver, this keeps the partitions alive.
    _held: Option<Arc<Cache>>,
}

impl<P: Clone> Clone for Cached<P> {
    fn clone(&self) -> Self {
        let Cached { cache, level, repeatable, .. } = *self;
        Cached { input: self.input.clone(), cache, level, repeatable, _held: self._held.clone() }
    }
}

ship!([P: Ship] Cached<P> { input: ship, cache: value, level: value, repeatable: value, _held: none });

/// The most bytes of a frame, unless a single row is larger.
const FRAME_BYTES: u64 = 1 << 20;

/// A kept partition.
enum CachedRows<T> {
    Held { rows: Vec<T>, _held: Reservation },
    Stored(Arc<dyn Frames>),
}

impl<P: Pipe<Item: Row>> Cached<P> {
    /// Computes the partition, and keeps it if it fits.
    fn make(&self, partition: u32, task: &TaskContext) -> Result<CachedCursor<P>> {
        let mut cursor = self.input.open(partition, task)?;
        let mut held = task.host().memory().reservation();
        let mut size = RowSize::new();
        let mut rows = Vec::new();
        let mut writer: Option<Box<dyn FrameWriter>> = None;
        let mut bytes = Vec::new();
        // Rows that stay in memory come back as they were, so there is nothing to check.
        let checks = task.checks_rows() && self.level != StorageLevel::Memory;
        loop {
            let before = rows.len();
            let step = gather(&mut cursor, BATCH, task, &mut rows, heap_bytes)?;
            if checks {
                rows[before..].iter_mut().try_for_each(|row| codec::prove_row(row, true))?;
            }
            rows.last().into_iter().for_each(|row| size.sample(row));
            // A vector of zero-sized rows has unlimited capacity.
            let capacity = if size_of::<P::Item>() == 0 { rows.len() } else { rows.capacity() };
            let needed = size.of(capacity);
            let fits = writer.is_none()
                && self.level != StorageLevel::Disk
                && !task.host().memory().is_over()
                && (needed <= held.bytes() || held.hold(needed - held.bytes()));
            match (fits, self.level) {
                (true, _) => {}
                // Nothing is kept by half: the rows so far are passed on, and the rest follows them.
                (false, StorageLevel::Memory) => {
                    return Ok(CachedCursor::Passing { made: rows.into_iter(), cursor, done: step == Step::Done });
                }
                (false, StorageLevel::MemoryAndDisk | StorageLevel::Disk) => {
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        None => writer.insert(task.host().spill()?),
                    };
                    // A frame is read as a whole.
                    let fit = FRAME_BYTES / size.of(1).max(1);
                    for rows in rows.chunks(BATCH.min(fit.max(1) as usize)) {
                        encode_rows(rows, &mut bytes)?;
                        writer.frame(&bytes)?;
                    }
                    rows.clear();
                    drop(std::mem::replace(&mut held, task.host().memory().reservation()));
                }
            }
            if step == Step::Done {
                break;
            }
        }
        let kept = Arc::new(match writer {
            Some(writer) => CachedRows::Stored(writer.finish()?),
            None => CachedRows::Held { rows, _held: held },
        });
        task.host().keep(self.cache, partition, CachedPartition::new(kept.clone()));
        Ok(self.read(kept, partition, task))
    }

    fn read(&self, kept: Arc<CachedRows<P::Item>>, partition: u32, task: &TaskContext) -> CachedCursor<P> {
        let again = self.repeatable.then(|| (self.input.clone(), partition, task.clone()));
        CachedCursor::Kept(Reading { kept, next: 0, rows: Buffer::default(), bytes: Vec::new(), given: 0 }, again)
    }
}

impl<P: Pipe<Item: Row>> Pipe for Cached<P> {
    type Item = P::Item;
    type Cursor = CachedCursor<P>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let kept = task.host().cached(self.cache, partition).and_then(CachedPartition::get::<CachedRows<P::Item>>);
        kept.map_or_else(|| self.make(partition, task), |kept| Ok(self.read(kept, partition, task)))
    }
}

/// One partition of a cached dataset.
pub enum CachedCursor<P: Pipe> {
    /// It is kept. The option has what recomputes it if it cannot be read.
    #[doc(hidden)]
    Kept(Reading<P::Item>, Option<(P, u32, TaskContext)>),
    /// It is recomputed; the first `given` items were already returned.
    #[doc(hidden)]
    Again { cursor: P::Cursor, given: usize },
    /// It did not fit, and is passed on without being kept.
    #[doc(hidden)]
    Passing { made: std::vec::IntoIter<P::Item>, cursor: P::Cursor, done: bool },
}

#[doc(hidden)]
pub struct Reading<T> {
    kept: Arc<CachedRows<T>>,
    next: usize,
    /// The rows of the last frame.
    rows: Buffer<T>,
    bytes: Vec<u8>,
    /// How many rows there are in the frames that were read.
    given: usize,
}

impl<T: Row> Reading<T> {
    /// Reads the next frame.
    fn frame(&mut self, frames: &dyn Frames) -> Result<()> {
        decode_rows(frames.view(self.next, &mut self.bytes)?, &mut self.rows.items)?;
        self.next += 1;
        self.given += self.rows.items.len();
        Ok(())
    }
}

impl<P: Pipe<Item: Row>> Cursor for CachedCursor<P> {
    type Item = P::Item;
    const EXPANDS: bool = P::Cursor::EXPANDS;

    fn advance<S: FnMut(P::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        match self {
            CachedCursor::Kept(reading, again) => match &*reading.kept.clone() {
                CachedRows::Held { rows, .. } => {
                    let end = rows.len().min(reading.next.saturating_add(budget));
                    for (row, at) in rows[reading.next..end].iter().zip(reading.next..) {
                        if sink(row.clone()).is_break() {
                            reading.next = at + 1;
                            return Ok(Step::More);
                        }
                    }
                    reading.next = end;
                    Ok(if end == rows.len() { Step::Done } else { Step::More })
                }
                CachedRows::Stored(frames) => {
                    if reading.next == frames.len() {
                        return Ok(Step::Done);
                    }
                    match (reading.frame(&**frames), again.take()) {
                        (Ok(()), untouched) => *again = untouched,
                        (Err(error), None) => return Err(error),
                        // A cache never makes a job fail, so the rest of the partition is recomputed.
                        (Err(_), Some((input, partition, task))) => {
                            let given = reading.given;
                            *self = CachedCursor::Again { cursor: input.open(partition, &task)?, given };
                            return Ok(Step::More);
                        }
                    }
                    // What is left after a stop is kept in the buffer.
                    let _ = reading.rows.pour(sink);
                    Ok(Step::More)
                }
            },
            CachedCursor::Again { cursor, given } => cursor.advance(budget, &mut after(given, sink)),
            CachedCursor::Passing { made, cursor, done } => {
                if made.as_slice().is_empty() {
                    if *done {
                        return Ok(Step::Done);
                    }
                    // The rows before were gathered, which may have stopped the cursor among them.
                    return if cursor.rest(sink)?.is_break() { Ok(Step::More) } else { cursor.advance(budget, sink) };
                }
                for item in made.by_ref().take(budget) {
                    if sink(item).is_break() {
                        break;
                    }
                }
                Ok(Step::More)
            }
        }
    }

    fn rest<S: FnMut(P::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        match self {
            CachedCursor::Kept(reading, _) => Ok(reading.rows.rest(sink)),
            CachedCursor::Again { cursor, given } => cursor.rest(&mut after(given, sink)),
            CachedCursor::Passing { .. } => Ok(CONTINUE),
        }
    }
}

/// The sink of a partition that is recomputed: the first `given` items were already returned.
fn after<T>(given: &mut usize, sink: &mut impl FnMut(T) -> Flow) -> impl FnMut(T) -> Flow {
    move |item| {
        if *given > 0 {
            *given -= 1;
            return CONTINUE;
        }
        sink(item)
    }
}

/// # Kept partitions
impl<P: Pipe> Dataset<P> {
    /// Returns a dataset that keeps its partitions in memory once they are computed. They are kept until this dataset
    /// and all datasets made from it are dropped. Partitions that do not fit are recomputed when they are needed, so a
    /// cache never makes a job fail. Of a [`nondeterministic`](Dataset::nondeterministic) dataset, partitions that do
    /// not fit are kept on the disk instead.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let squares = cx.range(0..10).map(|n| n * n).cache();
    /// assert_eq!(squares.count()?, 10);
    /// assert_eq!(squares.sum()?, 285);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    #[must_use = "the new handle is the cached one; this one stays as it is"]
    pub fn cache(&self) -> Dataset<impl Pipe<Item = P::Item> + use<P>>
    where
        P::Item: Row,
    {
        let level = if self.node.nondeterministic { StorageLevel::MemoryAndDisk } else { StorageLevel::Memory };
        self.kept(Op::here("cache"), level)
    }

    /// As [`cache`](Dataset::cache), with a choice of where partitions are kept.
    #[track_caller]
    #[must_use = "the new handle is the cached one; this one stays as it is"]
    pub fn persist(&self, level: StorageLevel) -> Dataset<impl Pipe<Item = P::Item> + use<P>>
    where
        P::Item: Row,
    {
        self.kept(Op::here("persist"), level)
    }

    fn kept(&self, op: Op, level: StorageLevel) -> Dataset<Cached<P>>
    where
        P::Item: Row,
    {
        let cache = Cache::new(&self.runner);
        let mut node =
            Node::narrow(op, &self.node).with_partitioning(self.node.partitioning).with_detail(format!("{level:?}"));
        node.cache = Some(cache.clone());
        let (cache, repeatable) = (cache.id, !self.node.nondeterministic);
        self.narrow(Cached { input: self.pipe.clone(), cache, level, repeatable, _held: node.cache.clone() }, node)
    }
}
