//! Blocks: the output of one map task, in chunks that are ordered by bucket, each in memory or in a spill file.

use super::spool::Spoolable;
use crate::host::{BlockValue, Host, SealedBlock};
use crate::row::Row;
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::frames::Frames;
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result, codec};

/// The output of one map task for an exchange.
pub(crate) struct Block<T> {
    pub(crate) chunks: Vec<Chunk<T>>,
}

/// A kind of block that can be restored from its sealed form.
pub(crate) trait BlockKind: Send + Sync + Sized + 'static {
    fn open(sealed: &SealedBlock) -> Result<Self>;

    /// The block that a map task left in this process; `None` if it is of another kind.
    fn of_value(value: BlockValue) -> Option<Result<Arc<Self>>> {
        value.get().map(Ok)
    }
}

/// Opens a sealed block, once for all tasks of the process that read it.
pub(crate) fn open_sealed<B: BlockKind>(sealed: &SealedBlock) -> Result<BlockValue> {
    if let Some(opened) = sealed.opened.get() {
        return Ok(opened.clone());
    }
    let opened = BlockValue::new(B::open(sealed)?);
    Ok(sealed.opened.get_or_init(|| opened).clone())
}

impl<T> Block<T> {
    /// The number of rows.
    pub(crate) fn rows(&self) -> u64 {
        let mut all = 0;
        for chunk in &self.chunks {
            match chunk {
                Chunk::Held { rows, .. } => all += rows.len() as u64,
                Chunk::Gathered { buckets, .. } => all += rows_of(buckets),
                Chunk::Stored { rows, .. } => all += rows,
            }
        }
        all
    }
}

/// The chunks of a sealed block, with the number of rows in each.
fn stored_chunks(sealed: &SealedBlock) -> Result<Vec<(Arc<dyn Frames>, u64)>> {
    let (rows, _) = codec::decode::<Vec<u64>>(&sealed.head)?;
    if rows.len() != sealed.sequences.len() {
        return Err(Error::Bug("a block has another number of chunks than it says".into()));
    }
    Ok(sealed.sequences.iter().cloned().zip(rows).collect())
}

impl<T: Row> BlockKind for Block<T> {
    fn open(sealed: &SealedBlock) -> Result<Self> {
        let mut chunks = Vec::new();
        for (frames, rows) in stored_chunks(sealed)? {
            chunks.push(Chunk::Stored { frames, rows });
        }
        Ok(Block { chunks })
    }

    fn of_value(value: BlockValue) -> Option<Result<Arc<Self>>> {
        let left = value.get::<LeftHere<T>>()?;
        Some(match &*left {
            LeftHere::Block(block) => Ok(block.clone()),
            LeftHere::Folded { fold, map } => fold.block(*map),
        })
    }
}

/// The output of a map task for readers in its own process.
pub(crate) enum LeftHere<T> {
    /// Its block.
    Block(Arc<Block<T>>),
    /// A part of the output that several map tasks made together. A reader finds out which rows are in it.
    Folded { fold: Arc<dyn Folds<T>>, map: u32 },
}

/// A fold over the outputs of several map tasks.
pub(crate) trait Folds<T>: Send + Sync {
    /// The rows that count as the output of a map task. The first reader ends the fold.
    fn block(&self, map: u32) -> Result<Arc<Block<T>>>;
}

/// A run of the map task's rows, ordered by bucket, and by arrival within a bucket.
pub(crate) enum Chunk<T> {
    /// In memory, as values.
    Held {
        rows: Vec<T>,
        ends: Ends,
        /// Returns memory to the budget when the block is dropped.
        _held: Reservation,
    },
    /// In memory, with one vector for each bucket.
    Gathered { buckets: Vec<Vec<T>>, _held: Vec<Arc<Reservation>> },
    /// In a spill file: frame `i` is bucket `i`.
    Stored { frames: Arc<dyn Frames>, rows: u64 },
}

/// The position in the rows where each bucket ends.
pub(crate) enum Ends {
    /// One number for each bucket.
    All(Vec<u32>),
    /// Only the buckets that have rows, for blocks with fewer rows than buckets.
    Few(Vec<(u32, u32)>),
}

impl Ends {
    /// Makes it from the number of rows in each bucket.
    pub(crate) fn of(counts: &[u32]) -> Self {
        let filled = counts.iter().filter(|&&n| n > 0).count();
        let mut end = 0;
        let ends = counts.iter().map(|n| {
            end += n;
            end
        });
        if filled * 2 >= ends.len() {
            return Ends::All(ends.collect());
        }
        let mut before = 0;
        let few = ends.enumerate().filter_map(|(bucket, end)| {
            let filled = end > before;
            before = end;
            filled.then_some((bucket as u32, end))
        });
        Ends::Few(few.collect())
    }

    /// The number of rows in a range of buckets.
    fn rows(&self, mut buckets: Range<u32>) -> u64 {
        let first = self.of_bucket(buckets.start);
        let last = buckets.next_back().map(|last| self.of_bucket(last));
        last.map_or(0, |last| last.end.saturating_sub(first.start)) as u64
    }

    /// The rows of `bucket`.
    pub(crate) fn of_bucket(&self, bucket: u32) -> std::ops::Range<usize> {
        match self {
            Ends::All(ends) => {
                let start = if bucket == 0 { 0 } else { ends[bucket as usize - 1] };
                start as usize..ends[bucket as usize] as usize
            }
            Ends::Few(ends) => match ends.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                Ok(at) => (if at == 0 { 0 } else { ends[at - 1].1 as usize })..ends[at].1 as usize,
                Err(at) => {
                    let end = if at == 0 { 0 } else { ends[at - 1].1 as usize };
                    end..end
                }
            },
        }
    }
}

/// Buffers for the rows of a bucket that has to be decoded.
pub(crate) struct Decoded<T> {
    rows: Vec<T>,
    bytes: Vec<u8>,
}

impl<T> Default for Decoded<T> {
    fn default() -> Self {
        Decoded { rows: Vec::new(), bytes: Vec::new() }
    }
}

/// The number of rows in these buckets.
fn rows_of<T>(buckets: &[Vec<T>]) -> u64 {
    let mut all = 0;
    for rows in buckets {
        all += rows.len() as u64;
    }
    all
}

impl<T> Chunk<T> {
    /// Whether the chunk is outside memory.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self, Chunk::Stored { .. })
    }
}

impl<T: Row> Chunk<T> {
    /// Prepares a bucket for reading, and returns its number of rows. `lost` makes the error if the bucket cannot be
    /// read.
    pub(crate) fn open(
        &self,
        bucket: u32,
        decoded: &mut Decoded<T>,
        lost: impl FnOnce(Error) -> Error,
    ) -> Result<usize> {
        Ok(match self {
            Chunk::Held { ends, .. } => ends.of_bucket(bucket).len(),
            Chunk::Gathered { buckets, .. } => buckets[bucket as usize].len(),
            Chunk::Stored { frames, .. } => {
                let frame = frames.view(bucket as usize, &mut decoded.bytes).map_err(lost)?;
                decode_rows(frame, &mut decoded.rows)?;
                decoded.rows.len()
            }
        })
    }

    /// The rows of a bucket. The bucket must have been opened with the same buffers.
    pub(crate) fn rows<'a>(&'a self, bucket: u32, decoded: &'a Decoded<T>) -> &'a [T] {
        match self {
            Chunk::Held { rows, ends, .. } => &rows[ends.of_bucket(bucket)],
            Chunk::Gathered { buckets, .. } => &buckets[bucket as usize],
            Chunk::Stored { .. } => &decoded.rows,
        }
    }

    /// Writes buckets of rows to a spill file.
    pub(crate) fn store(host: &dyn Host, buckets: &[Vec<T>]) -> Result<Self> {
        let mut writer = host.spill()?;
        let mut bytes = Vec::new();
        let mut count = 0;
        for rows in buckets {
            encode_rows(rows, &mut bytes)?;
            writer.frame(&bytes)?;
            count += rows.len() as u64;
        }
        Ok(Chunk::Stored { frames: writer.finish()?, rows: count })
    }

    /// The approximate number of rows in a range of buckets.
    pub(crate) fn rows_hint(&self, buckets: Range<u32>) -> u64 {
        match self {
            Chunk::Held { ends, .. } => ends.rows(buckets),
            Chunk::Gathered { buckets: all, .. } => rows_of(&all[buckets.start as usize..buckets.end as usize]),
            Chunk::Stored { frames, rows } => rows * buckets.len() as u64 / frames.len().max(1) as u64,
        }
    }
}

/// Encodes rows into a frame, which replaces the content of `bytes`. The encoding is that of a vector: the number of
/// rows, then each row. No rows make an empty frame.
pub(crate) fn encode_rows<T: Row>(rows: &[T], bytes: &mut Vec<u8>) -> Result<()> {
    begin_frame(rows.len(), bytes)?;
    for row in rows {
        codec::encode(row, bytes)?;
    }
    Ok(())
}

/// The beginning of a frame: the number of its rows.
fn begin_frame(rows: usize, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    if rows > 0 { codec::encode(&rows, bytes) } else { Ok(()) }
}

/// Makes a frame of encoded rows, which replaces the content of `bytes`.
pub(crate) fn join_rows<'a>(rows: impl ExactSizeIterator<Item = &'a [u8]>, bytes: &mut Vec<u8>) -> Result<()> {
    begin_frame(rows.len(), bytes)?;
    rows.for_each(|row| bytes.extend_from_slice(row));
    Ok(())
}

/// Decodes a frame of rows into `rows`, and replaces its content.
pub(crate) fn decode_rows<T: Spoolable>(mut bytes: &[u8], rows: &mut Vec<T>) -> Result<()> {
    rows.clear();
    let (count, taken) = count_of(bytes)?;
    bytes = &bytes[taken..];
    // A false number of rows takes little memory before the rows are missing.
    rows.reserve(count.min(CLAIMED_BYTES / size_of::<T>().max(1)));
    for _ in 0..count {
        let (row, taken) = T::read(bytes)?;
        bytes = &bytes[taken..];
        rows.push(row);
    }
    Ok(())
}

/// The most memory that is reserved for rows before they are decoded.
const CLAIMED_BYTES: usize = 1 << 20;

/// The number of rows in a frame, and the length of that number in bytes.
fn count_of(frame: &[u8]) -> Result<(usize, usize)> {
    if frame.is_empty() { Ok((0, 0)) } else { codec::decode(frame) }
}

#[cfg(test)]
mod tests {
    use super::Ends;

    #[test]
    fn both_forms_of_ends_give_the_same_ranges() {
        for counts in [vec![0, 0, 5, 0, 0, 0, 2, 0, 0], vec![1, 2, 0, 4], vec![0; 4], vec![]] {
            let ends = Ends::of(&counts);
            let mut start = 0;
            for (bucket, n) in counts.iter().enumerate() {
                let range = ends.of_bucket(bucket as u32);
                assert_eq!(range.len(), *n as usize);
                assert!(*n == 0 || range.start == start);
                start += *n as usize;
            }
        }
    }
}
