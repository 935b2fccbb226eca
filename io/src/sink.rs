//! Part files: what a job saves appears under a final name whole or not at all.
//!
//! ```text
//! dir/.part-00007.4.tmp   partition 7 being written by attempt 4
//! dir/part-00007          partition 7, whole, by the attempt that was first
//! dir/_SUCCESS            all parts are there
//! ```
//! A job calls [`prepare`], its tasks write a [`PartFile`] each, then it calls [`finish`], or [`abandon`] if it failed.

use crate::shipped::unseen;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tryworks_core::{Error, Result};

/// How much is gathered before it is written.
const BUFFER: usize = 256 * 1024;

/// The name of the file that says that all parts are there.
pub const SUCCESS: &str = "_SUCCESS";

/// The final name of a part.
///
/// ```
/// assert_eq!(tryworks_io::sink::part_name(7), "part-00007");
/// ```
pub fn part_name(partition: u32) -> String {
    format!("part-{partition:05}")
}

/// Makes the directory that a job saves to.
///
/// # Errors
/// If it cannot be made, or is there and not empty: nothing is written over.
pub fn prepare(dir: &Path) -> Result<()> {
    let failed = |error: io::Error| Error::storage("preparing to save", dir, &error);
    match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(dir).map_err(failed),
        Err(error) => Err(failed(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(failed(io::Error::other(
                "the directory is there and is not empty; save to another one, or remove it",
            ))),
        },
    }
}

/// One partition being saved by one attempt. What is not committed is removed when dropped.
///
/// ```
/// use tryworks_io::sink::{PartFile, finish, prepare};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let home = tempfile::tempdir()?;
/// let dir = home.path().join("out");
/// prepare(&dir)?;
/// let mut part = PartFile::create(&dir, 0, 1)?;
/// part.line("Call me Ishmael.")?;
/// assert_eq!(part.commit()?, 17);
/// finish(&dir, 1)?;
/// assert_eq!(std::fs::read_to_string(dir.join("part-00000"))?, "Call me Ishmael.\n");
/// # Ok(())
/// # }
/// ```
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
    /// Begins to write `partition` to `dir` under a temporary name.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(dir: &Path, partition: u32, attempt: u64) -> Result<Self> {
        let name = part_name(partition);
        let temporary = dir.join(format!(".{name}.{attempt}.tmp"));
        let file = File::create(&temporary).map_err(|error| {
            let advice = "save to a directory that all machines share, or on the driver's machine with `to_driver()`";
            Error::storage("saving", &temporary, &io::Error::other(unseen(dir, &error, advice)))
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
    /// the same.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn commit(mut self) -> Result<u64> {
        self.flush()?;
        let failed = |error: io::Error| Error::storage("committing a part", &self.name, &error);
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
        self.file.write_all(bytes).map_err(|error| Error::storage("saving", &self.name, &error))?;
        self.written += bytes.len() as u64;
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

/// Ends a job whose partitions were all committed: removes what attempts left behind, and marks the directory.
///
/// # Errors
/// If a part is not there, or the disk refuses.
pub fn finish(dir: &Path, partitions: u32) -> Result<()> {
    for partition in 0..partitions {
        let part = dir.join(part_name(partition));
        fs::metadata(&part).map_err(|error| Error::storage("finishing what was saved", &part, &error))?;
    }
    let failed = |error: io::Error| Error::storage("finishing what was saved", dir, &error);
    for path in made(dir, is_temporary).map_err(failed)? {
        let _ = fs::remove_file(path);
    }
    File::create(dir.join(SUCCESS)).map(drop).map_err(failed)
}

/// Removes what a job that failed has saved, and its directory if nothing else is in it.
pub fn abandon(dir: &Path) {
    let ours = |name: &str| is_temporary(name) || name.strip_prefix("part-").is_some_and(is_number);
    for path in made(dir, ours).unwrap_or_default() {
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_dir(dir);
}

fn is_number(text: &str) -> bool {
    text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".part-") && name.ends_with(".tmp")
}

fn made(dir: &Path, ours: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&ours) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}
