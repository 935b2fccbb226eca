//! A sequence of frames in a shared file: written through a buffer, read frame by frame and checked by checksum.
//!
//! ```text
//! frame      body checksum          an empty frame takes no byte at all
//! body       the bytes as they came, or (length before compression: u32) (lz4 block)
//! checksum   a hash of (sequence, frame, compressed?, body)
//! ```
//! Frames follow one another without gaps. The sequence as a whole lies in extents of the file, in order; the last one
//! is padded to a whole block.

use super::file::{BLOCK, SharedFile};
use super::space::Inner;
use crate::index::{Entry, Index};
use foldhash::quality::FixedState;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result};

/// How much is buffered before it is written.
const BUFFER: usize = 256 * 1024;
/// Smaller frames are not worth compressing.
const COMPRESS_FROM: usize = 64;
/// Nor are larger frames: lz4 would need as much memory again.
const COMPRESS_TO: usize = 1 << 30;
/// Scratch memory above this is freed after use.
const SCRATCH: usize = 1 << 20;
const CHECKSUM: usize = 8;

thread_local! {
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's scratch memory.
fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = PACKED.take();
    let answer = work(&mut scratch);
    if scratch.capacity() <= SCRATCH {
        PACKED.set(scratch);
    }
    answer
}

/// It detects damage, not malice: no other process can open the file.
fn checksum(sequence: u64, frame: usize, compressed: bool, body: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = FixedState::with_seed(sequence).build_hasher();
    hasher.write_u64((frame as u64) << 1 | u64::from(compressed));
    hasher.write(body);
    hasher.finish().to_le_bytes()
}

/// The ranges of a file that a sequence has; freed when dropped.
struct Extents {
    space: Arc<Inner>,
    file: Arc<SharedFile>,
    ranges: Vec<Range<u64>>,
}

impl Extents {
    /// Writes `bytes` at the end of the sequence. All but the last call bring whole blocks.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let len = (bytes.len() as u64).next_multiple_of(BLOCK);
        self.space.reserve(len)?;
        let range = self.file.take(len);
        let written = self.file.write(bytes, range.start);
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
        written.map_err(|error| self.space.refused(len, &error))?;
        self.space.memory.note_spilled(bytes.len() as u64);
        Ok(())
    }

    /// Reads the bytes at `start` in the sequence.
    fn read(&self, mut start: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        for range in &self.ranges {
            let len = range.end - range.start;
            if start < len {
                let here = bytes.len().min((len - start) as usize);
                let (now, later) = bytes.split_at_mut(here);
                self.file.read(now, range.start + start)?;
                if later.is_empty() {
                    return Ok(());
                }
                bytes = later;
                start += here as u64;
            }
            start -= len;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

impl Drop for Extents {
    fn drop(&mut self) {
        for range in self.ranges.drain(..) {
            let len = range.end - range.start;
            self.file.give(range);
            self.space.give_back(len);
        }
    }
}

/// A sequence being written.
pub(super) struct Writer {
    sequence: u64,
    extents: Extents,
    index: Index,
    buffer: Vec<u8>,
    held: Reservation,
    /// How many frames in a row compression did not shrink, and how many frames are therefore not compressed.
    misses: u32,
    skip: u32,
}

impl Writer {
    pub(super) fn new(space: &Arc<Inner>, file: Arc<SharedFile>, sequence: u64) -> Self {
        let extents = Extents { space: space.clone(), file, ranges: Vec::new() };
        let held = space.memory.reservation();
        Writer { sequence, extents, index: Index::default(), buffer: Vec::new(), held, misses: 0, skip: 0 }
    }

    fn worth_compressing(&mut self, len: usize) -> bool {
        if !self.extents.space.options.compress || !(COMPRESS_FROM..=COMPRESS_TO).contains(&len) {
            return false;
        }
        self.skip = self.skip.saturating_sub(1);
        self.skip == 0
    }

    /// Compresses `body` into the front of `packed`, and returns the compressed size if it is smaller.
    fn compress(&mut self, body: &[u8], packed: &mut Vec<u8>) -> Option<usize> {
        let head = size_of::<u32>();
        let most = head + lz4_flex::block::get_maximum_output_size(body.len());
        if packed.len() < most {
            packed.resize(most, 0);
        }
        packed[..head].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let taken = lz4_flex::block::compress_into(body, &mut packed[head..]).unwrap_or(usize::MAX);
        if taken < body.len() / 8 * 7 {
            self.misses = 0;
            return Some(head + taken);
        }
        self.misses = (self.misses + 1).min(6);
        self.skip = 1 << self.misses;
        None
    }

    fn store(&mut self, body: &[u8], compressed: bool) -> Result<()> {
        let sum = checksum(self.sequence, self.index.len(), compressed, body);
        if !self.index.push((body.len() + CHECKSUM) as u64, compressed) {
            return Err(Error::Bug("a spilled sequence has too many frames".into()));
        }
        self.put(body)?;
        self.put(&sum)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let here = bytes.len().min(BUFFER - self.buffer.len());
            let (now, later) = bytes.split_at(here);
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.extents.append(&self.buffer)?;
                self.buffer.clear();
            }
        }
        if self.buffer.capacity() as u64 > self.held.bytes() {
            self.held.insist(self.buffer.capacity() as u64 - self.held.bytes());
        }
        Ok(())
    }
}

impl FrameWriter for Writer {
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            let pushed = self.index.push(0, false);
            return if pushed { Ok(()) } else { Err(Error::Bug("a spilled sequence has too many frames".into())) };
        }
        if self.worth_compressing(bytes.len()) {
            return with_scratch(|packed| match self.compress(bytes, packed) {
                Some(len) => self.store(&packed[..len], true),
                None => self.store(bytes, false),
            });
        }
        self.store(bytes, false)
    }

    fn finish(mut self: Box<Self>) -> Result<Arc<dyn Frames>> {
        if !self.buffer.is_empty() {
            self.extents.append(&self.buffer)?;
        }
        self.index.shrink();
        self.extents.ranges.shrink_to_fit();
        let Writer { sequence, extents, index, .. } = *self;
        let mut held = extents.space.memory.reservation();
        held.insist(index.held() + (extents.ranges.capacity() * size_of::<Range<u64>>()) as u64);
        Ok(Arc::new(Sequence { sequence, extents, index, _held: held }))
    }
}

/// A finished sequence.
struct Sequence {
    sequence: u64,
    extents: Extents,
    index: Index,
    _held: Reservation,
}

impl Sequence {
    fn damaged(&self, frame: usize, why: impl std::fmt::Display) -> Error {
        Error::Storage {
            doing: format!("reading frame {frame} of spilled sequence {}", self.sequence),
            path: self.extents.space.dir.display().to_string(),
            message: why.to_string(),
        }
    }

    /// Reads the body of a frame and checks it.
    fn body(&self, frame: usize, Entry { start, len, compressed }: Entry, body: &mut Vec<u8>) -> Result<()> {
        body.resize(len as usize, 0);
        self.extents.read(start, body).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(frame, "the file ends inside it"),
            _ => self.damaged(frame, error),
        })?;
        let matches = body
            .split_last_chunk::<CHECKSUM>()
            .is_some_and(|(body, sum)| *sum == checksum(self.sequence, frame, compressed, body));
        body.truncate(body.len().saturating_sub(CHECKSUM));
        if matches {
            return Ok(());
        }
        Err(self.damaged(frame, "its checksum does not match: what was read is not what was written"))
    }

    fn unpack(&self, frame: usize, packed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Some((len, block)) = packed.split_first_chunk::<4>() else {
            return Err(self.damaged(frame, "it is too short"));
        };
        let len = u32::from_le_bytes(*len) as usize;
        if len > COMPRESS_TO {
            return Err(self.damaged(frame, "it claims to be longer than a frame can be"));
        }
        out.resize(len, 0);
        let taken = lz4_flex::block::decompress_into(block, out).map_err(|error| self.damaged(frame, error))?;
        if taken == len { Ok(()) } else { Err(self.damaged(frame, "it is shorter than it says")) }
    }
}

impl Frames for Sequence {
    fn view<'a>(&'a self, index: usize, out: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let Some(entry) = self.index.get(index) else {
            return Err(Error::Bug(format!(
                "frame {index} of a spilled sequence of {} was asked for",
                self.index.len()
            )));
        };
        let done = match entry {
            Entry { len: 0, .. } => {
                return Ok(&[]);
            }
            Entry { compressed: true, .. } => with_scratch(|packed| {
                self.body(index, entry, packed)?;
                self.unpack(index, packed, out)
            }),
            Entry { compressed: false, .. } => self.body(index, entry, out),
        };
        done.map(|()| out.as_slice())
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn bytes(&self) -> u64 {
        self.extents.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_changes_the_checksum() {
        for len in [1, 8, 16, 17, 100, 1000, 4096] {
            let mut body: Vec<u8> = (0..len).map(|i: u32| (i * 7) as u8).collect();
            let sum = checksum(3, 5, false, &body);
            for bit in 0..body.len() * 8 {
                body[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum(3, 5, false, &body), sum, "bit {bit} of {len} bytes");
                body[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(checksum(3, 5, false, &body), sum);
            let zeros = vec![0; len as usize];
            let others = [(4, 5, false), (3, 6, false), (3, 5, true)];
            assert!(others.iter().all(|(sequence, frame, packed)| checksum(*sequence, *frame, *packed, &body) != sum));
            assert!(others.iter().all(|(sequence, frame, packed)| checksum(*sequence, *frame, *packed, &zeros) != sum));
        }
        assert_ne!(checksum(0, 0, false, &[0; 4096]), [0; CHECKSUM], "a hole in the file is no frame");
    }
}
