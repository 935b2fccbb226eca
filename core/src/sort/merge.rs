//! Merging a reader's range of sorted runs by a tree of losers (The Art of Computer Programming 3, 5.4.1). Equal keys
//! stay in the order of their runs.

use super::bounds::Bounds;
use super::run::{Run, RunBlock, cut_at};
use crate::exchange::{decode_rows, hash_of, lost};
use crate::host::{FrameRequest, Prefetched};
use crate::row::{Row, RowSize};
use crate::task::TaskContext;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::ids::ExchangeId;
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result};

/// The reading position in one run.
struct Head<K, V> {
    block: usize,
    run: usize,
    /// The next row of a held run, or the next frame of an encoded one.
    next: usize,
    /// One past the last row or frame.
    end: usize,
    /// The frame that the lower bound cuts, if there is one.
    first: Option<usize>,
    /// The next row; `None` at the end.
    row: Option<(K, V)>,
    /// The rows after it that were already read from the run.
    rows: std::vec::IntoIter<(K, V)>,
}

/// How many rows are read from a held run at a time. Cache misses overlap when consecutive rows of one run are read,
/// but not when each row comes from another run.
const BATCH: usize = 128;

/// The rows of a range, merged from all runs.
pub(crate) struct Merge<K, V> {
    exchange: ExchangeId,
    op: Op,
    blocks: Vec<Arc<RunBlock<K, V>>>,
    heads: Vec<Head<K, V>>,
    /// `losers[0]` is the winner; the others are the losers of the matches at the inner nodes.
    losers: Vec<usize>,
    bounds: Arc<Bounds<K>>,
    range: usize,
    /// Hashes of the positions at which runs were cut, at the lower and at the upper bound.
    cuts: [u64; 2],
    bytes: Vec<u8>,
    size: RowSize<(K, V)>,
    working: Reservation,
    /// Keeps the prefetched frames of sealed blocks.
    _prefetched: Prefetched,
}

impl<K: Row + Ord, V: Row> Merge<K, V> {
    /// Begins to merge the rows of one range.
    pub(crate) fn new(
        exchange: ExchangeId,
        op: Op,
        blocks: Vec<Arc<RunBlock<K, V>>>,
        bounds: Arc<Bounds<K>>,
        range: usize,
        task: &TaskContext,
    ) -> Result<Self> {
        let mut merge = Merge {
            exchange,
            op,
            blocks,
            heads: Vec::new(),
            losers: Vec::new(),
            bounds,
            range,
            cuts: [0; 2],
            bytes: Vec::new(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            _prefetched: Prefetched::default(),
        };
        let runs =
            merge.blocks.iter().enumerate().flat_map(|(block, b)| (0..b.runs.len()).map(move |run| (block, run)));
        let runs: Vec<_> = runs.collect();
        let runs = runs.into_iter().map(|(block, run)| Ok((block, run, merge.range(block, run)?)));
        let runs: Vec<_> = runs.collect::<Result<_>>()?;
        let mut wanted = runs.iter().map(|(block, run, (range, _))| FrameRequest {
            map: *block as u32,
            sequence: *run,
            frames: range.clone(),
        });
        merge._prefetched = task.host().prefetch(exchange, &mut wanted)?;
        for (block, run, (range, first)) in runs {
            let rows = Vec::new().into_iter();
            merge.heads.push(Head { block, run, next: range.start, end: range.end, first, row: None, rows });
            merge.refill(merge.heads.len() - 1)?;
            // Counts the rows that were read from each run: they are few, but there may be many runs.
            match merge.heads.last() {
                Some(Head { row: Some(row), rows, .. }) => {
                    merge.size.sample(row);
                    merge.working.insist(merge.size.of(rows.len()));
                }
                _ => drop(merge.heads.pop()),
            }
        }
        merge.build();
        // Each run was read up to its first row of the range, so all cuts at the lower bound are known.
        match merge.range.checked_sub(1) {
            Some(at) if !merge.bounds.agrees(at, merge.cuts[0]) => Err(Error::not_total::<K>(&merge.op)),
            _ => Ok(merge),
        }
    }

    /// The rows of a held run, or the frames of an encoded one, that contain the range, and the frame that the lower
    /// bound cuts. The reader of the range below ends at the same position, because it compares the same rows with the
    /// same bound. So no row is read twice or skipped, if bounds ascend and comparisons give the same answers again.
    fn range(&mut self, block: usize, run: usize) -> Result<(Range<usize>, Option<usize>)> {
        let of = &self.blocks[block].runs[run];
        let (low, high) = self.bounds.of(self.range);
        let low = low.map_or(Some(0), |low| of.below(low));
        let high = high.map_or(Some(of.len()), |high| of.below(high));
        let (low, high) =
            low.zip(high).filter(|(low, high)| low <= high).ok_or_else(|| Error::not_total::<K>(&self.op))?;
        for (cuts, at) in self.cuts.iter_mut().zip([low, high]) {
            *cuts = cuts.wrapping_add(hash_of(&(block, run, at)));
        }
        Ok(match of {
            Run::Held { .. } => (low..high, None),
            // The frame before the first one that begins in the range may have rows of it.
            Run::Encoded { .. } => (low.saturating_sub(1)..high, low.checked_sub(1)),
        })
    }

    /// Reads the next rows of a run when `rows` is used up, until there is a row of the range or the run ends.
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
                    let (low, high) = self.bounds.of(self.range);
                    let low = low.filter(|_| head.first == Some(head.next));
                    head.next += 1;
                    let high = high.filter(|_| head.next == head.end);
                    let mut cut = |side: usize, bound: Option<&K>, all: usize| {
                        let Some(bound) = bound else { return Some(all) };
                        let at = cut_at(bound, taken.len(), |at| &taken[at].0)?;
                        self.cuts[side] = self.cuts[side].wrapping_add(hash_of(&(head.block, head.run, at, "row")));
                        Some(at)
                    };
                    let cuts = cut(0, low, 0).zip(cut(1, high, taken.len()));
                    let cuts = cuts.filter(|(low, high)| low <= high);
                    let (low, high) = cuts.ok_or_else(|| Error::not_total::<K>(&self.op))?;
                    taken.truncate(high);
                    taken.drain(..low);
                }
            }
            head.rows = taken.into_iter();
            head.row = head.rows.next();
        }
        Ok(())
    }

    /// Whether the row of run `a` comes before the row of run `b`. Ended runs come last.
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

    /// Builds the tree by playing all matches.
    fn build(&mut self) {
        let leaves = self.heads.len();
        self.losers = vec![usize::MAX; leaves.max(1)];
        for head in 0..leaves {
            self.play(head);
        }
    }

    /// Plays the matches of `head` from its leaf upwards. At an empty node it waits for the second player.
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
        let Some(row) = self.losers.first().and_then(|winner| self.heads.get_mut(*winner)?.row.take()) else {
            // All runs were read to the end of the range, so all cuts at the upper bound are known.
            return match self.bounds.agrees(self.range, self.cuts[1]) {
                true => Ok(None),
                false => Err(Error::not_total::<K>(&self.op)),
            };
        };
        let winner = self.losers[0];
        self.heads[winner].row = self.heads[winner].rows.next();
        if self.heads[winner].row.is_none() {
            self.refill(winner)?;
        }
        self.play(winner);
        Ok(Some(row))
    }
}
