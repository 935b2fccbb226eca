//! The writing end of an exchange: rows are pushed into buckets and sealed into chunks.

use super::block::{Block, Chunk, Ends, LeftHere, encode_rows};
use super::hash::{Buckets, hash_of};
use crate::host::{BlockValue, BlockWriter, MadeBlock};
use crate::pipe::{Flow, STOP};
use crate::row::{Row, RowSize};
use crate::stage::{Made, Output};
use crate::task::TaskContext;
use serde::Serialize;
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
pub(crate) const LOOK: usize = 1024;
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

impl<T: Row> BucketWriter<T> {
    pub(crate) fn new(buckets: Buckets, task: &TaskContext) -> Result<Self> {
        let table = u64::from(buckets.count()) * (size_of::<Vec<T>>() + size_of::<u64>()) as u64;
        let limit = task.host().memory().limit();
        if table > limit {
            let needed = format!("{} buckets of a shuffle take {table} bytes while they are empty", buckets.count());
            return Err(Error::limit("memory", limit, needed, "a higher limit, or fewer partitions"));
        }
        Ok(BucketWriter {
            staged: std::iter::repeat_with(Vec::new).take(buckets.count() as usize).collect(),
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
        if self.is_too_much() {
            return self.seal(None);
        }
        if self.rows >= CHUNK_ROWS {
            let held = if self.leaves() { None } else { self.hold(bytes) };
            return self.seal(held);
        }
        if self.leaving.is_some() {
            if bytes >= LEAVING_BYTES.min(chunk_bytes(&self.task)) {
                return self.seal(None);
            }
        } else if bytes >= HELD_BYTES.min(chunk_bytes(&self.task)) {
            let held = self.hold(bytes);
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

    /// Whether the process exceeds its budget, and spilling the staged rows is worthwhile: they are many, or much
    /// memory came with them.
    fn is_too_much(&self) -> bool {
        let memory = self.task.host().memory();
        memory.is_over() && (self.rows >= LOOK || memory.resident() >= self.resident + chunk_bytes(&self.task))
    }

    /// Reserves memory to hold a chunk; `None` if the budget refuses.
    fn hold(&self, bytes: u64) -> Option<Reservation> {
        let mut held = self.task.host().memory().reservation();
        held.hold(bytes).then_some(held)
    }

    /// Seals the staged rows into a chunk: held in memory if there is a reservation, otherwise spilled.
    fn seal(&mut self, held: Option<Reservation>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        (0..).zip(&self.staged).for_each(|(bucket, rows)| self.counts.add(bucket, rows.len() as u64));
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
            let ends = Ends::of(self.staged.iter().map(Vec::len));
            let mut rows = Vec::with_capacity(self.rows);
            self.staged.iter_mut().for_each(|staged| rows.append(staged));
            Chunk::Held { rows, ends, _held: held }
        } else {
            let chunk = Chunk::store(&**self.task.host(), self.staged.iter().map(Vec::as_slice))?;
            self.staged.iter_mut().for_each(Vec::clear);
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
        let held = if self.leaves() { None } else { self.hold(self.size.of(self.rows)) };
        self.seal(held)?;
        let block = match self.leaving {
            Some((writer, chunks)) => {
                self.encoded.clear();
                codec::encode(&chunks, &mut self.encoded)?;
                MadeBlock::Sealed(writer.seal(&self.encoded)?)
            }
            None => MadeBlock::Value(BlockValue::new(LeftHere::Block(Arc::new(self.block)))),
        };
        Ok(self.counts.output(block, &self.size))
    }
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

    /// The output of a map task with these rows, which have this size.
    pub(crate) fn output<T: Serialize>(&self, block: MadeBlock, size: &RowSize<T>) -> Output {
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
