//! Serves a block to another machine: its table of contents, then ranges of its frames.

use super::held::Held;
use super::open::no_block;
use super::store::Pin;
use bytes::Bytes;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use tryworks_base::{Error, Result};

/// The longest range that is read at once, so that a request cannot ask for more memory than this.
pub const MOST_AT_ONCE: u64 = 16 << 20;

/// A block that is being served; until then it is not deleted.
pub struct Served {
    pin: Pin,
    source: Source,
}

enum Source {
    File(File),
    Memory(Bytes),
}

impl Served {
    /// Begins to serve a block of the store.
    ///
    /// # Errors
    /// If the file does not exist any more.
    pub fn new(pin: Pin) -> Result<Self> {
        let source = match pin.held() {
            Held::Small(bytes) => Source::Memory(bytes.clone()),
            Held::File { path, .. } => {
                let file = File::open(path);
                Source::File(file.map_err(|error| Error::storage("opening a block to serve", pin.name(), &error))?)
            }
        };
        Ok(Served { pin, source })
    }

    /// The argument for [`OpenBlock::remote`](super::OpenBlock::remote).
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn table(&self) -> Result<Vec<u8>> {
        let mut table = Vec::new();
        self.fetch(self.pin.table_start()..self.pin.held().bytes(), &mut table)?;
        Ok(table)
    }

    /// Replaces the content of `out` by a range of the frames.
    ///
    /// # Errors
    /// If the range lies beyond the frames, is longer than [`MOST_AT_ONCE`], or cannot be read.
    pub fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        if range.start > range.end || range.end > self.pin.table_start() {
            return Err(no_block(self.pin.name(), "a range was asked for that lies beyond its frames"));
        }
        if range.end - range.start > MOST_AT_ONCE {
            return Err(no_block(self.pin.name(), "a range was asked for that is too long to be read at once"));
        }
        self.fetch(range, out)
    }

    /// The range has to be within the block.
    fn fetch(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match &self.source {
            Source::Memory(bytes) => out.extend_from_slice(&bytes[range.start as usize..range.end as usize]),
            Source::File(file) => {
                out.resize((range.end - range.start) as usize, 0);
                let read = file.read_exact_at(out, range.start);
                read.map_err(|error| Error::storage("reading a block to serve", self.pin.name(), &error))?;
            }
        }
        Ok(())
    }
}
