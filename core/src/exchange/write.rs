//! The writing end of an exchange: rows pushed to their buckets, sealed into chunks.

use super::block::{Block, Chunk, Ends, encode_rows};
use super::hash::{Buckets, hash_of};
use crate::codec;
use crate::error::{Error, Result};
use crate::host::{BlockWriter, Shared};
use crate::memory::Reservation;
use crate::pipe::{Flow, STOP};
use crate::row::{Row, RowSize};
use crate::stage::{Made, Output};
use crate::task::Task;
use std::sync::Arc;

/// The largest chunk, where the budget allows it.
const CHUNK_BYTES: u64 = 32 << 20;
/// The size of a chunk that is held: what is staged for it, and used again for the next one, stays in the cache.
const HELD_BYTES: u64 = 1 << 20;
/// The size of a chunk that is written for other processes: larger, since each of its buckets becomes a frame.
const LEAVING_BYTES: u64 = 4 << 20;
/// How many rows are pushed between two looks at their size.
const LOOK: usize = 1024;

/// Collects the rows of one map task by bucket.
pub(crate) struct BucketWriter<T> {
    staged: Vec<Vec<T>>,
    buckets: Buckets,
    rows: usize,
    look_at: usize,
    size: RowSize<T>,
    working: Reservation,
    /// Where the block goes if other processes are to read it, with the rows of each chunk that is there.
    leaving: Option<(Box<dyn BlockWriter>, Vec<u64>)>,
    block: Block<T>,
    rows_before: u64,
    bytes: u64,
    /// Room for a frame.
    encoded: Vec<u8>,
    /// How many rows each bucket got: what tells two outputs of a map task apart.
    counts: Vec<u32>,
    reader_bytes: Vec<u64>,
    task: Task,
}

/// The most bytes that one chunk of a task may take before it is sealed.
pub(crate) fn chunk_bytes(task: &Task) -> u64 {
    let host = task.host();
    (host.memory().limit() / (host.slots() as u64 * 16)).clamp(64 << 10, CHUNK_BYTES)
}

impl<T: Row> BucketWriter<T> {
    pub(crate) fn new(buckets: Buckets, task: &Task) -> Result<Self> {
        Ok(BucketWriter {
            staged: std::iter::repeat_with(Vec::new).take(buckets.count() as usize).collect(),
            buckets,
            rows: 0,
            look_at: 1,
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            leaving: task.host().block(task.place())?.map(|writer| (writer, Vec::new())),
            block: Block { chunks: Vec::new() },
            rows_before: 0,
            bytes: 0,
            encoded: Vec::new(),
            counts: vec![0; buckets.count() as usize],
            reader_bytes: vec![0; buckets.readers as usize],
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

    #[cold]
    fn look(&mut self, bucket: usize) -> Result<()> {
        if let Some(row) = self.staged[bucket].last() {
            if self.rows == 1 && self.rows_before == 0 {
                codec::prove_carried(row)?;
            }
            self.size.sample(row);
        }
        let bytes = self.size.of(self.rows);
        if self.leaving.is_some() {
            if bytes >= LEAVING_BYTES.min(chunk_bytes(&self.task)) {
                return self.seal(None);
            }
        } else if bytes >= HELD_BYTES.min(chunk_bytes(&self.task)) {
            let held = self.hold(bytes);
            // What is to be spilled is gathered longer, since its buckets are written one by one.
            if held.is_some() || bytes >= chunk_bytes(&self.task) {
                return self.seal(held);
            }
        }
        if bytes > self.working.bytes() {
            self.working.insist(bytes - self.working.bytes());
        }
        self.look_at = (self.rows / LOOK + 1) * LOOK;
        Ok(())
    }

    /// A part of the budget to hold a chunk with, if there is one left.
    fn hold(&self, bytes: u64) -> Option<Reservation> {
        let mut held = self.task.host().memory().reservation();
        held.hold(bytes).then_some(held)
    }

    /// Makes a chunk of what is staged: held if there is a part of the budget for it, else spilled.
    fn seal(&mut self, held: Option<Reservation>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        for (reader, rows) in self.staged.chunks(self.buckets.each as usize).enumerate() {
            self.reader_bytes[reader] += self.size.of(rows.iter().map(Vec::len).sum());
        }
        self.counts
            .iter_mut()
            .zip(&self.staged)
            .for_each(|(count, rows)| *count = count.wrapping_add(rows.len() as u32));
        let bytes = self.size.of(self.rows);
        if let Some((writer, chunks)) = &mut self.leaving {
            writer.sequence()?;
            for rows in &mut self.staged {
                encode_rows(rows, &mut self.encoded)?;
                writer.frame(&self.encoded)?;
                rows.clear();
            }
            chunks.push(self.rows as u64);
            self.sealed(bytes);
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
        self.sealed(bytes);
        Ok(())
    }

    /// A chunk of so many bytes was sealed.
    fn sealed(&mut self, bytes: u64) {
        self.rows_before += self.rows as u64;
        self.bytes += bytes;
        self.rows = 0;
        self.look_at = LOOK;
    }

    /// Ends the block.
    pub(crate) fn finish(self) -> Result<Output> {
        self.finish_by(|block| Arc::new(block))
    }

    /// Ends the block, of which `keep` makes what readers in this process find.
    pub(crate) fn finish_by(mut self, keep: impl FnOnce(Block<T>) -> Shared) -> Result<Output> {
        let held = if self.leaving.is_some() { None } else { self.hold(self.size.of(self.rows)) };
        self.seal(held)?;
        let block: Shared = match self.leaving {
            Some((writer, chunks)) => {
                self.encoded.clear();
                codec::encode(&chunks, &mut self.encoded)?;
                writer.seal(&self.encoded)?
            }
            None => keep(self.block),
        };
        Ok(Output {
            made: Made::Block(block),
            rows: self.rows_before,
            checksum: hash_of(&self.counts),
            bytes: self.bytes,
            bucket_bytes: self.reader_bytes,
        })
    }
}

/// The flow after something that can fail, whose error is kept.
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
