//! The map tasks of a sort: sorted runs, in memory or in spill files, with a sparse index.

use super::in_order::in_order;
use super::index::{Index, Written, cut_at};
use super::sampler::Sampler;
use super::unsorted::Unsorted;
use crate::exchange::{BlockKind, chunk_bytes, unless_failed};
use crate::held::HeldFrames;
use crate::host::{BlockValue, BlockWriter, MadeBlock, SealedBlock};
use crate::pipe::{Pipe, drive};
use crate::row::Row;
use crate::ship::{Ship, ship};
use crate::stage::{Made, Output, StageCode};
use crate::task::TaskContext;
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result, codec};

/// The output of one map task: its rows as sorted runs. The runs are in the order in which their rows arrived.
pub(crate) struct RunBlock<K, V> {
    pub(crate) runs: Vec<Run<K, V>>,
    /// The keys of some rows, each with the number of rows that it represents.
    pub(crate) samples: Vec<(K, u32)>,
    /// The memory of the samples and of the runs' indexes, if the block was made in this process.
    pub(crate) _held: Option<Reservation>,
}

impl<K: Row + Ord, V: Row> BlockKind for RunBlock<K, V> {
    fn open(sealed: &SealedBlock) -> Result<Self> {
        let ((indexes, samples), _) = codec::decode::<(Vec<Written<K>>, Vec<(K, u32)>)>(&sealed.head)?;
        if indexes.len() != sealed.sequences.len() {
            return Err(Error::Bug("a block has another number of runs than it says".into()));
        }
        let mut runs = Vec::with_capacity(indexes.len());
        for (frames, index) in sealed.sequences.iter().zip(indexes) {
            runs.push(Run::Encoded { frames: frames.clone(), index: Index::read(index, frames.len()) });
        }
        Ok(RunBlock { runs, samples, _held: None })
    }
}

/// Rows in order of their keys. Rows with equal keys are in order of arrival.
pub(crate) enum Run<K, V> {
    /// In memory, as values.
    Held { rows: Vec<(K, V)>, _held: Reservation },
    /// Encoded, in memory or in a spill file.
    Encoded { frames: Arc<dyn Frames>, index: Index<K> },
}

impl<K: Row + Ord, V> Run<K, V> {
    /// The number of rows of a held run, or of frames of an encoded one.
    pub(crate) fn len(&self) -> usize {
        match self {
            Run::Held { rows, .. } => rows.len(),
            Run::Encoded { frames, .. } => frames.len(),
        }
    }

    /// The least and the greatest number of rows or frames that may begin below `bound`. They differ where only the
    /// frames tell. If `Ord` contradicts itself, these are arbitrary numbers, or `None`.
    pub(crate) fn below(&self, bound: &K) -> Option<(usize, usize)> {
        match self {
            Run::Held { rows, .. } => cut_at(bound, rows.len(), |at| &rows[at].0).map(|at| (at, at)),
            Run::Encoded { index, .. } => index.below(bound),
        }
    }
}

/// The bytes of a frame in memory. Readers hold the rows of one frame of every run. Frames are small so that these rows
/// stay in the CPU's caches.
const HELD_FRAME: usize = 8 << 10;
/// The bytes of a frame on a disk or between machines, where each frame is a separate read.
const STORED_FRAME: usize = 32 << 10;
/// The least bytes of a frame, for runs with many ranges. Each range reads the frames that contain its rows, and shares
/// the first and the last one with its neighbours, so small frames cause less reading.
const SMALLEST_FRAME: usize = 256;

/// The map tasks of a sort.
pub(crate) struct RunsStage<P> {
    pub(crate) input: P,
    pub(crate) ranges: u32,
    pub(crate) op: Op,
}

ship!([P: Ship] RunsStage<P> { input: ship, ranges: value, op: value });

impl<K: Row + Ord, V: Row, P: Pipe<Item = (K, V)>> StageCode for RunsStage<P> {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let mut cursor = self.input.open(partition, task)?;
        let mut sampler = Sampler::new(partition);
        let mut maker = RunMaker {
            rows: Unsorted::new(),
            most: chunk_bytes(task),
            working: task.host().memory().reservation(),
            leaving: task.host().block(task.place())?.map(|writer| (writer, Vec::new())),
            runs: Vec::new(),
            kept: task.host().memory().reservation(),
            ranges: self.ranges,
            op: self.op,
            task,
        };
        let (mut rows, mut bytes, mut failed) = (0, 0, None);
        let checks = task.checks_rows();
        let proven = if checks { u64::MAX } else { 1 };
        drive(&mut cursor, task, &mut |mut row: (K, V)| {
            if rows < proven
                && let Err(error) = codec::prove_row(&mut row, checks)
            {
                return unless_failed(Err(error), &mut failed);
            }
            sampler.look(rows, &row.0);
            rows += 1;
            let pushed = maker.push(row).map(|more| bytes += more);
            unless_failed(pushed, &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        maker.seal()?;
        maker.kept.insist(sampler.bytes);
        let block = match maker.leaving {
            Some((writer, indexes)) => {
                let mut head = Vec::new();
                codec::encode(&(indexes, sampler.samples), &mut head)?;
                MadeBlock::Sealed(writer.seal(&head)?)
            }
            None => {
                let RunMaker { runs, kept, .. } = maker;
                MadeBlock::Value(BlockValue::new(RunBlock { runs, samples: sampler.samples, _held: Some(kept) }))
            }
        };
        // The ranges are not known yet, but they will have about the same size.
        let bucket_bytes = vec![bytes / u64::from(self.ranges.max(1)); self.ranges as usize];
        Ok(Output { made: Made::Block(block), rows, checksum: rows, bytes, bucket_bytes })
    }
}

struct RunMaker<'a, K, V> {
    rows: Unsorted<K, V>,
    /// The most bytes of a run.
    most: u64,
    working: Reservation,
    runs: Vec<Run<K, V>>,
    /// The memory of what is kept of sealed runs until the block is dropped: their indexes. These are few bytes.
    kept: Reservation,
    /// Where runs go if other processes read them, with the index of each run.
    leaving: Option<(Box<dyn BlockWriter>, Vec<Written<K>>)>,
    ranges: u32,
    op: Op,
    task: &'a TaskContext,
}

impl<K: Row + Ord, V: Row> RunMaker<'_, K, V> {
    /// Adds a row, and seals the run if it is large enough. Returns the bytes of the row.
    #[inline]
    fn push(&mut self, row: (K, V)) -> Result<u64> {
        let bytes = self.rows.push(row)?;
        if self.rows.len().is_multiple_of(1024) || bytes >= STORED_FRAME {
            self.look()?;
        }
        Ok(bytes as u64)
    }

    /// Counts the memory of the run, and seals the run if it is large enough or the process exceeds its budget.
    #[cold]
    fn look(&mut self) -> Result<()> {
        let taken = self.rows.bytes();
        // Keys may take more memory than estimated, so a run may end early. It must not be too short, because many runs
        // make merging slow.
        let is_over = taken >= self.most / 16 && self.task.host().memory().is_over();
        if taken >= self.most || is_over {
            return self.seal();
        }
        self.working.insist(taken.saturating_sub(self.working.bytes()));
        Ok(())
    }

    /// Sorts the rows, and makes a run of them: for other processes, held in memory, or in a spill file.
    fn seal(&mut self) -> Result<()> {
        let rows = &mut self.rows;
        if rows.len() == 0 {
            return Ok(());
        }
        in_order::<K>(&self.op, || rows.sort())?;
        // With many ranges, each range reads a small part of a run, so frames are small, too.
        let share = usize::try_from(rows.bytes() / u64::from(self.ranges.max(1))).unwrap_or(usize::MAX);
        let frame = |most: usize| share.clamp(SMALLEST_FRAME, most);
        if let Some((writer, runs)) = &mut self.leaving {
            writer.sequence()?;
            let index = rows.cut(frame(STORED_FRAME), &mut |frame| writer.frame(frame))?;
            self.kept.insist(index.bytes());
            runs.push(index.written());
            return Ok(());
        }
        let mut held = self.task.host().memory().reservation();
        let is_held = held.hold(rows.bytes());
        let run = match rows {
            Unsorted::Values(rows) if is_held => {
                let mut rows = std::mem::take(rows);
                rows.shrink_to_fit();
                Run::Held { rows, _held: held }
            }
            _ => {
                let (mut writer, most): (Box<dyn FrameWriter>, _) = match is_held {
                    true => (Box::new(HeldFrames::new(held)?), HELD_FRAME),
                    false => (self.task.host().spill()?, STORED_FRAME),
                };
                let index = rows.cut(frame(most), &mut |frame| writer.frame(frame))?;
                self.kept.insist(index.bytes());
                Run::Encoded { frames: writer.finish()?, index }
            }
        };
        self.runs.push(run);
        Ok(())
    }
}
