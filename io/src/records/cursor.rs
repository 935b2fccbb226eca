//! The records of one partition: a buffer at a time.

use crate::files::{ListedFile, Plain};
use std::ops::Range;
use tryworks_base::Result;
use tryworks_base::memory::Reservation;
use tryworks_core::Record;
use tryworks_core::pipe::{Cursor, Flow, Step};
use tryworks_core::task::TaskContext;

/// How much is read at a time, unless a record is longer.
const BUFFER: usize = 256 * 1024;

/// A partition of records being read.
pub struct RecordCursor<const N: usize> {
    file: Plain,
    /// The records that begin here or later belong to the next partition.
    end: u64,
    /// Bytes that were read; those before `at` have been pushed.
    buffer: Vec<u8>,
    at: usize,
    /// The buffer's share of the budget.
    _held: Reservation,
}

impl<const N: usize> RecordCursor<N> {
    pub(super) fn open(file: &ListedFile, split: Range<u64>, task: &TaskContext) -> Result<Self> {
        let mut file = Plain::open(file)?;
        file.go_to(split.start);
        let capacity = (split.end - split.start).min(BUFFER.max(N) as u64);
        let mut held = task.host().memory().reservation();
        held.insist(capacity);
        Ok(RecordCursor { file, end: split.end, buffer: Vec::with_capacity(capacity as usize), at: 0, _held: held })
    }

    /// Reads until there is a whole record; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        while self.buffer.len() < N {
            let capacity = BUFFER.max(N) - self.buffer.len();
            let left = usize::try_from(self.end - self.file.at()).unwrap_or(usize::MAX);
            if left == 0 || self.file.append(capacity.min(left), &mut self.buffer)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<const N: usize> Cursor for RecordCursor<N> {
    type Item = Record<N>;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(Record<N>) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let mut left = budget.max(1);
        loop {
            let (records, _) = self.buffer[self.at..].as_chunks::<N>();
            let records = &records[..records.len().min(left)];
            for (before, record) in records.iter().enumerate() {
                if sink(Record(*record)).is_break() {
                    self.at += (before + 1) * N;
                    return Ok(Step::More);
                }
            }
            left -= records.len();
            self.at += records.len() * N;
            if left == 0 {
                return Ok(Step::More);
            }
            if !self.fill()? {
                return self.file.check().map(|()| Step::Done);
            }
        }
    }
}
