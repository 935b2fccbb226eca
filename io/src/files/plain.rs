//! A plain file that is read from a position onwards.

use super::list::{FileState, ListedFile};
use rustix::buffer::spare_capacity;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result};

/// A file that is read from a position onwards, up to the size that it had when it was listed.
pub(crate) struct Plain {
    file: File,
    path: PathBuf,
    at: u64,
    size: u64,
    /// The state of the file when it was opened.
    opened: FileState,
}

impl Plain {
    pub(crate) fn open(file: &ListedFile) -> Result<Self> {
        let path = file.path().to_path_buf();
        let (file, opened) = file.open()?;
        Ok(Plain { file, path, at: 0, size: opened.bytes, opened })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How far the file was read.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Looks at bytes at `at` without moving the reading position; returns how many bytes there are.
    #[cfg(feature = "zstd")]
    pub(super) fn peek(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut known = 0;
        while known < buffer.len() {
            match self.file.read_at(&mut buffer[known..], at + known as u64) {
                Ok(0) => break,
                Ok(read) => known += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// Continues reading at `at`.
    pub(crate) fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// An error if the file is not what it was when it was opened.
    pub(crate) fn check(&self) -> Result<()> {
        let now = FileState::of(&self.file).map_err(|error| Error::input(self.path.display(), None, error))?;
        self.opened.check(&now, &self.path)
    }

    /// Adds at most `most` bytes to `out`, none at the end of the file.
    pub(crate) fn append(&mut self, most: usize, out: &mut Vec<u8>) -> Result<usize> {
        let most = self.size.saturating_sub(self.at).min(most as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        out.reserve(most);
        let known = out.len();
        let read = loop {
            // Reads into unfilled memory, unless the vector has more capacity than is wanted.
            let read = if out.capacity() - known == most {
                rustix::io::pread(&self.file, spare_capacity(out), self.at)
            } else {
                out.resize(known + most, 0);
                let read = rustix::io::pread(&self.file, &mut out[known..], self.at);
                out.truncate(known + read.unwrap_or(0));
                read
            };
            match read {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::input(self.path.display(), Some(self.at), io::Error::from(error))),
                Ok(read) => break read,
            }
        };
        if read == 0 {
            let message = format!("the file ends here, but had {} bytes when it was listed", self.size);
            return Err(Error::input(self.path.display(), Some(self.at), message));
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size {
            return Ok(0);
        }
        let most = buffer.len().min((self.size - self.at).min(usize::MAX as u64) as usize);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        if read == 0 && most > 0 {
            return Err(io::Error::other(format!(
                "the file ends here, but had {} bytes when it was listed",
                self.size
            )));
        }
        self.at += read as u64;
        Ok(read)
    }
}
