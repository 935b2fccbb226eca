//! One partition being saved by one attempt: written under a temporary name, then renamed to its final one.

use super::work_name;
use crate::files::unseen;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, disk};

/// How much is gathered before it is written.
const BUFFER: usize = 256 * 1024;

/// One partition being saved by one attempt. What is not committed is removed when dropped.
pub struct PartFile {
    file: File,
    temporary: PathBuf,
    name: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    /// The temporary is there and is ours to remove.
    pending: bool,
}

impl PartFile {
    /// Begins to write the part `name` of `dir` for the job of `token`.
    pub(super) fn create(dir: &Path, token: &str, name: &str, attempt: u64) -> Result<Self> {
        let temporary = dir.join(work_name(token)).join(format!("{name}.{attempt}"));
        let file = File::create(&temporary).map_err(|error| {
            if disk::is_full(&error) {
                return disk::storage("saving", &temporary, 0, &error);
            }
            let advice = "save to a directory that all machines share, or on the driver's machine with `to_driver()`";
            let message = match error.kind() {
                io::ErrorKind::NotFound if dir.exists() => {
                    "the files of this job are not there: it has ended, somebody removed them, or this is not the \
                     directory that the driver sees"
                        .to_string()
                }
                _ => unseen(dir, &error, advice),
            };
            Error::storage("saving", &temporary, &io::Error::other(message))
        })?;
        Ok(PartFile { file, temporary, name: dir.join(name), buffer: Vec::new(), written: 0, pending: true })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            return self.put(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends an item as a line.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn line(&mut self, item: impl Display) -> Result<()> {
        // Writing to memory cannot fail, and a `Display` that says it did has written what it could.
        let _ = writeln!(self.buffer, "{item}");
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// Gives the part its final name, and tells its bytes. If another attempt was first, its part stays: both say
    /// the same. The job that was given up has no temporary files any more, so nothing of it can appear.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn commit(mut self) -> Result<u64> {
        self.flush()?;
        let failed = |error: io::Error| disk::storage("committing a part", &self.name, 0, &error);
        let renamed = match renameat_with(CWD, &self.temporary, CWD, &self.name, RenameFlags::NOREPLACE) {
            // Not every file system knows this kind of renaming. What is lost is only which of two attempts stays.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !self.name.exists() => {
                fs::rename(&self.temporary, &self.name).map_err(failed)?;
                true
            }
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => false,
            other => other.map(|()| true).map_err(|error| failed(error.into()))?,
        };
        // Dropping removes the temporary of the one that came second.
        self.pending = !renamed;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let needed = bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| disk::storage("saving", &self.name, needed, &error))?;
        self.written += needed;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.pending {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
