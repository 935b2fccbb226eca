//! Copies a block of another store, byte for byte: an engine does it for one that leaves.

use super::id::BlockId;
use super::open::OpenBlock;
use super::serve::MOST_AT_ONCE;
use super::store::BlockStore;
use super::write::{Quota, Sealed, Unsealed};
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, disk};

/// A block of another machine on its way into a store. An unsealed copy leaves nothing behind.
pub struct BlockCopy {
    dir: PathBuf,
    id: BlockId,
    quota: Quota,
    file: Unsealed,
    table: Vec<u8>,
    frames: u64,
    written: u64,
}

impl BlockCopy {
    /// Begins the copy of a block under the name `id` in this store. The block's table of contents (see
    /// [`Served::table`](super::Served::table)) has arrived.
    ///
    /// # Errors
    /// If it is no table of contents, or the quota or the disk refuses.
    pub fn begin(store: &BlockStore, id: BlockId, table: Vec<u8>) -> Result<Self> {
        let (dir, quota) = (store.dir().to_path_buf(), store.quota());
        let frames = OpenBlock::remote(id.to_string(), &table)?.frames_end();
        let needed = frames.saturating_add(table.len() as u64);
        quota.check(&dir, 0, needed)?;
        let file = Unsealed::create(id.unsealed_in(&dir));
        let file = file.map_err(|error| disk::refused("a block", &dir, needed, quota.used, &error))?;
        Ok(BlockCopy { dir, id, quota, file, table, frames, written: 0 })
    }

    /// Which of its bytes are wanted next, at most as many as are read at once; `None` when all have arrived.
    pub fn wanted(&self) -> Option<Range<u64>> {
        let range = self.written..self.frames.min(self.written + MOST_AT_ONCE);
        (!range.is_empty()).then_some(range)
    }

    /// Appends bytes that were wanted.
    ///
    /// # Errors
    /// If they are too many, or the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.frames - self.written {
            return Err(super::open::no_block(&self.id.to_string(), "more bytes were sent than it has"));
        }
        self.file.file.write_all(bytes).map_err(|error| self.refused(&error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Ends the copy, so that the store may [`add`](BlockStore::add) it.
    ///
    /// # Errors
    /// If bytes are missing, or the disk refuses.
    pub fn seal(mut self) -> Result<Sealed> {
        if self.written < self.frames {
            return Err(super::open::no_block(&self.id.to_string(), "fewer bytes were sent than it has"));
        }
        let written = self.file.file.write_all(&self.table);
        written.map_err(|error| self.refused(&error))?;
        let BlockCopy { dir, id, quota, file, table, frames, .. } = self;
        let bytes = frames + table.len() as u64;
        let sealed = file.seal(id.path_in(&dir));
        sealed.map_err(|error| disk::refused("a block", &dir, bytes, quota.used, &error))?;
        Ok(Sealed::File { bytes })
    }

    fn refused(&self, error: &io::Error) -> Error {
        disk::refused("a block", &self.dir, self.frames - self.written, self.quota.used + self.written, error)
    }
}

/// Puts the sealed file of another store of this machine into this one, under the name `id`. Where the file system
/// allows it, this makes a link and copies nothing.
///
/// # Errors
/// If it does not exist any more, or the quota or the disk refuses.
pub fn link_block(store: &BlockStore, id: BlockId, from: &Path) -> Result<Sealed> {
    let (dir, quota) = (store.dir(), store.quota());
    let gone = |error: io::Error| Error::storage("taking over a block", super::id::shown(from), &error);
    let bytes = fs::metadata(from).map_err(gone)?.len();
    quota.check(dir, 0, bytes)?;
    let place = id.path_in(dir);
    if fs::hard_link(from, &place).is_err() {
        let mut read = fs::File::open(from).map_err(gone)?;
        let refused = |error: io::Error| disk::refused("a block", dir, bytes, quota.used, &error);
        let mut copy = Unsealed::create(id.unsealed_in(dir)).map_err(refused)?;
        io::copy(&mut read, &mut copy.file).map_err(refused)?;
        copy.seal(place).map_err(refused)?;
    }
    Ok(Sealed::File { bytes })
}
