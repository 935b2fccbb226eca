//! Writes a block: through a buffer into a file that gets its name only when it is complete, or into memory if it is
//! small.

use super::id::BlockId;
use super::table::Table;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempPath;
use tryworks_base::{Error, Result, disk};

/// How much is buffered before it is written.
const BUFFER: usize = 256 * 1024;

/// A block of at most this size in all is not written to the disk.
pub const SMALL: usize = 32 * 1024;

/// The quota of a store, and how much of it was used when the store was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The most bytes that the blocks of the store may take; `None` if there is no limit.
    pub limit: Option<u64>,
    /// The bytes that they took.
    pub used: u64,
}

impl Quota {
    /// Checks whether `more` bytes fit on top of `written`.
    pub(super) fn check(&self, dir: &Path, written: u64, more: u64) -> Result<()> {
        let used = self.used.saturating_add(written);
        match self.limit.is_some_and(|limit| used.saturating_add(more) > limit) {
            true => Err(self.refusal(dir, written, more)),
            false => Ok(()),
        }
    }

    /// The error that says that `more` bytes do not fit on top of `written`.
    pub(super) fn refusal(&self, dir: &Path, written: u64, more: u64) -> Error {
        let used = self.used.saturating_add(written);
        let needed =
            format!("{more} bytes more of blocks in {}, where {used} are in use{}", dir.display(), disk::free(dir));
        let advice = "a larger quota, fewer jobs at a time, or dropping caches that are not needed any more";
        Error::limit("block_quota", self.limit.unwrap_or(u64::MAX), needed, advice)
    }
}

/// A complete block, as its writer hands it to the owner of the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealed {
    /// The whole block, as a file would have it.
    Small(Bytes),
    /// A file in the directory of the store, under the block's name.
    File {
        /// Its size in bytes.
        bytes: u64,
    },
}

impl Sealed {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Sealed::Small(bytes) => bytes.len() as u64,
            Sealed::File { bytes } => *bytes,
        }
    }
}

/// Leaves out the rows in it.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Sealed::Small(_)) { "Small" } else { "File" };
        write!(f, "{kind}({} bytes)", self.bytes())
    }
}

/// A block being written. An unsealed block leaves nothing behind.
pub struct BlockWriter {
    dir: PathBuf,
    id: BlockId,
    quota: Quota,
    table: Table,
    buffer: Vec<u8>,
    /// How many bytes are in the file.
    written: u64,
    file: Option<Unsealed>,
}

/// A file that is removed when this is dropped.
pub(super) struct Unsealed {
    pub(super) file: File,
    path: TempPath,
}

impl Unsealed {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Unsealed { file, path: TempPath::try_from_path(path)? })
    }

    pub(super) fn seal(self, path: PathBuf) -> io::Result<()> {
        drop(self.file);
        self.path.persist(path).map_err(|error| error.error)
    }
}

/// Writes a whole block into a file.
pub(super) fn write_whole(dir: &Path, id: &BlockId, bytes: &[u8]) -> io::Result<()> {
    let mut unsealed = Unsealed::create(id.unsealed_in(dir))?;
    unsealed.file.write_all(bytes)?;
    unsealed.seal(id.path_in(dir))
}

impl BlockWriter {
    /// Begins the block `id` in the directory of a store. The file is created only when there is enough to write.
    pub fn new(dir: &Path, id: BlockId, quota: Quota) -> Self {
        BlockWriter { dir: dir.into(), id, quota, table: Table::new(&id), buffer: Vec::new(), written: 0, file: None }
    }

    /// Begins the next sequence of frames.
    ///
    /// # Errors
    /// None so far.
    pub fn sequence(&mut self) -> Result<()> {
        self.table.begin_sequence();
        Ok(())
    }

    /// Appends a frame to the sequence.
    ///
    /// # Errors
    /// If the quota or the disk refuses, with how much was needed where. The block cannot be sealed after that.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        let sum = self.table.push(bytes).map_err(|why| Error::Bug(why.into()))?;
        let Some(sum) = sum else { return Ok(()) };
        self.put(bytes)?;
        self.put(&sum)
    }

    /// Ends the block. `head` is what readers of this kind of block have to know beside the frames.
    ///
    /// # Errors
    /// If the quota or the disk refuses.
    pub fn seal(mut self, head: &[u8]) -> Result<Sealed> {
        if self.table.frames_end() != self.written + self.buffer.len() as u64 {
            return Err(Error::Bug("a block was sealed of which a part could not be written".into()));
        }
        self.table.encode(head, &mut self.buffer);
        if self.file.is_none() && self.buffer.len() <= SMALL {
            return Ok(Sealed::Small(self.buffer.into_boxed_slice().into()));
        }
        self.flush()?;
        if let Some(file) = self.file.take() {
            let sealed = file.seal(self.id.path_in(&self.dir));
            sealed.map_err(|error| self.refused(0, &error))?;
        }
        Ok(Sealed::File { bytes: self.written })
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.buffer.len() + bytes.len() >= BUFFER {
            if self.buffer.is_empty() {
                // A frame of a buffer's size or more is written directly.
                return self.write(bytes);
            }
            let (now, later) = bytes.split_at(BUFFER - self.buffer.len());
            self.buffer.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        self.quota.check(&self.dir, self.written, len)?;
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(Unsealed::create(self.id.unsealed_in(&self.dir))?),
            };
            file.file.write_all(bytes)
        };
        write().map_err(|error| self.refused(len, &error))?;
        self.written += len;
        Ok(())
    }

    fn refused(&self, needed: u64, error: &io::Error) -> Error {
        disk::refused("a block", &self.dir, needed, self.quota.used + self.written, error)
    }
}
