//! One file of a directory, saved by one attempt: written under a temporary name, then renamed to its final one.

use super::{Pending, REMOVED};
use crate::files::unseen;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, disk};
use tryworks_core::sink::Part;
use tryworks_core::surroundings;

/// One file that an attempt saves. If it is not committed, it is removed when dropped.
pub struct PartFile {
    file: File,
    temporary: PathBuf,
    name: PathBuf,
    /// What the task reports to the driver, if the driver gives the file its name.
    pending: Option<Pending>,
    /// The temporary file exists, and this attempt has to remove it.
    is_ours: bool,
}

impl PartFile {
    /// Begins the file that is to be `name` below the directory `dir`.
    pub(super) fn create(dir: &Path, temporary: PathBuf, name: PathBuf, pending: Option<Pending>) -> Result<Self> {
        let file = File::create(&temporary).map_err(|error| {
            if disk::is_full(&error) {
                return disk::storage("saving", &temporary, 0, &error);
            }
            let advice = "save to a directory that all machines share, or on the driver's machine with `to_driver()`";
            let message = match error.kind() {
                io::ErrorKind::NotFound if dir.exists() => {
                    "the files of this job are not there: it has ended, they were removed, or this is not the \
                     directory that the driver sees"
                        .to_string()
                }
                io::ErrorKind::NotFound => match surroundings::get() {
                    None => REMOVED.to_string(),
                    Some(worker) => format!(
                        "{} does not see {}, which the driver saw: it was removed while this job was saving there, or is \
                         not shared with this machine\n  what to do: {advice}",
                        worker.place(),
                        dir.display()
                    ),
                },
                _ => unseen(dir, &error, advice),
            };
            Error::storage("saving", &temporary, &io::Error::other(message))
        })?;
        Ok(PartFile { file, temporary, name, pending, is_ours: true })
    }
}

impl Part for PartFile {
    type Receipt = Option<Pending>;

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| disk::storage("saving", &self.name, bytes.len() as u64, &error))
    }

    /// Gives the file its final name, if it is the whole of its partition. If another attempt was first, that attempt's
    /// file stays: both have the same content. When a job has been given up, its temporary files are gone, so nothing
    /// of it can appear.
    fn commit(mut self) -> Result<Option<Pending>> {
        if let Some(pending) = self.pending.take() {
            self.is_ours = false;
            return Ok(Some(pending));
        }
        let failed = |error: io::Error| {
            let error = match error.kind() {
                // The name has a directory, unless somebody removed that; the temporary has one until the job is over.
                io::ErrorKind::NotFound if !self.name.parent().is_some_and(Path::exists) => io::Error::other(REMOVED),
                io::ErrorKind::NotFound => io::Error::other("the job was given up, or somebody removed its files"),
                _ => error,
            };
            disk::storage("committing a part", &self.name, 0, &error)
        };
        let renamed = match renameat_with(CWD, &self.temporary, CWD, &self.name, RenameFlags::NOREPLACE) {
            // Not every file system supports this kind of renaming. Without it, only the choice between two attempts
            // changes.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !self.name.exists() => {
                fs::rename(&self.temporary, &self.name).map_err(failed)?;
                true
            }
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => false,
            other => other.map(|()| true).map_err(|error| failed(error.into()))?,
        };
        // If another attempt was first, dropping this removes the temporary file.
        self.is_ours = !renamed;
        Ok(None)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
