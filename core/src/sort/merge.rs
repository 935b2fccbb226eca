//! Merging the readers' range of sorted runs: a tree of losers (The Art of Computer Programming 3, 5.4.1), equal keys
//! in the order of their runs.

use super::run::{Run, RunBlock};
use crate::error::{Error, Result};
use crate::exchange::{decode_rows, lost};
use crate::host::{Shared, Wanted};
use crate::memory::Reservation;
use crate::row::{Row, RowSize};
use crate::task::{Op, Task};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// Where one run is being read.
struct Head<K, V> {
    block: usize,
    run: usize,
    /// The next row of a held run, the next frame of an encoded one.
    next: usize,
    /// One past the last.
    end: usize,
    /// The frame that the lower bound cuts, if one is.
    first: Option<usize>,
    /// The row that it gives next; none at its end.
    row: Option<(K, V)>,
    /// Those after it that are taken out of the run.
    rows: std::vec::IntoIter<(K, V)>,
}

/// Rows that are taken out of a held run at a time: one after another in one run, the misses of the caches overlap, which
/// they do not when every row comes from another run.
const BATCH: usize = 128;

/// The rows of a range, merged from all runs.
pub(crate) struct Merge<K, V> {
    exchange: u64,
    op: Op,
    blocks: Vec<Arc<RunBlock<K, V>>>,
    heads: Vec<Head<K, V>>,
    /// `losers[0]` is the winner; the others are the losers of the matches at the inner nodes.
    losers: Vec<usize>,
    low: Option<K>,
    high: Option<K>,
    bytes: Vec<u8>,
    size: RowSize<(K, V)>,
    working: Reservation,
    /// Keeps frames of sealed blocks near.
    _near: Shared,
}

impl<K: Row + Ord, V: Row> Merge<K, V> {
    /// The rows with keys from `low` on and below `high`.
    pub(crate) fn new(
        exchange: u64,
        op: Op,
        blocks: Vec<Arc<RunBlock<K, V>>>,
        low: Option<K>,
        high: Option<K>,
        task: &Task,
    ) -> Result<Self> {
        let mut merge = Merge {
            exchange,
            op,
            blocks,
            heads: Vec::new(),
            losers: Vec::new(),
            low,
            high,
            bytes: Vec::new(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            _near: Arc::new(()),
        };
        let runs =
            merge.blocks.iter().enumerate().flat_map(|(block, b)| (0..b.runs.len()).map(move |run| (block, run)));
        let runs = runs.map(|(block, run)| Ok((block, run, merge.range(block, run)?)));
        let runs: Vec<_> = runs.collect::<Result<_>>()?;
        let mut wanted = runs.iter().map(|(block, run, (range, _))| Wanted {
            map: *block as u32,
            sequence: *run,
            frames: range.clone(),
        });
        merge._near = task.host().bring(exchange, &mut wanted)?;
        for (block, run, (range, first)) in runs {
            let rows = Vec::new().into_iter();
            merge.heads.push(Head { block, run, next: range.start, end: range.end, first, row: None, rows });
            merge.refill(merge.heads.len() - 1)?;
            // What is taken out of every run at a time: little, but there may be many runs.
            match merge.heads.last() {
                Some(Head { row: Some(row), rows, .. }) => {
                    merge.size.sample(row);
                    merge.working.insist(merge.size.of(rows.len()));
                }
                _ => drop(merge.heads.pop()),
            }
        }
        merge.build();
        Ok(merge)
    }

    /// The rows of a held run, or the frames of an encoded one, that the range is in, and the frame that its lower bound
    /// cuts. The reader below it ends at this very place, since it asks the same of the same rows: so no row is read
    /// twice or by nobody, as long as the ranges follow one another.
    fn range(&self, block: usize, run: usize) -> Result<(Range<usize>, Option<usize>)> {
        let run = &self.blocks[block].runs[run];
        let low = self.low.as_ref().map_or(0, |low| run.below(low));
        let high = self.high.as_ref().map_or(run.len(), |high| run.below(high));
        if low > high {
            return Err(Error::not_total::<K>(&self.op));
        }
        Ok(match run {
            Run::Held { .. } => (low..high, None),
            // The frame before the first one that begins in the range may end in it.
            Run::Encoded { .. } => (low.saturating_sub(1)..high, low.checked_sub(1)),
        })
    }

    /// Goes to the next row of the range in what a run has left beside `rows`, if there is one.
    fn refill(&mut self, head: usize) -> Result<()> {
        let head = &mut self.heads[head];
        while head.row.is_none() && head.next < head.end {
            let mut taken = Vec::new();
            match &self.blocks[head.block].runs[head.run] {
                Run::Held { rows, .. } => {
                    let start = head.next;
                    head.next = head.end.min(start + BATCH);
                    taken.extend_from_slice(&rows[start..head.next]);
                }
                Run::Encoded { frames, .. } => {
                    let map = head.block as u32;
                    let frame = frames.view(head.next, &mut self.bytes);
                    decode_rows(frame.map_err(|error| lost(self.exchange, map, error))?, &mut taken)?;
                    let below = |bound: &K| taken.partition_point(|(key, _)| key.cmp(bound).is_lt());
                    let low = self.low.as_ref().filter(|_| head.first == Some(head.next)).map_or(0, below);
                    head.next += 1;
                    let high = self.high.as_ref().filter(|_| head.next == head.end).map_or(taken.len(), below);
                    if low > high {
                        return Err(Error::not_total::<K>(&self.op));
                    }
                    taken.truncate(high);
                    taken.drain(..low);
                }
            }
            head.rows = taken.into_iter();
            head.row = head.rows.next();
        }
        Ok(())
    }

    /// Whether run `a` gives its row before run `b`. Ended runs come last.
    fn before(&self, a: usize, b: usize) -> bool {
        match (&self.heads[a].row, &self.heads[b].row) {
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
        let Some(row) = self.heads[winner].row.take() else { return Ok(None) };
        self.heads[winner].row = self.heads[winner].rows.next();
        if self.heads[winner].row.is_none() {
            self.refill(winner)?;
        }
        self.play(winner);
        Ok(Some(row))
    }
}
