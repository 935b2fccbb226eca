//! The writing end of an exchange: rows are pushed into buckets and sealed into chunks.

use super::block::{Block, Chunk, Ends, LeftHere, encode_rows};
use super::hash::{Buckets, hash_of};
use crate::host::{BlockValue, BlockWriter, MadeBlock};
use crate::pipe::{Flow, STOP};
use crate::row::{Row, RowSize, Size};
use crate::stage::{Made, Output};
use crate::task::TaskContext;
use std::sync::Arc;
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result, codec};

/// The largest chunk that is spilled, if the budget allows it.
const CHUNK_BYTES: u64 = 32 << 20;
/// The size of a chunk that is held in memory. It is small so that the staging buffers, which are reused, stay in the
/// CPU's caches.
const HELD_BYTES: u64 = 1 << 20;
/// The size of a chunk for other processes. It is larger because each of its buckets becomes a frame.
const LEAVING_BYTES: u64 = 4 << 20;
/// The most rows that are pushed between two looks at their size.
const LOOK: usize = 1024;
/// The most rows of a chunk, because `Ends` counts rows as `u32`. Rows without bytes would never reach the other
/// limits.
const CHUNK_ROWS: usize = 1 << 30;

/// Collects the rows of one map task by bucket.
pub(crate) struct BucketWriter<T> {
    staged: Vec<Vec<T>>,
    rows: usize,
    look_at: usize,
    /// At which number of rows to look at their size. If every row is checked, `look` runs for each row before that.
    size_at: usize,
    checks: bool,
    size: RowSize<T>,
    working: Reservation,
    /// The resident memory of the process when the chunk was begun.
    resident: u64,
    /// Where the block goes if other processes read it, with the number of rows of each chunk written so far.
    leaving: Option<(Box<dyn BlockWriter>, Vec<u64>)>,
    block: Block<T>,
    /// The rows in sealed chunks.
    counts: Counts,
    /// A buffer for a frame.
    encoded: Vec<u8>,
    task: TaskContext,
}

/// The most bytes of a task's open chunk.
pub(crate) fn chunk_bytes(task: &TaskContext) -> u64 {
    let host = task.host();
    (host.memory().limit() / (host.slots() as u64 * 16)).clamp(64 << 10, CHUNK_BYTES)
}

/// Whether there is memory for this number of empty buckets.
fn fits(buckets: Buckets, each: usize, task: &TaskContext) -> Result<()> {
    let table = u64::from(buckets.count()) * each as u64;
    let limit = task.host().memory().limit();
    if table > limit {
        let needed = format!("{} buckets of a shuffle take {table} bytes while they are empty", buckets.count());
        return Err(Error::limit("memory", limit, needed, "a higher limit, or fewer partitions"));
    }
    Ok(())
}

/// Reserves memory to hold a chunk; `None` if the budget refuses.
fn hold(bytes: u64, task: &TaskContext) -> Option<Reservation> {
    let mut held = task.host().memory().reservation();
    held.hold(bytes).then_some(held)
}

/// Whether the process exceeds its budget, and spilling or shrinking these rows is worthwhile: they are many, or the
/// process holds much more than the `resident` bytes of before.
pub(super) fn is_too_much(rows: usize, resident: u64, task: &TaskContext) -> bool {
    let memory = task.host().memory();
    rows > 0 && memory.is_over() && (rows >= LOOK || memory.resident() >= resident + chunk_bytes(task))
}

impl<T: Row> BucketWriter<T> {
    pub(crate) fn new(buckets: Buckets, task: &TaskContext) -> Result<Self> {
        fits(buckets, size_of::<Vec<T>>() + size_of::<u64>(), task)?;
        let mut staged = Vec::new();
        staged.resize_with(buckets.count() as usize, Vec::new);
        Ok(BucketWriter {
            staged,
            rows: 0,
            look_at: 1,
            size_at: 1,
            checks: task.checks_rows(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            resident: task.host().memory().resident(),
            leaving: task.host().block(task.place())?.map(|writer| (writer, Vec::new())),
            block: Block { chunks: Vec::new() },
            counts: Counts::new(buckets),
            encoded: Vec::new(),
            task: task.clone(),
        })
    }

    /// Adds a row to a bucket.
    #[inline]
    pub(crate) fn push(&mut self, bucket: usize, row: T) -> Result<()> {
        self.staged[bucket].push(row);
        self.rows += 1;
        if self.rows == self.look_at { self.look(bucket) } else { Ok(()) }
    }

    /// Checks the row that was pushed last if that is due, and seals the chunk if it is large enough.
    #[cold]
    fn look(&mut self, bucket: usize) -> Result<()> {
        let is_first = self.rows == 1 && self.counts.all == 0;
        if let Some(row) = self.staged[bucket].last_mut() {
            if self.checks || is_first {
                codec::prove_row(row, self.checks)?;
            }
            if self.rows < self.size_at {
                self.look_at += 1;
                return Ok(());
            }
            self.size.sample(row);
        }
        let bytes = self.size.of(self.rows);
        if is_too_much(self.rows, self.resident, &self.task) {
            return self.seal(None);
        }
        if self.rows >= CHUNK_ROWS {
            let held = if self.leaves() { None } else { hold(bytes, &self.task) };
            return self.seal(held);
        }
        if self.leaving.is_some() {
            if bytes >= LEAVING_BYTES.min(chunk_bytes(&self.task)) {
                return self.seal(None);
            }
        } else if bytes >= HELD_BYTES.min(chunk_bytes(&self.task)) {
            let held = hold(bytes, &self.task);
            // A chunk that will be spilled grows larger, because each of its buckets is a separate write.
            if held.is_some() || bytes >= chunk_bytes(&self.task) {
                return self.seal(held);
            }
        }
        if bytes > self.working.bytes() {
            self.working.insist(bytes - self.working.bytes());
        }
        self.look_again(bytes / self.rows as u64);
        Ok(())
    }

    /// Decides when to look at the size next: at the latest when rows of this size fill a chunk.
    fn look_again(&mut self, row: u64) {
        let fit = HELD_BYTES.min(chunk_bytes(&self.task)) / row.max(1);
        // The first looks come early, because rows may take more memory than the first samples show. Between two looks
        // what a task has staged grows by a quarter: when it doubled, tasks that were far apart held twice the budget.
        self.size_at = self.rows + (self.rows / 4).clamp(1, LOOK).min(fit.max(1) as usize);
        self.look_at = if self.checks { self.rows + 1 } else { self.size_at };
    }

    /// Seals the staged rows into a chunk: held in memory if there is a reservation, otherwise spilled.
    fn seal(&mut self, held: Option<Reservation>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut counts = Vec::with_capacity(self.staged.len());
        for rows in &self.staged {
            counts.push(rows.len() as u32);
        }
        self.counts.add_all(&counts);
        if let Some((writer, chunks)) = &mut self.leaving {
            writer.sequence()?;
            for rows in &mut self.staged {
                encode_rows(rows, &mut self.encoded)?;
                writer.frame(&self.encoded)?;
                rows.clear();
            }
            chunks.push(self.rows as u64);
            self.sealed();
            return Ok(());
        }
        let chunk = if let Some(held) = held {
            let mut rows = Vec::with_capacity(self.rows);
            for staged in &mut self.staged {
                rows.append(staged);
            }
            Chunk::Held { rows, ends: Ends::of(&counts), _held: held }
        } else {
            let chunk = Chunk::store(&**self.task.host(), &self.staged)?;
            for staged in &mut self.staged {
                staged.clear();
            }
            chunk
        };
        self.block.chunks.push(chunk);
        self.sealed();
        Ok(())
    }

    /// Resets the counters after a chunk was sealed.
    fn sealed(&mut self) {
        self.rows = 0;
        self.resident = self.task.host().memory().resident();
        self.look_again(self.size.of(1));
    }

    /// Whether other processes read the block.
    pub(crate) fn leaves(&self) -> bool {
        self.leaving.is_some()
    }

    /// Ends the block.
    pub(crate) fn finish(mut self) -> Result<Output> {
        let held = if self.leaves() { None } else { hold(self.size.of(self.rows), &self.task) };
        self.seal(held)?;
        let block = match self.leaving.take() {
            Some((writer, chunks)) => sealed(writer, &chunks)?,
            None => MadeBlock::Value(BlockValue::new(LeftHere::Block(Arc::new(Block {
                chunks: std::mem::take(&mut self.block.chunks),
            })))),
        };
        Ok(self.counts.output(block, self.size.size()))
    }
}

/// Ends a block for other processes. `rows` is the number of rows in each chunk.
fn sealed(writer: Box<dyn BlockWriter>, chunks: &[u64]) -> Result<MadeBlock> {
    let mut head = Vec::new();
    codec::encode(chunks, &mut head)?;
    Ok(MadeBlock::Sealed(writer.seal(&head)?))
}

/// The number of rows in each bucket. Their hash is the checksum that tells two outputs of a map task apart.
pub(crate) struct Counts {
    buckets: Buckets,
    each: Vec<u64>,
    all: u64,
}

impl Counts {
    pub(crate) fn new(buckets: Buckets) -> Self {
        Counts { buckets, each: vec![0; buckets.count() as usize], all: 0 }
    }

    pub(crate) fn add(&mut self, bucket: usize, rows: u64) {
        self.each[bucket] += rows;
        self.all += rows;
    }

    /// Adds to every bucket.
    fn add_all(&mut self, rows: &[u32]) {
        (0..).zip(rows).for_each(|(bucket, rows)| self.add(bucket, u64::from(*rows)));
    }

    /// The output of a map task with these rows, which have this size.
    pub(crate) fn output(&self, block: MadeBlock, size: Size) -> Output {
        let readers = self.each.chunks(self.buckets.each as usize);
        Output {
            made: Made::Block(block),
            rows: self.all,
            checksum: hash_of(&self.each),
            bytes: size.of(self.all as usize),
            bucket_bytes: readers.map(|rows| size.of(rows.iter().sum::<u64>() as usize)).collect(),
        }
    }
}

/// Continues after a success. After an error, keeps the error and stops.
#[inline]
pub(crate) fn unless_failed(result: Result<()>, failed: &mut Option<Error>) -> Flow {
    match result {
        Ok(()) => Flow::Continue(()),
        Err(error) => {
            *failed = Some(error);
            STOP
        }
    }
}
