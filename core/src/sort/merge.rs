//! Merging the readers' range of sorted runs: a tree of losers (The Art of Computer Programming 3, 5.4.1), equal keys
//! in the order of their runs.

use super::run::{Run, RunBlock};
use crate::error::{Error, Result};
use crate::exchange::decode_rows;
use crate::memory::Reservation;
use crate::row::{Row, RowSize};
use crate::task::Task;
use std::cmp::Ordering;
use std::sync::Arc;

/// Where one run is being read.
struct Head<K, V> {
    block: usize,
    run: usize,
    /// The next row: in the run if it is held, in `rows` if it is stored.
    at: usize,
    end: usize,
    /// The next frame of a stored run.
    frame: usize,
    rows: Vec<(K, V)>,
}

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
    size: RowSize<(K, V)>,
    working: Reservation,
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
            size: RowSize::new(),
            working: task.host().memory().reservation(),
        };
        let runs: Vec<_> = merge
            .blocks
            .iter()
            .enumerate()
            .flat_map(|(block, b)| (0..b.runs.len()).map(move |run| (block, run)))
            .collect();
        for (block, run) in runs {
            if let Some(head) = merge.open(block, run)? {
                merge.heads.push(head);
            }
        }
        merge.build();
        Ok(merge)
    }

    /// Opens a run at its first row of the range.
    fn open(&mut self, block: usize, run: usize) -> Result<Option<Head<K, V>>> {
        let below = |key: &K, bound: &Option<K>, none: bool| bound.as_ref().map_or(none, |bound| key < bound);
        let mut head = Head { block, run, at: 0, end: 0, frame: 0, rows: Vec::new() };
        match &self.blocks[block].runs[run] {
            Run::Held { rows, .. } => {
                head.at = rows.partition_point(|(key, _)| below(key, &self.low, false));
                head.end = rows.partition_point(|(key, _)| below(key, &self.high, true));
            }
            Run::Stored { firsts, .. } => {
                // The frame before the first one that begins in the range may end in it.
                head.frame = firsts.partition_point(|key| below(key, &self.low, false)).saturating_sub(1);
                self.read(&mut head)?;
            }
        }
        Ok((head.at < head.end).then_some(head))
    }

    /// Reads the next frame of a stored run that has rows of the range.
    fn read(&mut self, head: &mut Head<K, V>) -> Result<()> {
        let Run::Stored { frames, firsts } = &self.blocks[head.block].runs[head.run] else { return Ok(()) };
        while head.at == head.end {
            let Some(first) = firsts.get(head.frame) else { return Ok(()) };
            if self.high.as_ref().is_some_and(|high| first >= high) {
                return Ok(());
            }
            let lost = |error: Error| Error::Fetch {
                exchange: self.exchange,
                map: head.block as u32,
                message: error.to_string(),
            };
            frames.read(head.frame, &mut self.bytes).map_err(lost)?;
            decode_rows(&self.bytes, &mut head.rows).map_err(lost)?;
            if head.frame == 0 || self.working.bytes() == 0 {
                // What a frame of every run takes: small, but there may be many runs.
                head.rows.first().into_iter().for_each(|row| self.size.sample(row));
                self.working.insist(self.size.of(head.rows.len()));
            }
            head.frame += 1;
            head.at = self.low.as_ref().map_or(0, |low| head.rows.partition_point(|(key, _)| key < low));
            head.end =
                self.high.as_ref().map_or(head.rows.len(), |high| head.rows.partition_point(|(key, _)| key < high));
        }
        Ok(())
    }

    fn row(&self, head: usize) -> Option<&(K, V)> {
        let head = &self.heads[head];
        if head.at == head.end {
            return None;
        }
        Some(match &self.blocks[head.block].runs[head.run] {
            Run::Held { rows, .. } => &rows[head.at],
            Run::Stored { .. } => &head.rows[head.at],
        })
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
        let Some(row) = self.row(winner) else { return Ok(None) };
        let row = row.clone();
        self.heads[winner].at += 1;
        if self.heads[winner].at == self.heads[winner].end && !self.heads[winner].rows.is_empty() {
            let mut head = std::mem::replace(
                &mut self.heads[winner],
                Head { block: 0, run: 0, at: 0, end: 0, frame: 0, rows: Vec::new() },
            );
            let read = self.read(&mut head);
            self.heads[winner] = head;
            read?;
        }
        self.play(winner);
        Ok(Some(row))
    }
}
