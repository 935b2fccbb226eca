//! Rows kept in a spill file, in order, which can be read from beginning to end any number of times.

use super::block::decode_rows;
use crate::row::Row;
use crate::task::TaskContext;
use serde::Serialize;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::{Result, codec};

/// The most rows of a frame.
const FRAME_ROWS: usize = 256;
/// A frame with this many bytes gets no more rows.
const FRAME_BYTES: usize = 64 << 10;

/// Rows being written.
pub(crate) struct Spool<T> {
    writer: Box<dyn FrameWriter>,
    /// The rows of the next frame, encoded.
    rows: Vec<u8>,
    count: usize,
    /// A buffer for the frame.
    frame: Vec<u8>,
    row: PhantomData<fn(T)>,
}

impl<T: Row> Spool<T> {
    pub(crate) fn new(task: &TaskContext) -> Result<Self> {
        let writer = task.host().spill()?;
        Ok(Spool { writer, rows: Vec::new(), count: 0, frame: Vec::new(), row: PhantomData })
    }

    /// Adds a row: a `T`, or a value with the same encoding.
    pub(crate) fn push(&mut self, row: &impl Serialize) -> Result<()> {
        codec::encode(row, &mut self.rows)?;
        self.count += 1;
        if self.count == FRAME_ROWS || self.rows.len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        self.frame.clear();
        codec::encode(&self.count, &mut self.frame)?;
        self.frame.append(&mut self.rows);
        self.count = 0;
        self.writer.frame(&self.frame)
    }

    pub(crate) fn finish(mut self) -> Result<Spooled<T>> {
        self.flush()?;
        Ok(Spooled { frames: self.writer.finish()?, row: PhantomData })
    }
}

/// Rows that were written.
pub(crate) struct Spooled<T> {
    frames: Arc<dyn Frames>,
    row: PhantomData<fn() -> T>,
}

impl<T: Row> Spooled<T> {
    /// Reads them from the beginning.
    pub(crate) fn rows(&self) -> SpooledRows<T> {
        SpooledRows { frames: self.frames.clone(), next: 0, rows: Vec::new(), at: 0, bytes: Vec::new() }
    }
}

/// Rows that are read from the file.
pub(crate) struct SpooledRows<T> {
    frames: Arc<dyn Frames>,
    next: usize,
    /// The rows of the last frame. Those before `at` were returned.
    rows: Vec<T>,
    at: usize,
    bytes: Vec<u8>,
}

impl<T: Row> SpooledRows<T> {
    /// Reads the next frame if all rows of the last one were returned. False at the end.
    fn fill(&mut self) -> Result<bool> {
        while self.at == self.rows.len() {
            if self.next == self.frames.len() {
                return Ok(false);
            }
            decode_rows(self.frames.view(self.next, &mut self.bytes)?, &mut self.rows)?;
            (self.next, self.at) = (self.next + 1, 0);
        }
        Ok(true)
    }

    /// The next rows, at most `budget` of them; `None` at the end.
    pub(crate) fn next(&mut self, budget: usize) -> Result<Option<&[T]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let start = self.at;
        self.at = self.rows.len().min(start.saturating_add(budget));
        Ok(Some(&self.rows[start..self.at]))
    }

    /// The rows of the next frame, taken out; none at the end.
    pub(crate) fn take(&mut self) -> Result<std::vec::Drain<'_, T>> {
        self.fill()?;
        let start = std::mem::take(&mut self.at);
        Ok(self.rows.drain(start..))
    }
}
