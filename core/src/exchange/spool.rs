//! Rows kept in a spill file, in order, which can be read from beginning to end any number of times.

use super::block::decode_rows;
use crate::row::Row;
use crate::task::TaskContext;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::{Result, codec};

/// The most rows of a frame.
const FRAME_ROWS: usize = 256;
/// A frame with this many bytes gets no more rows.
const FRAME_BYTES: usize = 64 << 10;

/// A row that can be spooled.
pub(crate) trait Spoolable: Sized {
    /// Decodes one row from the front of `bytes`; returns it with its length in bytes.
    fn read(bytes: &[u8]) -> Result<(Self, usize)>;
}

impl<T: Row> Spoolable for T {
    fn read(bytes: &[u8]) -> Result<(Self, usize)> {
        codec::decode(bytes)
    }
}

/// Rows being written, of any type: only the rows themselves are encoded and decoded by code for their type.
pub(crate) struct Spool {
    writer: Box<dyn FrameWriter>,
    /// The rows of the next frame, encoded.
    rows: Vec<u8>,
    count: usize,
    /// A buffer for the frame.
    frame: Vec<u8>,
}

impl Spool {
    pub(crate) fn new(task: &TaskContext) -> Result<Self> {
        let writer = task.host().spill()?;
        Ok(Spool { writer, rows: Vec::new(), count: 0, frame: Vec::new() })
    }

    /// The buffer for the next row. Call [`added`](Spool::added) after writing it.
    pub(crate) fn row(&mut self) -> &mut Vec<u8> {
        &mut self.rows
    }

    /// Notes that a row was written.
    pub(crate) fn added(&mut self) -> Result<()> {
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

    pub(crate) fn finish<T: Spoolable>(mut self) -> Result<Spooled<T>> {
        self.flush()?;
        Ok(Spooled { frames: self.writer.finish()?, row: PhantomData })
    }
}

/// Rows that were written.
pub(crate) struct Spooled<T> {
    frames: Arc<dyn Frames>,
    row: PhantomData<fn() -> T>,
}

impl<T: Spoolable> Spooled<T> {
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
    pub(super) at: usize,
    bytes: Vec<u8>,
}

impl<T: Spoolable> SpooledRows<T> {
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
