//! Merging a reader's range of sorted runs by a tree of losers (The Art of Computer Programming 3, 5.4.1). Equal keys
//! stay in the order of their runs.

use super::bounds::Bounds;
use super::index::{cut_at, cut_between};
use super::run::{Run, RunBlock};
use crate::exchange::{Spool, SpooledRows, decode_rows, hash_of, lost, undivided};
use crate::host::{FrameRequest, Prefetched};
use crate::pipe::BATCH;
use crate::row::{Row, RowSize};
use crate::task::TaskContext;
use std::cmp::Ordering;
use std::sync::Arc;
use tryworks_base::ids::ExchangeId;
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result, codec};

/// Sorted rows that are merged with others.
enum Source<K, V> {
    Run(Part),
    /// Several runs that were merged before.
    Merged(SpooledRows<(K, V)>),
}

/// The part of a run that has the range.
struct Part {
    block: usize,
    run: usize,
    /// The next row of a held run, or the next frame of an encoded one.
    next: usize,
    /// One past the last row or frame.
    end: usize,
    /// The frame that the lower bound cuts, if there is one.
    first: Option<usize>,
}

/// The reading position in sorted rows.
struct Head<K, V> {
    source: Source<K, V>,
    /// The next row; `None` at the end.
    row: Option<(K, V)>,
    /// The rows after it that were already read.
    rows: std::vec::IntoIter<(K, V)>,
}

/// How many rows are read from a held run at a time. Cache misses overlap when consecutive rows of one run are read,
/// but not when each row comes from another run.
const TOGETHER: usize = 128;
/// The most bytes of these rows, unless a single row is larger.
const TOGETHER_BYTES: usize = 64 << 10;
/// At least this many runs are merged at a time, whatever memory they take. With fewer, rows would be written too often.
const LEAST: usize = 4;

/// The number of rows that are read from a held run at a time.
const fn together<T>() -> usize {
    let fit = TOGETHER_BYTES / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    if fit >= TOGETHER {
        TOGETHER
    } else if fit == 0 {
        1
    } else {
        fit
    }
}

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
        let mut spans = Vec::new();
        for (block, of) in merge.blocks.iter().enumerate() {
            for run in 0..of.runs.len() {
                spans.push((block, run, merge.span(&of.runs[run])?));
            }
        }
        let mut wanted = spans.iter().map(|(block, run, [low, high])| FrameRequest {
            map: *block as u32,
            sequence: *run,
            // The frame before the first one that begins in the range may have rows of it.
            frames: low.0.saturating_sub(1)..high.1,
        });
        merge._prefetched = task.host().prefetch(exchange, &mut wanted)?;
        let mut sources = Vec::with_capacity(spans.len());
        for (block, run, span) in spans {
            sources.push(Source::Run(merge.part(block, run, span)?));
        }
        merge.open(sources, task)?;
        merge.build();
        // Each run was read up to its first row of the range, so all cuts at the lower bound are known.
        match merge.range.checked_sub(1) {
            Some(at) if !merge.bounds.agrees(at, merge.cuts[0]) => Err(Error::not_total::<K>(&merge.op)),
            _ => Ok(merge),
        }
    }

    /// Opens all sources. While there are more than memory has room for, merges as many neighbours as fit into one.
    fn open(&mut self, mut sources: Vec<Source<K, V>>, task: &TaskContext) -> Result<()> {
        loop {
            let mut merged = Vec::new();
            let mut sources_left = sources.into_iter();
            while let Some(source) = sources_left.next() {
                let largest = match &source {
                    Source::Run(part) => match &self.blocks[part.block].runs[part.run] {
                        Run::Held { .. } => 0,
                        Run::Encoded { index, .. } => index.largest(),
                    },
                    Source::Merged(_) => 0,
                };
                self.heads.push(Head { source, row: None, rows: Vec::new().into_iter() });
                self.refill(self.heads.len() - 1)?;
                // Counts the rows that were read from each run: they are few, but there may be many runs. Later rows of
                // a run may be larger than the first ones.
                let bytes = match self.heads.last() {
                    Some(Head { row: Some(row), rows, .. }) => {
                        self.size.sample(row);
                        self.size.of(rows.len() + 1).max(largest)
                    }
                    _ => {
                        self.heads.pop();
                        continue;
                    }
                };
                let fits = self.working.grow(bytes) || {
                    self.working.insist(bytes);
                    self.working.bytes() <= undivided(task)
                };
                if !fits && self.heads.len() >= LEAST && sources_left.len() > 0 {
                    merged.push(self.merged(task)?);
                }
            }
            if merged.is_empty() {
                return Ok(());
            }
            merged.push(self.merged(task)?);
            sources = merged;
        }
    }

    /// Merges the open runs into one, in a spill file, and closes them.
    fn merged(&mut self, task: &TaskContext) -> Result<Source<K, V>> {
        self.build();
        let mut spool = Spool::new(task)?;
        let mut rows = 0usize;
        while let Some(row) = self.pop()? {
            codec::encode(&row, spool.row())?;
            spool.added()?;
            rows += 1;
            if rows.is_multiple_of(BATCH) {
                task.check()?;
            }
        }
        self.heads.clear();
        let _ = self.working.resize(0);
        Ok(Source::Merged(spool.finish::<(K, V)>()?.rows()))
    }

    /// For the lower and the upper bound, the least and the greatest number of the run's rows or frames that may begin
    /// below it.
    fn span(&self, run: &Run<K, V>) -> Result<[(usize, usize); 2]> {
        let (low, high) = self.bounds.of(self.range);
        let low = low.map_or(Some((0, 0)), |low| run.below(low));
        let high = high.map_or(Some((run.len(), run.len())), |high| run.below(high));
        match (low, high) {
            (Some(low), Some(high)) if low.0 <= high.0 && low.1 <= high.1 => Ok([low, high]),
            _ => Err(Error::not_total::<K>(&self.op)),
        }
    }

    /// The rows of a held run, or the frames of an encoded one, that contain the range, and the frame that the lower
    /// bound cuts. The reader of the range below ends at the same position, because it compares the same rows with the
    /// same bound. So no row is read twice or skipped, if bounds ascend and comparisons give the same answers again.
    fn part(&mut self, block: usize, run: usize, [low, high]: [(usize, usize); 2]) -> Result<Part> {
        let of = self.blocks[block].clone();
        let bounds = self.bounds.clone();
        let (lower, upper) = bounds.of(self.range);
        let low = self.exact(&of.runs[run], block, low, lower)?;
        let high = self.exact(&of.runs[run], block, high, upper)?;
        let (low, high) =
            low.zip(high).filter(|(low, high)| low <= high).ok_or_else(|| Error::not_total::<K>(&self.op))?;
        for (cuts, at) in self.cuts.iter_mut().zip([low, high]) {
            *cuts = cuts.wrapping_add(hash_of(&(block, run, at)));
        }
        Ok(match of.runs[run] {
            Run::Held { .. } => Part { block, run, next: low, end: high, first: None },
            Run::Encoded { .. } => {
                Part { block, run, next: low.saturating_sub(1), end: high, first: low.checked_sub(1) }
            }
        })
    }

    /// How many rows or frames of the run begin below `bound`: `between` these numbers.
    fn exact(
        &mut self,
        run: &Run<K, V>,
        block: usize,
        between: (usize, usize),
        bound: Option<&K>,
    ) -> Result<Option<usize>> {
        let (Run::Encoded { frames, .. }, Some(bound)) = (run, bound) else { return Ok(Some(between.0)) };
        let mut rows: Vec<(K, V)> = Vec::new();
        cut_between(bound, between, |at| {
            let frame = frames.view(at, &mut self.bytes);
            decode_rows(frame.map_err(|error| lost(self.exchange, block as u32, error))?, &mut rows)?;
            let first = rows.drain(..).next();
            first.map(|row| row.0).ok_or_else(|| Error::Bug("a frame of a sorted run is empty".into()))
        })
    }

    /// Reads the next rows when `rows` is used up, until there is a row of the range or the source ends.
    fn refill(&mut self, head: usize) -> Result<()> {
        let head = &mut self.heads[head];
        while head.row.is_none() {
            let mut taken = Vec::new();
            let part = match &mut head.source {
                Source::Run(part) if part.next < part.end => part,
                Source::Run(_) => return Ok(()),
                Source::Merged(rows) => {
                    taken.extend(rows.take()?);
                    if taken.is_empty() {
                        return Ok(());
                    }
                    head.rows = taken.into_iter();
                    head.row = head.rows.next();
                    return Ok(());
                }
            };
            match &self.blocks[part.block].runs[part.run] {
                Run::Held { rows, .. } => {
                    let start = part.next;
                    part.next = part.end.min(start + const { together::<(K, V)>() });
                    taken.extend_from_slice(&rows[start..part.next]);
                }
                Run::Encoded { frames, .. } => {
                    let map = part.block as u32;
                    let frame = frames.view(part.next, &mut self.bytes);
                    decode_rows(frame.map_err(|error| lost(self.exchange, map, error))?, &mut taken)?;
                    let (low, high) = self.bounds.of(self.range);
                    let low = low.filter(|_| part.first == Some(part.next));
                    part.next += 1;
                    let high = high.filter(|_| part.next == part.end);
                    let mut cut = |side: usize, bound: Option<&K>, all: usize| {
                        let Some(bound) = bound else { return Some(all) };
                        let at = cut_at(bound, taken.len(), |at| &taken[at].0)?;
                        self.cuts[side] = self.cuts[side].wrapping_add(hash_of(&(part.block, part.run, at, "row")));
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
        let row = self.pop()?;
        // At the end, all runs were read to the end of the range, so all cuts at the upper bound are known.
        if row.is_none() && !self.bounds.agrees(self.range, self.cuts[1]) {
            return Err(Error::not_total::<K>(&self.op));
        }
        Ok(row)
    }

    /// The next row of the open runs.
    #[inline]
    fn pop(&mut self) -> Result<Option<(K, V)>> {
        let Some(row) = self.losers.first().and_then(|winner| self.heads.get_mut(*winner)?.row.take()) else {
            return Ok(None);
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
