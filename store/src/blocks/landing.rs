//! Bytes from another machine that wait for their reader on the disk, not in memory.

use super::map::map;
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tryworks_base::disk::refused;
use tryworks_base::{Error, Result, disk};

/// A file without a name that is written once and then read by mapping it.
pub struct Landing {
    dir: PathBuf,
    file: File,
    len: u64,
}

impl Landing {
    /// A new file in `dir`.
    ///
    /// # Errors
    /// If it cannot be created there.
    pub fn create(dir: &Path) -> Result<Self> {
        let file =
            tempfile::tempfile_in(dir).map_err(|error| disk::storage("making a file to fetch into", dir, 0, &error))?;
        Ok(Landing { dir: dir.into(), file, len: 0 })
    }

    /// Appends what has arrived.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let needed = bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|error| refused("a fetched block", &self.dir, needed, self.len, &error))?;
        self.len += needed;
        Ok(())
    }

    /// All that was written, as mapped memory: the system reads it from the disk on access. The disk space is free
    /// again when the last slice is dropped.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn finish(self) -> Result<Bytes> {
        map(&self.file, self.len).map_err(|error| Error::storage("mapping a fetched block", &self.dir, &error))
    }
}
