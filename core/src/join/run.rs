//! Runs of left rows, for a join whose right side does not fit into memory: the right side is read once for each run.

use crate::exchange::{Rows, floor};
use crate::pipe::BATCH;
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use tryworks_base::Result;
use tryworks_base::memory::Reservation;

/// The most left rows of a run.
pub(super) const RUN: usize = 64 * 1024;
/// The approximate bytes of a hash in a hash table.
const HASH: usize = 2 * size_of::<u64>();

/// Left rows that are joined with the right side together.
pub(super) struct Run<K, V> {
    pub(super) rows: Vec<(K, V)>,
    /// How many of them are joined.
    pub(super) met: usize,
    size: RowSize<(K, V)>,
    working: Reservation,
}

impl<K: Key, V: Row> Run<K, V> {
    pub(super) fn new(task: &TaskContext) -> Self {
        Run { rows: Vec::new(), met: 0, size: RowSize::new(), working: task.host().memory().reservation() }
    }

    /// The rows that are still to be joined.
    pub(super) fn rest(&self) -> &[(K, V)] {
        &self.rows[self.met..]
    }

    /// Gathers the next rows, in however small pieces they arrive: as many as fit into the memory that a task is
    /// guaranteed, so that the right side is read seldom. False if there are none.
    pub(super) fn gather(&mut self, left: &mut Rows<(K, V)>, task: &TaskContext) -> Result<bool> {
        self.rows.clear();
        self.met = 0;
        let most = floor(task);
        while self.rows.len() < RUN {
            task.check()?;
            let Some(rows) = left.next(BATCH.min(RUN - self.rows.len()))? else { break };
            rows.last().into_iter().for_each(|row| self.size.sample(row));
            self.rows.extend_from_slice(rows);
            let bytes = self.size.of(self.rows.len()) + (self.rows.len() * HASH) as u64;
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
            if bytes >= most {
                break;
            }
        }
        Ok(!self.rows.is_empty())
    }
}
