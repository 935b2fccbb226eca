//! Merging the readers' range of sorted runs: a tree of losers (The Art of Computer Programming 3, 5.4.1), equal keys
//! in the order of their runs.

use super::run::{Run, RunBlock};
use crate::error::{Error, Result};
use crate::exchange::decode_rows;
use crate::host::{Shared, Wanted};
use crate::memory::Reservation;
use crate::row::{Row, RowSize};
use crate::task::Task;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Where one run is being read. Rows are taken out of it a batch at a time: one after another in one run, the misses of
/// the caches overlap, which they do not when every row comes from another run.
struct Head<K, V> {
    block: usize,
    run: usize,
    /// The next row of a held run, the next frame of a stored one.
    next: usize,
    /// One past the last.
    end: usize,
    rows: VecDeque<(K, V)>,
}

/// Rows that are taken out of a held run at a time.
const BATCH: usize = 128;

/// The rows of a range, merged from all runs.
pub(crate) struct Merge<K, V> {
    exchange: u64,
    blocks: Vec<Arc<RunBlock<K, V>>>,
    heads: Vec<Head<K, V>>,
    /// `losers[0]` is the winner; the others are the losers of the matches at the inner nodes.
    losers: Vec<usize>,
    low: Option<K>,
    high: Option<K>,
    bytes: Vec<u8>,
    decoded: Vec<(K, V)>,
    size: RowSize<(K, V)>,
    working: Reservation,
    /// Keeps frames of sealed blocks near.
    _near: Shared,
}

impl<K: Row + Ord, V: Row> Merge<K, V> {
    /// The rows with keys from `low` on and below `high`.
    pub(crate) fn new(
        exchange: u64,
        blocks: Vec<Arc<RunBlock<K, V>>>,
        low: Option<K>,
        high: Option<K>,
        task: &Task,
    ) -> Result<Self> {
        let mut merge = Merge {
            exchange,
            blocks,
            heads: Vec::new(),
            losers: Vec::new(),
            low,
            high,
            bytes: Vec::new(),
            decoded: Vec::new(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            _near: Arc::new(()),
        };
        let runs =
            merge.blocks.iter().enumerate().flat_map(|(block, b)| (0..b.runs.len()).map(move |run| (block, run)));
        let runs: Vec<_> = runs.map(|(block, run)| (block, run, merge.range(block, run))).collect();
        let mut wanted =
            runs.iter().map(|(block, run, range)| Wanted { map: *block as u32, sequence: *run, frames: range.clone() });
        merge._near = task.host().bring(exchange, &mut wanted)?;
        for (block, run, range) in runs {
            if let Some(head) = merge.open(block, run, range)? {
                merge.heads.push(head);
            }
        }
        merge.build();
        Ok(merge)
    }

    /// The rows of a held run, or the frames of a stored one, that the range is in.
    fn range(&self, block: usize, run: usize) -> Range<usize> {
        let (low, high) = (&self.low, &self.high);
        let below = |key: &K, bound: &Option<K>| bound.as_ref().is_some_and(|bound| key < bound);
        let before_end = |key: &K| high.is_none() || below(key, high);
        match &self.blocks[block].runs[run] {
            Run::Held { rows, .. } => {
                rows.partition_point(|(key, _)| below(key, low))..rows.partition_point(|(key, _)| before_end(key))
            }
            // The frame before the first one that begins in the range may end in it.
            Run::Stored { firsts, .. } => {
                firsts.partition_point(|key| below(key, low)).saturating_sub(1)..firsts.partition_point(before_end)
            }
        }
    }

    /// Opens a run at its first row of the range.
    fn open(&mut self, block: usize, run: usize, range: Range<usize>) -> Result<Option<Head<K, V>>> {
        let mut head = Head { block, run, next: range.start, end: range.end, rows: VecDeque::new() };
        self.fill(&mut head)?;
        // What is taken out of every run at a time: little, but there may be many runs.
        head.rows.front().into_iter().for_each(|row| self.size.sample(row));
        self.working.insist(self.size.of(head.rows.len()));
        Ok((!head.rows.is_empty()).then_some(head))
    }

    /// Takes the next rows of the range out of a run, unless it is at its end.
    fn fill(&mut self, head: &mut Head<K, V>) -> Result<()> {
        while head.rows.is_empty() && head.next < head.end {
            match &self.blocks[head.block].runs[head.run] {
                Run::Held { rows, .. } => {
                    let end = head.end.min(head.next + BATCH);
                    head.rows.extend(rows[head.next..end].iter().cloned());
                    head.next = end;
                }
                Run::Stored { frames, .. } => {
                    let map = head.block as u32;
                    let lost = |error: Error| Error::Fetch { exchange: self.exchange, map, message: error.to_string() };
                    let frame = frames.view(head.next, &mut self.bytes);
                    frame.and_then(|frame| decode_rows(frame, &mut self.decoded)).map_err(lost)?;
                    head.next += 1;
                    if let Some(low) = &self.low {
                        self.decoded.drain(..self.decoded.partition_point(|(key, _)| key < low));
                    }
                    if let Some(high) = &self.high {
                        self.decoded.truncate(self.decoded.partition_point(|(key, _)| key < high));
                    }
                    head.rows.extend(self.decoded.drain(..));
                }
            }
        }
        Ok(())
    }

    fn row(&self, head: usize) -> Option<&(K, V)> {
        self.heads[head].rows.front()
    }

    /// Whether run `a` gives its row before run `b`. Ended runs come last.
    fn before(&self, a: usize, b: usize) -> bool {
        match (self.row(a), self.row(b)) {
            (Some(x), Some(y)) => match x.0.cmp(&y.0) {
                Ordering::Less => true,
                Ordering::Equal => a < b,
                Ordering::Greater => false,
            },
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Plays all matches.
    fn build(&mut self) {
        let leaves = self.heads.len();
        self.losers = vec![usize::MAX; leaves.max(1)];
        for head in 0..leaves {
            self.play(head);
        }
    }

    /// Plays the matches of `head` upwards. A node that is empty waits for its second player.
    fn play(&mut self, head: usize) {
        let leaves = self.heads.len();
        let mut winner = head;
        let mut node = (head + leaves) / 2;
        while node > 0 {
            let other = self.losers[node];
            if other == usize::MAX {
                self.losers[node] = winner;
                return;
            }
            if self.before(other, winner) {
                self.losers[node] = winner;
                winner = other;
            }
            node /= 2;
        }
        self.losers[0] = winner;
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<(K, V)>> {
        if self.heads.is_empty() {
            return Ok(None);
        }
        let winner = self.losers[0];
        let Some(row) = self.heads[winner].rows.pop_front() else { return Ok(None) };
        if self.heads[winner].rows.is_empty() {
            let nothing = Head { block: 0, run: 0, next: 0, end: 0, rows: VecDeque::new() };
            let mut head = std::mem::replace(&mut self.heads[winner], nothing);
            let filled = self.fill(&mut head);
            self.heads[winner] = head;
            filled?;
        }
        self.play(winner);
        Ok(Some(row))
    }
}
