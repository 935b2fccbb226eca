//! Reads a block: mapped from a file of this machine, from memory, or from ranges that another machine sent.

use super::held::Held;
use super::id::shown;
use super::map::map;
use super::segments::Segments;
use super::table::{Damage, Footer, Table};
use bytes::Bytes;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::frames::Frames;
use tryworks_base::{Error, Result};

/// A block that can be read.
pub struct OpenBlock {
    /// The name in errors.
    name: String,
    table: Table,
    source: Source,
}

enum Source {
    /// The whole block, in memory or mapped.
    Whole(Bytes),
    /// Parts of it.
    Remote(Segments),
}

impl OpenBlock {
    /// Opens the sealed block at `path` in the directory of a store of this machine.
    ///
    /// # Errors
    /// If it does not exist any more, or is no block.
    pub fn file(path: &Path) -> Result<Arc<Self>> {
        let name = shown(path);
        let open = || {
            let file = File::open(path)?;
            map(&file, file.metadata()?.len())
        };
        let bytes = open().map_err(|error| Error::storage("opening a block", &name, &error))?;
        Self::whole(name, bytes)
    }

    /// Opens a block in memory. Errors call it `name`.
    ///
    /// # Errors
    /// If it is no block.
    pub fn memory(name: impl Into<String>, bytes: Bytes) -> Result<Arc<Self>> {
        Self::whole(name.into(), bytes)
    }

    /// Opens a block that a store holds.
    ///
    /// # Errors
    /// As for [`file`](OpenBlock::file).
    pub fn held(held: &Held) -> Result<Arc<Self>> {
        match held {
            Held::File { path, .. } => Self::file(path),
            Held::Small(bytes) => Self::memory("a small block", bytes.clone()),
        }
    }

    /// A block on another machine, whose table of contents has arrived (see [`Served::table`](super::Served::table)).
    /// Bytes that are [`missing`](OpenBlock::missing) have to be supplied before they are viewed. Errors call the block
    /// `name`. Bytes that one reader forgets are gone for all readers, so each opens the block for itself.
    ///
    /// # Errors
    /// If the bytes are no table of contents.
    pub fn remote(name: impl Into<String>, table: &[u8]) -> Result<Arc<Self>> {
        let name = name.into();
        let table = Table::parse(table).map_err(|why| no_block(&name, why))?;
        Ok(Arc::new(OpenBlock { name, table, source: Source::Remote(Segments::default()) }))
    }

    fn whole(name: String, bytes: Bytes) -> Result<Arc<Self>> {
        let parse = || {
            let footer = Footer::at_end_of(&bytes, bytes.len() as u64)?;
            Table::parse(bytes.get(footer.start as usize..).unwrap_or_default())
        };
        let table = parse().map_err(|why| no_block(&name, why))?;
        Ok(Arc::new(OpenBlock { name, table, source: Source::Whole(bytes) }))
    }

    /// The head that the writer gave to [`seal`](super::BlockWriter::seal).
    pub fn head(&self) -> &[u8] {
        self.table.head()
    }

    /// The number of sequences.
    pub fn sequences(&self) -> usize {
        self.table.sequences()
    }

    /// One sequence of the block.
    ///
    /// # Errors
    /// If the block has fewer, which is a bug of the caller's.
    pub fn sequence(self: &Arc<Self>, sequence: usize) -> Result<BlockSequence> {
        let len = self.table.len_of(sequence).ok_or_else(|| self.beyond(sequence, 0..0))?;
        Ok(BlockSequence { block: self.clone(), sequence, len })
    }

    /// Which bytes of the block the given frames of a sequence take.
    ///
    /// # Errors
    /// If the block has fewer, which is a bug of the caller's.
    pub fn range(&self, sequence: usize, frames: Range<usize>) -> Result<Range<u64>> {
        self.table.range(sequence, frames.clone()).ok_or_else(|| self.beyond(sequence, frames))
    }

    /// The bytes that have to be [supplied](OpenBlock::supply) before these frames can be viewed; empty if the block is
    /// on this machine.
    ///
    /// # Errors
    /// If there are fewer frames, which is a bug of the caller's.
    pub fn missing(&self, sequence: usize, frames: Range<usize>) -> Result<Vec<Range<u64>>> {
        let range = self.range(sequence, frames)?;
        Ok(match &self.source {
            Source::Whole(_) => Vec::new(),
            Source::Remote(segments) => segments.missing(range),
        })
    }

    /// Adds bytes of the block that begin at `start`, from the network or from a [`Landing`](super::Landing), in pieces
    /// of any size. A slice keeps the whole allocation that it is a part of.
    ///
    /// # Errors
    /// If they lie beyond the frames, or if the block is on this machine.
    pub fn supply(&self, start: u64, data: &Bytes) -> Result<()> {
        let Source::Remote(segments) = &self.source else {
            return Err(Error::Bug(format!("bytes were supplied for {}, which is on this machine", self.name)));
        };
        let end = start.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > self.table.frames_end()) {
            return Err(no_block(&self.name, "bytes were sent that lie beyond its frames"));
        }
        segments.supply(start, data);
        Ok(())
    }

    /// Drops bytes that were supplied.
    pub fn forget(&self, range: Range<u64>) {
        if let Source::Remote(segments) = &self.source {
            segments.forget(range);
        }
    }

    /// Where the frames end and the table of contents begins.
    pub fn frames_end(&self) -> u64 {
        self.table.frames_end()
    }

    /// About how many bytes its table of contents takes in memory.
    pub fn held_bytes(&self) -> u64 {
        self.table.held()
    }

    fn view<'a>(&'a self, sequence: usize, frame: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let place = self.table.place(sequence, frame).ok_or_else(|| self.beyond(sequence, frame..frame + 1))?;
        if place.bytes.is_empty() {
            return Ok(&[]);
        }
        let bytes = match &self.source {
            // This is within the block, as the table was checked against the block's length.
            Source::Whole(bytes) => &bytes[place.bytes.start as usize..place.bytes.end as usize],
            Source::Remote(segments) if segments.copy(place.bytes.clone(), scratch) => scratch,
            Source::Remote(_) => {
                return Err(Error::Bug(format!(
                    "frame {frame} of sequence {sequence} of {} was viewed before it was supplied",
                    self.name
                )));
            }
        };
        self.table.body(&place, bytes).ok_or_else(|| Error::Storage {
            doing: format!("reading frame {frame} of sequence {sequence} of a block"),
            path: self.name.clone(),
            message: "its checksum does not match: what was read is not what was written".into(),
        })
    }

    fn beyond(&self, sequence: usize, frames: Range<usize>) -> Error {
        let has = match self.table.len_of(sequence) {
            Some(len) => format!("which has {len}"),
            None => format!("but there are {} sequences", self.sequences()),
        };
        Error::Bug(format!("frames {frames:?} of sequence {sequence} of {} were asked for, {has}", self.name))
    }
}

pub(super) fn no_block(name: &str, why: Damage) -> Error {
    Error::Storage { doing: "reading a block".into(), path: name.into(), message: why.into() }
}

/// One sequence of a block, whose frames are checked against their checksums each time they are read.
#[derive(Clone)]
pub struct BlockSequence {
    block: Arc<OpenBlock>,
    sequence: usize,
    len: usize,
}

impl Frames for BlockSequence {
    fn view<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.block.view(self.sequence, index, scratch)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> u64 {
        self.block.table.range(self.sequence, 0..self.len).map_or(0, |range| range.end - range.start)
    }
}
