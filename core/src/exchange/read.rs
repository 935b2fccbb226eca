//! The reading end of an exchange: the rows of some buckets, slice by slice, in the order of the map tasks.

use super::block::{Block, BlockKind, Decoded, open_sealed};
use super::hash::Buckets;
use super::spool::{Spooled, SpooledRows};
use crate::data::{Boxed, BoxedCursor};
use crate::gather::gather;
use crate::heap::heap_bytes;
use crate::host::{BlockValue, Fetched, FrameRequest, Prefetched};
use crate::lineage::Exchange;
use crate::pipe::{BATCH, Pipe, Step};
use crate::row::Row;
use crate::ship::{Decoder, Encoder, Ship, ship};
use crate::task::TaskContext;
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::ids::ExchangeId;
use tryworks_base::{Error, Result, codec};

/// Where the rows of a keyed operator come from.
#[derive(Clone)]
pub(crate) enum Side<T> {
    /// Through an exchange.
    Shuffled(Shuffled),
    /// From the same partition of the input, which is already partitioned the right way.
    Direct(Boxed<T>),
}

/// An exchange as its reader knows it.
#[derive(Clone)]
pub(crate) struct Shuffled {
    id: ExchangeId,
    maps: u32,
    buckets: Buckets,
    /// On the driver, this keeps the blocks alive.
    _held: Option<Arc<Exchange>>,
}

impl Shuffled {
    pub(crate) fn new(exchange: &Arc<Exchange>, buckets: Buckets) -> Self {
        Shuffled { id: exchange.id, maps: exchange.input.partitions, buckets, _held: Some(exchange.clone()) }
    }

    /// The id of the exchange.
    pub(crate) fn id(&self) -> ExchangeId {
        self.id
    }

    /// The blocks of all map tasks, in order.
    pub(crate) fn blocks<B: BlockKind>(&self, task: &TaskContext) -> Result<Vec<Arc<B>>> {
        let mut blocks = Vec::with_capacity(self.maps as usize);
        for map in 0..self.maps {
            let block = match task.host().fetch(self.id, map)? {
                Fetched::Value(block) => B::of_value(block),
                Fetched::Sealed(sealed) => open_sealed::<B>(&sealed).map(BlockValue::get).transpose(),
            };
            match block {
                Some(Ok(block)) => blocks.push(block),
                Some(Err(error)) => return Err(lost(self.id, map, error)),
                None => return Err(other_type(self.id)),
            }
        }
        Ok(blocks)
    }

    /// Names the frames that are read next.
    fn prefetch(&self, wanted: Vec<FrameRequest>, task: &TaskContext) -> Result<Prefetched> {
        task.host().prefetch(self.id, &mut wanted.into_iter())
    }
}

#[cold]
#[inline(never)]
fn other_type(exchange: ExchangeId) -> Error {
    Error::Bug(format!("{exchange} holds blocks of another type"))
}

/// The error if a block could not be read. If intact bytes are not rows, that is a mistake in the type and no loss:
/// recomputing the block would give the same bytes.
pub(crate) fn lost(exchange: ExchangeId, map: u32, error: Error) -> Error {
    match error {
        Error::Type { .. } => error,
        other => Error::Fetch { exchange, map, message: other.to_string() },
    }
}

ship!([] Shuffled { id: value, maps: value, buckets: value, _held: none });

impl<T: Send + 'static> Ship for Side<T> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        match self {
            Side::Shuffled(shuffled) => {
                to.value(&true)?;
                shuffled.encode(to)
            }
            Side::Direct(pipe) => {
                to.value(&false)?;
                pipe.encode(to)
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(if from.value()? { Side::Shuffled(Ship::decode(from)?) } else { Side::Direct(Ship::decode(from)?) })
    }
}

impl<T: Row> Side<T> {
    /// The number of sub-partitions of a reader.
    pub(crate) fn parts(&self) -> u32 {
        match self {
            Side::Shuffled(shuffled) => shuffled.buckets.each,
            Side::Direct(_) => 1,
        }
    }

    /// Opens a reader's rows.
    pub(crate) fn open(&self, reader: u32, task: &TaskContext) -> Result<Opened<T>> {
        Ok(match self {
            Side::Shuffled(shuffled) => {
                let blocks: Arc<[Arc<Block<T>>]> = shuffled.blocks(task)?.into();
                let buckets = shuffled.buckets.of_reader(reader);
                let mut wanted = Vec::new();
                for (map, block) in (0u32..).zip(&*blocks) {
                    want(map, block, buckets.start as usize..buckets.end as usize, &mut wanted);
                }
                let prefetched = shuffled.prefetch(wanted, task)?;
                Opened::Shuffled { exchange: shuffled.id, blocks, buckets, prefetched }
            }
            Side::Direct(pipe) => Opened::Direct { pipe: pipe.clone(), partition: reader, task: task.clone() },
        })
    }
}

/// Adds the frames that a reader of these buckets reads of a block outside memory.
fn want<T>(map: u32, block: &Block<T>, frames: Range<usize>, wanted: &mut Vec<FrameRequest>) {
    for (sequence, chunk) in block.chunks.iter().enumerate() {
        if chunk.is_stored() {
            wanted.push(FrameRequest { map, sequence, frames: frames.clone() });
        }
    }
}

/// A reader's rows, ready to be read any number of times.
pub(crate) enum Opened<T> {
    Shuffled {
        exchange: ExchangeId,
        blocks: Arc<[Arc<Block<T>>]>,
        buckets: Range<u32>,
        prefetched: Prefetched,
    },
    Direct {
        pipe: Boxed<T>,
        partition: u32,
        task: TaskContext,
    },
    /// Rows that were read in place and then spooled, so that they are not recomputed each time.
    Spooled(Spooled<T>),
}

impl<T: Row> Opened<T> {
    /// The rows of a range of sub-partitions, from the beginning.
    pub(crate) fn rows(&self, parts: Range<u32>) -> Result<Rows<T>> {
        Ok(match self {
            Opened::Shuffled { exchange, blocks, buckets, prefetched } => {
                let buckets = buckets.start + parts.start..buckets.start + parts.end;
                Rows::Shuffled(Walk::new(*exchange, blocks.clone(), buckets, prefetched.clone()))
            }
            Opened::Direct { pipe, partition, task } => {
                let cursor = pipe.open(*partition, task)?;
                Rows::Direct(Direct { cursor, rows: Vec::new(), at: 0, task: task.clone() })
            }
            Opened::Spooled(spooled) => Rows::Spooled(spooled.rows()),
        })
    }
}

impl Shuffled {
    /// The rows of one reader, if rows were dealt out to the readers in turn. Each map task began with the first
    /// bucket, because it did not know how many rows the tasks before it had. So this reader's bucket is shifted by the
    /// number of those rows. Then the numbers of rows of any two readers differ by at most one.
    pub(crate) fn dealt<T: Row>(&self, reader: u32, task: &TaskContext) -> Result<Rows<T>> {
        let blocks: Arc<[Arc<Block<T>>]> = self.blocks(task)?.into();
        let readers = u64::from(self.buckets.count());
        let (mut before, mut turns, mut wanted) = (0, Vec::new(), Vec::new());
        for (map, block) in (0u32..).zip(&*blocks) {
            let bucket = (u64::from(reader) + readers - before % readers) % readers;
            before += block.rows();
            turns.push(bucket as u32);
            want(map, block, bucket as usize..bucket as usize + 1, &mut wanted);
        }
        let prefetched = self.prefetch(wanted, task)?;
        Ok(Rows::Shuffled(Walk { turns, ..Walk::new(self.id, blocks, 0..1, prefetched) }))
    }
}

impl<T: Row> Opened<T> {
    /// The approximate number of rows. Blocks in spill files count as if all of their buckets had equally many rows.
    pub(crate) fn rows_hint(&self) -> u64 {
        let Opened::Shuffled { blocks, buckets, .. } = self else { return 0 };
        let mut rows = 0;
        for block in &**blocks {
            for chunk in &block.chunks {
                rows += chunk.rows_hint(buckets.clone());
            }
        }
        rows
    }
}

/// Rows being read.
pub(crate) enum Rows<T> {
    Shuffled(Walk<T>),
    Direct(Direct<T>),
    Spooled(SpooledRows<T>),
}

/// Rows that are read in place.
pub(crate) struct Direct<T> {
    cursor: BoxedCursor<T>,
    /// The rows of the last step. Those before `at` were returned.
    rows: Vec<T>,
    at: usize,
    task: TaskContext,
}

impl<T: Row> Direct<T> {
    /// Reads the next step if all rows of the last one were returned. False at the end.
    fn fill(&mut self) -> Result<bool> {
        while self.at == self.rows.len() {
            self.rows.clear();
            self.at = 0;
            let step = gather(&mut self.cursor, BATCH, &self.task, &mut self.rows, heap_bytes)?;
            if step == Step::Done && self.rows.is_empty() {
                return Ok(false);
            }
            // These rows may be spooled.
            if self.task.checks_rows() {
                codec::prove_rows(&mut self.rows, true)?;
            }
        }
        Ok(true)
    }
}

/// A walk over buckets, in each bucket over map tasks, and over the chunks of each task.
pub(crate) struct Walk<T> {
    exchange: ExchangeId,
    blocks: Arc<[Arc<Block<T>>]>,
    buckets: Range<u32>,
    /// The bucket to read of each map task, if it differs between them.
    turns: Vec<u32>,
    map: usize,
    chunk: usize,
    row: usize,
    /// How many rows of the chunk are in the bucket; `None` if the chunk is not open yet.
    rows: Option<usize>,
    decoded: Decoded<T>,
    _prefetched: Prefetched,
}

impl<T: Row> Rows<T> {
    /// The next rows, at most `budget` of them; `None` at the end.
    pub(crate) fn next(&mut self, budget: usize) -> Result<Option<&[T]>> {
        match self {
            Rows::Shuffled(walk) => walk.next(budget),
            Rows::Spooled(rows) => rows.next(budget),
            Rows::Direct(direct) => {
                if !direct.fill()? {
                    return Ok(None);
                }
                let start = direct.at;
                direct.at = direct.rows.len().min(start.saturating_add(budget));
                Ok(Some(&direct.rows[start..direct.at]))
            }
        }
    }

    /// The last `count` of the rows that were returned last are returned again.
    pub(crate) fn give_back(&mut self, count: usize) {
        let at = match self {
            Rows::Shuffled(walk) => &mut walk.row,
            Rows::Spooled(rows) => &mut rows.at,
            Rows::Direct(direct) => &mut direct.at,
        };
        *at -= count;
    }
}

impl<T: Row> Walk<T> {
    fn new(exchange: ExchangeId, blocks: Arc<[Arc<Block<T>>]>, buckets: Range<u32>, prefetched: Prefetched) -> Self {
        let (turns, map, chunk, row, rows, decoded) = (Vec::new(), 0, 0, 0, None, Decoded::default());
        Walk { exchange, blocks, buckets, turns, map, chunk, row, rows, decoded, _prefetched: prefetched }
    }

    fn next(&mut self, budget: usize) -> Result<Option<&[T]>> {
        let (chunk, bucket, rows) = loop {
            if self.buckets.is_empty() {
                return Ok(None);
            }
            // Buckets are the outer loop: a reader finishes one bucket of all map tasks before the next one.
            let bucket = self.turns.get(self.map).copied().unwrap_or(self.buckets.start);
            let Some(block) = self.blocks.get(self.map) else {
                self.map = 0;
                self.buckets.start += 1;
                continue;
            };
            let Some(chunk) = block.chunks.get(self.chunk) else {
                self.chunk = 0;
                self.map += 1;
                continue;
            };
            let rows = match self.rows {
                Some(rows) => rows,
                None => {
                    let lost = |error| lost(self.exchange, self.map as u32, error);
                    *self.rows.insert(chunk.open(bucket, &mut self.decoded, lost)?)
                }
            };
            if self.row >= rows {
                self.chunk += 1;
                (self.row, self.rows) = (0, None);
                continue;
            }
            let start = self.row;
            self.row = rows.min(start.saturating_add(budget));
            break (chunk, bucket, start..self.row);
        };
        Ok(Some(&chunk.rows(bucket, &self.decoded)[rows]))
    }
}
