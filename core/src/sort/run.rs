//! The map tasks of a sort: sorted runs, in memory or in spill files, with a sparse index.

use crate::codec;
use crate::error::{Error, Result};
use crate::exchange::{BlockKind, chunk_bytes, encode_rows, unless_failed};
use crate::host::{BlockWriter, Frames, SealedBlock, Shared};
use crate::memory::Reservation;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::{Row, RowSize};
use crate::ship::{Decoder, Encoder, Ship};
use crate::stage::{Made, Output, StageCode};
use crate::task::{Op, Task};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// What one map task leaves: its rows as sorted runs, in the order in which they came.
pub(crate) struct RunBlock<K, V> {
    pub(crate) runs: Vec<Run<K, V>>,
    /// Keys of some rows, each with the number of rows that it stands for.
    pub(crate) samples: Vec<(K, u32)>,
}

impl<K: Row, V: Row> BlockKind for RunBlock<K, V> {
    fn open(sealed: &SealedBlock) -> Result<Self> {
        let ((firsts, samples), _) = codec::decode::<(Vec<Vec<K>>, Vec<(K, u32)>)>(&sealed.head)?;
        if firsts.len() != sealed.sequences.len() {
            return Err(Error::Bug("a block has another number of runs than it says".into()));
        }
        let runs = sealed.sequences.iter().zip(firsts);
        let runs = runs.map(|(frames, firsts)| Run::Stored { frames: frames.clone(), firsts }).collect();
        Ok(RunBlock { runs, samples })
    }
}

/// Rows in order of their keys, and of arrival where keys are equal.
pub(crate) enum Run<K, V> {
    Held {
        rows: Vec<(K, V)>,
        _held: Reservation,
    },
    /// In a spill file, with the first key of each frame.
    Stored {
        frames: Arc<dyn Frames>,
        firsts: Vec<K>,
    },
}

/// The first rows are all sampled, so that small inputs are cut exactly.
const SAMPLE_ALL: u64 = 256;
/// After that, one of so many on average.
const SAMPLE_EVERY: u32 = 128;
/// Rows of a frame of a stored run: readers hold one frame of every run, so these are small.
const FRAME_BYTES: u64 = 32 << 10;

/// Takes the samples: which rows is a function of their numbers alone.
struct Sampler<K> {
    random: Xoshiro256PlusPlus,
    samples: Vec<(K, u32)>,
    next: u64,
    gap: u32,
}

impl<K: Clone> Sampler<K> {
    fn new(partition: u32) -> Self {
        Sampler {
            random: Xoshiro256PlusPlus::seed_from_u64(u64::from(partition)),
            samples: Vec::new(),
            next: 0,
            gap: 1,
        }
    }

    /// Looks at row number `row`.
    fn look(&mut self, row: u64, key: &K) {
        if row == self.next {
            self.samples.push((key.clone(), self.gap));
            // Gaps are random, so that no period of the data can fall in with them.
            self.gap = if row < SAMPLE_ALL { 1 } else { self.random.random_range(1..SAMPLE_EVERY * 2) };
            self.next += u64::from(self.gap);
        }
    }
}

/// The map tasks of a sort.
pub(crate) struct RunsStage<P> {
    pub(crate) input: P,
    pub(crate) ranges: u32,
    pub(crate) op: Op,
}

impl<P: Ship> Ship for RunsStage<P> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.input.encode(to)?;
        to.value(&(self.ranges, self.op))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let input = P::decode(from)?;
        let (ranges, op) = from.value()?;
        Ok(RunsStage { input, ranges, op })
    }
}

impl<K: Row + Ord, V: Row, P: Pipe<Item = (K, V)>> StageCode for RunsStage<P> {
    fn run(&self, partition: u32, task: &Task) -> Result<Output> {
        let mut cursor = self.input.open(partition, task)?;
        let mut sampler = Sampler::new(partition);
        let mut maker = RunMaker {
            rows: Vec::new(),
            size: RowSize::new(),
            bytes: 0,
            working: task.host().memory().reservation(),
            leaving: task.host().block(task.place())?.map(|writer| (writer, Vec::new())),
            runs: Vec::new(),
            op: self.op,
            task,
        };
        let (mut row, mut failed) = (0, None);
        drive(&mut cursor, task, &mut |item: (K, V)| {
            sampler.look(row, &item.0);
            maker.rows.push(item);
            row += 1;
            if maker.rows.len().is_multiple_of(1024) || row == 1 {
                return unless_failed(maker.look(), &mut failed);
            }
            CONTINUE
        })?;
        failed.map_or(Ok(()), Err)?;
        maker.seal()?;
        let bytes = maker.bytes;
        let block: Shared = match maker.leaving {
            Some((writer, firsts)) => {
                let mut head = Vec::new();
                codec::encode(&(firsts, sampler.samples), &mut head)?;
                writer.seal(&head)?
            }
            None => Arc::new(RunBlock { runs: maker.runs, samples: sampler.samples }),
        };
        // The ranges are not known yet, but they will be about even.
        let bucket_bytes = vec![bytes / u64::from(self.ranges.max(1)); self.ranges as usize];
        Ok(Output { made: Made::Block(block), rows: row, checksum: row, bytes, bucket_bytes })
    }
}

struct RunMaker<'a, K, V> {
    rows: Vec<(K, V)>,
    size: RowSize<(K, V)>,
    /// What the sealed runs hold.
    bytes: u64,
    working: Reservation,
    runs: Vec<Run<K, V>>,
    /// Where the runs go if other processes are to read them, with the first key of each frame of each run.
    leaving: Option<(Box<dyn BlockWriter>, Vec<Vec<K>>)>,
    op: Op,
    task: &'a Task,
}

impl<K: Row + Ord, V: Row> RunMaker<'_, K, V> {
    /// Seals the run if it is long enough.
    fn look(&mut self) -> Result<()> {
        if let Some(row) = self.rows.last() {
            if self.rows.len() == 1 && self.bytes == 0 {
                codec::prove_carried(row)?;
            }
            self.size.sample(row);
        }
        let bytes = self.size.of(self.rows.len());
        if bytes >= chunk_bytes(self.task) {
            return self.seal();
        }
        self.working.insist(bytes.saturating_sub(self.working.bytes()));
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        self.op.call(|| rows.sort_by(|a, b| a.0.cmp(&b.0)));
        let bytes = self.size.of(rows.len());
        self.bytes += bytes;
        let frame_rows = (FRAME_BYTES / self.size.of(1).max(1)).clamp(16, 4096) as usize;
        let mut frame = Vec::new();
        let mut firsts = Vec::new();
        if let Some((writer, runs)) = &mut self.leaving {
            writer.sequence()?;
            for rows in rows.chunks(frame_rows) {
                encode_rows(rows, &mut frame)?;
                firsts.push(rows[0].0.clone());
                writer.frame(&frame)?;
            }
            runs.push(firsts);
            rows.clear();
            self.rows = rows;
            return Ok(());
        }
        let mut held = self.task.host().memory().reservation();
        if held.hold(bytes) {
            rows.shrink_to_fit();
            self.runs.push(Run::Held { rows, _held: held });
            return Ok(());
        }
        let mut writer = self.task.host().spill()?;
        for rows in rows.chunks(frame_rows) {
            encode_rows(rows, &mut frame)?;
            firsts.push(rows[0].0.clone());
            writer.frame(&frame)?;
        }
        self.runs.push(Run::Stored { frames: writer.finish()?, firsts });
        rows.clear();
        self.rows = rows;
        Ok(())
    }
}
