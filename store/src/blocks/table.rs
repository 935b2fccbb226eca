//! The layout of a block: frames, then a table of contents, then a footer that says where the table is.
//!
//! ```text
//! frame      body checksum              an empty frame takes no byte at all
//! checksum   a hash of (salt of the block, number of the frame in the block, body), 8 bytes
//! table      salt (8 bytes), length of the head, head, number of sequences, for each its number of frames,
//!            for each frame of all sequences twice what it takes
//! footer     where the table begins, its length, a hash of both and of the table, magic, version: 8 8 8 4 4 bytes
//! ```
//! Frames follow one another without gaps, and so do sequences. So the place of a frame follows from the lengths before
//! it. The table has numbers in seven bits a byte; the footer has them with the low byte first. Both sides are the same
//! executable, so the hash need not be a standard one.

use super::id::BlockId;
use crate::index::{Entry, Index, put_number, take_number};
use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

/// The size of the footer.
pub(super) const FOOTER: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"TWbl");
const VERSION: u32 = 1;
const CHECKSUM: usize = 8;
/// The largest size of a block: file offsets are signed.
const MOST: u64 = i64::MAX as u64;

/// What is wrong with bytes that should be a block.
pub(super) type Damage = &'static str;

/// The table of contents of a block.
pub(super) struct Table {
    /// Part of the checksums, so that another block's bytes are not taken for this one's.
    salt: u64,
    head: Vec<u8>,
    /// Where each sequence ends among the frames.
    ends: Vec<usize>,
    /// All frames of all sequences.
    frames: Index,
}

/// One frame: its number in the block, and which bytes of the block it takes with its checksum.
pub(super) struct Place {
    number: usize,
    pub(super) bytes: Range<u64>,
}

impl Table {
    pub(super) fn new(id: &BlockId) -> Self {
        let salt = FixedState::default().hash_one(id.as_bytes());
        Table { salt, head: Vec::new(), ends: Vec::new(), frames: Index::default() }
    }

    pub(super) fn begin_sequence(&mut self) {
        self.ends.push(self.frames.len());
    }

    /// Adds a frame to the last sequence. If the frame is not empty, returns the checksum that has to follow it.
    pub(super) fn push(&mut self, body: &[u8]) -> Result<Option<[u8; CHECKSUM]>, Damage> {
        let Some(end) = self.ends.last_mut() else { return Err("a frame was written before a sequence was begun") };
        let number = self.frames.len();
        let (len, sum) = match body {
            [] => (0, None),
            _ => ((body.len() + CHECKSUM) as u64, Some(checksum(self.salt, number, body))),
        };
        if !self.frames.push(len, false) {
            return Err("a block has too many frames");
        }
        *end = number + 1;
        Ok(sum)
    }

    /// Appends the table and the footer.
    pub(super) fn encode(&self, head: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.salt.to_le_bytes());
        put_number(head.len() as u64, out);
        out.extend_from_slice(head);
        put_number(self.ends.len() as u64, out);
        for sequence in 0..self.ends.len() {
            put_number(self.len_of(sequence).unwrap_or(0) as u64, out);
        }
        out.extend_from_slice(self.frames.as_bytes());
        let footer = Footer::of(self.frames.end(), &out[begin..]).encode();
        out.extend_from_slice(&footer);
    }

    /// Reads a table and its footer, which have to take all of `tail`. It allocates at most a small multiple of that.
    pub(super) fn parse(tail: &[u8]) -> Result<Table, Damage> {
        let Some((table, footer)) = tail.split_last_chunk() else { return Err("it is shorter than a footer") };
        let footer = Footer::parse(footer)?;
        if footer.len != table.len() as u64 {
            return Err("its table of contents is not as long as its footer says");
        }
        if footer.sum != Footer::of(footer.start, table).sum {
            return Err("the checksum of its table of contents does not match: what was read is not what was written");
        }
        Self::parse_table(table, footer.start).ok_or("its table of contents makes no sense")
    }

    fn parse_table(table: &[u8], capacity: u64) -> Option<Table> {
        let (salt, mut rest) = table.split_first_chunk()?;
        let head = usize::try_from(take_number(&mut rest)?).ok()?;
        let (head, mut rest) = rest.split_at_checked(head)?;
        let sequences = take_number(&mut rest)?;
        if sequences > rest.len() as u64 {
            return None;
        }
        let mut ends = Vec::with_capacity(sequences as usize);
        let mut end = 0usize;
        for _ in 0..sequences {
            end = end.checked_add(usize::try_from(take_number(&mut rest)?).ok()?)?;
            ends.push(end);
        }
        let frames = Index::parse(rest, end, capacity)?;
        let sound = |entry: Entry| !entry.compressed && (entry.len == 0 || entry.len > CHECKSUM as u64);
        let good = frames.end() == capacity && frames.entries().all(sound);
        good.then(|| Table { salt: u64::from_le_bytes(*salt), head: head.to_vec(), ends, frames })
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn sequences(&self) -> usize {
        self.ends.len()
    }

    /// The number of frames of a sequence.
    pub(super) fn len_of(&self, sequence: usize) -> Option<usize> {
        Some(*self.ends.get(sequence)? - self.first_of(sequence)?)
    }

    fn first_of(&self, sequence: usize) -> Option<usize> {
        if sequence == 0 { Some(0) } else { self.ends.get(sequence - 1).copied() }
    }

    pub(super) fn place(&self, sequence: usize, frame: usize) -> Option<Place> {
        if frame >= self.len_of(sequence)? {
            return None;
        }
        let number = self.first_of(sequence)? + frame;
        let Entry { start, len, .. } = self.frames.get(number)?;
        Some(Place { number, bytes: start..start + len })
    }

    /// Which bytes of the block the given frames of a sequence take.
    pub(super) fn range(&self, sequence: usize, frames: Range<usize>) -> Option<Range<u64>> {
        if frames.is_empty() {
            return (frames.end <= self.len_of(sequence)?).then_some(0..0);
        }
        let first = self.place(sequence, frames.start)?;
        Some(first.bytes.start..self.place(sequence, frames.end - 1)?.bytes.end)
    }

    /// Where the frames end.
    pub(super) fn frames_end(&self) -> u64 {
        self.frames.end()
    }

    /// The content of a frame's bytes, if its checksum fits.
    pub(super) fn body<'a>(&self, place: &Place, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (body, sum) = bytes.split_last_chunk()?;
        (*sum == checksum(self.salt, place.number, body)).then_some(body)
    }

    /// About how many bytes it takes in memory.
    pub(super) fn held(&self) -> u64 {
        self.frames.held() + (self.head.capacity() + self.ends.capacity() * size_of::<usize>()) as u64
    }
}

/// It detects damage, not malice.
fn checksum(salt: u64, number: usize, body: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = FixedState::with_seed(salt).build_hasher();
    hasher.write_u64(number as u64);
    hasher.write(body);
    hasher.finish().to_le_bytes()
}

/// The end of a block.
pub(super) struct Footer {
    /// Where the table begins.
    pub(super) start: u64,
    /// Its size in bytes.
    len: u64,
    sum: u64,
}

impl Footer {
    pub(super) fn of(start: u64, table: &[u8]) -> Self {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write_u64(start);
        hasher.write_u64(table.len() as u64);
        hasher.write(table);
        Footer { start, len: table.len() as u64, sum: hasher.finish() }
    }

    pub(super) fn encode(&self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sum.to_le_bytes());
        bytes[24..28].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[28..].copy_from_slice(&VERSION.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; FOOTER]) -> Result<Self, Damage> {
        let ([start, len, sum, marks], []) = bytes.as_chunks::<8>() else { return Err("it is no footer") };
        let marks = u64::from_le_bytes(*marks);
        if marks as u32 != MAGIC {
            return Err("it does not end like a block");
        }
        if marks >> 32 != u64::from(VERSION) {
            return Err("it is written in another version of the format");
        }
        let [start, len, sum] = [start, len, sum].map(|bytes| u64::from_le_bytes(*bytes));
        let whole = start.checked_add(len).and_then(|sum| sum.checked_add(FOOTER as u64));
        if whole.is_none_or(|whole| whole > MOST) {
            return Err("it claims to be longer than a file can be");
        }
        Ok(Footer { start, len, sum })
    }

    /// Reads the last bytes of a block of `bytes` bytes.
    pub(super) fn at_end_of(tail: &[u8], bytes: u64) -> Result<Self, Damage> {
        let footer = tail.last_chunk().ok_or("it is shorter than a footer")?;
        let footer = Footer::parse(footer)?;
        if footer.start + footer.len + FOOTER as u64 != bytes {
            return Err("it is not as long as its footer says");
        }
        Ok(footer)
    }
}
