//! A directory as a place: a file appears under its final name complete or not at all, in a directory that one job has
//! claimed.
//!
//! ```text
//! dir/.saving                          the claim: the token of the job that saves here, locked by its driver
//! dir/.saving-TOKEN/part-00007.4       partition 7 being written by attempt 4
//! dir/part-00007                       partition 7, whole, by the attempt that was first
//! dir/_SUCCESS                         all parts are there
//!
//! dir/.saving-TOKEN/part-00007-00002.4 the third of several files of partition 7
//! dir/year=1851/part-00007-00002       the same when the driver has accepted that attempt
//! ```

mod claim;
mod part;

pub use part::PartFile;

use claim::{CLAIM, Claim};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tryworks_base::{Error, Result, disk, paths};
use tryworks_core::sink::{FileName, Place, SaveRequest};

/// The name of the file that says that all parts are complete.
pub const SUCCESS: &str = "_SUCCESS";

/// Whether a job has claimed the directory and has not ended yet.
pub(crate) fn is_half_saved(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(CLAIM)).is_ok() && !dir.join(SUCCESS).exists()
}

/// The final name of a part. The digits depend on the number of parts, so that names sort as the numbers do.
///
/// ```
/// use tryworks_io::places::part_name;
/// assert_eq!(part_name(7, 100), "part-00007");
/// assert_eq!(part_name(7, 100_001), "part-000007");
/// ```
pub fn part_name(partition: u32, partitions: u32) -> String {
    let digits = partitions.saturating_sub(1).checked_ilog10().unwrap_or(0) as usize + 1;
    format!("part-{partition:0width$}", width = digits.max(5))
}

/// The directory in which the job of `token` writes files that are not committed yet.
fn work_name(token: &str) -> String {
    format!("{CLAIM}-{token}")
}

/// A directory that a job saves to; the job creates it, or it must be empty. Each partition is a file `part-00000` and
/// so on, or several files `part-00000-00000` if the layout makes several. `_SUCCESS` appears when all are complete.
///
/// The path is one of the machines that tasks run on. On a cluster, all of them and the driver must share it.
///
/// ```
/// use tryworks::places::Directory;
/// use tryworks::prelude::*;
/// use tryworks::text::Lines;
/// # let cx = Context::local(2)?;
/// # let home = tempfile::tempdir().unwrap();
/// let dir = home.path().join("out");
/// cx.range_in(0..3, 1).save((Lines, Directory::new(&dir)?))?;
/// assert_eq!(std::fs::read_to_string(dir.join("part-00000")).unwrap(), "0\n1\n2\n");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directory {
    /// The bytes of the path, which need not be UTF-8.
    path: Vec<u8>,
    partitions: u32,
    several_files: bool,
    extension: String,
    /// Distinguishes the files of this job from those of another one.
    token: String,
    /// Only the driver has it; tasks do not need it.
    #[serde(skip)]
    claim: Option<Arc<Claim>>,
    /// The files to which the driver gave their final names.
    #[serde(skip)]
    named: Vec<PathBuf>,
}

/// One of several files of a partition: the driver gives it its final name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its name among the files of the job.
    temporary: String,
    /// Its path below the directory.
    name: String,
}

impl Directory {
    /// The directory at `path`. A relative path starts from the present directory of the process.
    ///
    /// # Errors
    /// If it is no path at all, or is relative and the present directory is not known. The error names the call.
    #[track_caller]
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let whole = match paths::whole(path.as_ref()) {
            Ok(whole) => whole,
            Err(wrong) => return Err(Error::plan(format!("the directory to save to {wrong}"))),
        };
        Ok(Directory {
            path: whole.into_os_string().into_vec(),
            partitions: 0,
            several_files: false,
            extension: String::new(),
            token: String::new(),
            claim: None,
            named: Vec::new(),
        })
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn work(&self) -> PathBuf {
        self.path().join(work_name(&self.token))
    }

    /// The name of a file, without its directory.
    fn file_name(&self, partition: u32, number: u32) -> String {
        let part = part_name(partition, self.partitions);
        let number = if self.several_files { format!("-{number:05}") } else { String::new() };
        format!("{part}{number}{}", self.extension)
    }

    /// Whether a file of this name is one that this job saves.
    fn is_ours(&self, name: &OsStr) -> bool {
        let numbers = || {
            let numbers = name.to_str()?.strip_prefix("part-")?.strip_suffix(&self.extension)?;
            let (partition, number) = if self.several_files { numbers.split_once('-')? } else { (numbers, "0") };
            Some((partition.parse().ok()?, number.parse().ok()?))
        };
        let is_this = |(partition, number)| partition < self.partitions && *self.file_name(partition, number) == *name;
        numbers().is_some_and(is_this)
    }

    /// Removes what this job saved under `dir`, and then the directories that have become empty.
    fn remove_files(&self, dir: &Path) {
        // All entries in any order: there may be fewer than partitions.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if self.is_ours(&entry.file_name()) {
                let _ = fs::remove_file(path);
            } else if self.several_files && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.remove_files(&path);
                // It stays if it contains anything else.
                let _ = fs::remove_dir(path);
            }
        }
    }

    fn give_name(&mut self, file: &Pending) -> Result<()> {
        let (temporary, name) = (self.work().join(&file.temporary), self.path().join(&file.name));
        let failed = |error: io::Error| disk::storage("committing a part", &name, 0, &error);
        name.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        match fs::rename(&temporary, &name) {
            // An earlier driver of a detached job may have got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.exists() => {}
            other => other.map_err(failed)?,
        }
        self.named.push(name);
        Ok(())
    }
}

impl Place for Directory {
    type Part = PartFile;

    /// Creates the directory, unless it exists and is empty, and claims it for the job. A detached job keeps its
    /// earlier claim. Existing files are never overwritten.
    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        let claim = Claim::take(self.path(), request.tie)?;
        self.partitions = request.partitions;
        self.several_files = request.several_files;
        self.extension = request.extension.into();
        self.token = claim.token().into();
        let is_new = claim.is_new();
        self.claim = Some(Arc::new(claim));
        Ok(is_new)
    }

    fn open(&self, name: FileName, attempt: u64) -> Result<PartFile> {
        let refused = |message: &str| {
            let path = self.path().join(&name.directory);
            Err(Error::storage("saving", path, &io::Error::other(message)))
        };
        if !self.several_files && (name.number > 0 || !name.directory.is_empty()) {
            return refused(
                "a partition was said to be one file here; let `SEVERAL_FILES` of the layout say otherwise",
            );
        }
        let below = Path::new(&name.directory);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return refused("a file would not be below the directory that is saved to");
        }
        let file = self.file_name(name.partition, name.number);
        let temporary = format!("{file}.{attempt}");
        let path = below.join(file);
        let pending = self
            .several_files
            .then(|| Pending { temporary: temporary.clone(), name: path.to_string_lossy().into_owned() });
        PartFile::create(self.path(), self.work().join(temporary), self.path().join(path), pending)
    }

    fn accept(&mut self, _: u32, files: Vec<Option<Pending>>) -> Result<()> {
        files.iter().flatten().try_for_each(|file| self.give_name(file))
    }

    /// Removes what attempts left behind, marks the directory as complete, and releases the claim.
    fn finish(&mut self) -> Result<()> {
        let failed = |path: &Path, error: io::Error| disk::storage("finishing what was saved", path, 0, &error);
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            let error = io::Error::other("it was removed or replaced while this job was saving there");
            return Err(failed(&self.path().join(CLAIM), error));
        }
        let is_there = |path: &Path| fs::metadata(path).map(drop).map_err(|error| failed(path, error));
        self.named.iter().try_for_each(|path| is_there(path))?;
        if !self.several_files {
            let mut parts = (0..self.partitions).map(|partition| self.path().join(self.file_name(partition, 0)));
            parts.try_for_each(|path| is_there(&path))?;
        }
        let success = self.path().join(SUCCESS);
        File::create(&success).map_err(|error| failed(&success, error))?;
        // All parts are complete and marked so: what cannot be removed now does no harm.
        let _ = fs::remove_dir_all(self.work());
        let _ = fs::remove_file(self.path().join(CLAIM));
        Ok(())
    }

    /// Removes what was saved, and the directories that were created for it unless they contain anything else.
    fn abandon(&mut self) {
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            return;
        }
        // This comes first: from now on no task of the job can commit a part, not even when another job claims the
        // directory.
        let given_up = self.path().join(format!("{}.ended", work_name(&self.token)));
        if fs::rename(self.work(), &given_up).is_ok() {
            let _ = fs::remove_dir_all(&given_up);
        }
        self.remove_files(self.path());
        let _ = fs::remove_file(self.path().join(CLAIM));
        if let Some(claim) = &self.claim {
            claim.made().for_each(|dir| drop(fs::remove_dir(dir)));
        }
    }
}
