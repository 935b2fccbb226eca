//! A directory as a place: a file appears under its final name complete or not at all, in a directory that one job has
//! claimed.
//!
//! ```text
//! dir/.saving                          the claim: the token of the job that saves here, locked by its driver
//! dir/.saving-TOKEN.new                the same before it counts
//! dir/.saving-TOKEN/part-00007.4       partition 7 being written by attempt 4
//! dir/part-00007                       partition 7, whole, by the attempt that was first
//! dir/_SUCCESS                         all parts are there; of a detached job it has the token, for other drivers of it
//!
//! dir/.saving-TOKEN/part-00007-00002.4 the third of several files of partition 7
//! dir/year=1851/part-00007-00002       the same when the driver has accepted that attempt
//! ```

mod claim;
mod part;

pub use part::PartFile;

use crate::files::saved::{CLAIM, SUCCESS};
use claim::Claim;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tryworks_base::{Error, Result, disk, paths};
use tryworks_core::sink::{FileName, Place, SaveRequest, Saver};

/// What became of a directory that is not there any more.
const REMOVED: &str = "the directory was removed while this job was saving there";

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
    names: Names,
    /// What tells the files of this job from those of another one.
    token: String,
    /// Only the driver has it; tasks do not need it.
    #[serde(skip)]
    claim: Option<Arc<Claim>>,
    /// The files to which the driver gave their final names.
    #[serde(skip)]
    named: Vec<PathBuf>,
    /// The job is detached: other drivers may be about to finish it.
    #[serde(skip)]
    is_detached: bool,
}

/// How the files of a job are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    partitions: u32,
    several_files: bool,
    extension: String,
}

impl Names {
    /// The name of a file, without that of its directory.
    fn of(&self, partition: u32, number: u32) -> String {
        let part = part_name(partition, self.partitions);
        let number = if self.several_files { format!("-{number:05}") } else { String::new() };
        format!("{part}{number}{}", self.extension)
    }

    /// Whether a file of this name is one that the job saves.
    fn is_ours(&self, name: &OsStr) -> bool {
        let numbers = || {
            let numbers = name.to_str()?.strip_prefix("part-")?.strip_suffix(&self.extension)?;
            let (partition, number) = if self.several_files { numbers.split_once('-')? } else { (numbers, "0") };
            Some((partition.parse().ok()?, number.parse().ok()?))
        };
        let is_this = |(partition, number)| partition < self.partitions && *self.of(partition, number) == *name;
        numbers().is_some_and(is_this)
    }

    /// Removes what the job saved under `dir`, and the directories that are empty then.
    fn remove(&self, dir: &Path) {
        // One after another, in whatever order they are: there may be fewer than partitions.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if self.is_ours(&entry.file_name()) {
                let _ = fs::remove_file(path);
            } else if self.several_files && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.remove(&path);
                // It stays if anything else is in it.
                let _ = fs::remove_dir(path);
            }
        }
    }
}

/// Removes what the job of `token` saved to `dir`, and its claim.
fn remove_saved(dir: &Path, token: &str, names: &Names) {
    // First of all: from now on no task that goes on can commit a part, not even when another job has the directory.
    let given_up = dir.join(format!("{}.ended", work_name(token)));
    if fs::rename(dir.join(work_name(token)), &given_up).is_ok() {
        let _ = fs::remove_dir_all(&given_up);
    }
    names.remove(dir);
    // One that was killed while it finished may have left it.
    if fs::read(dir.join(SUCCESS)).is_ok_and(|said| said == token.as_bytes()) {
        let _ = fs::remove_file(dir.join(SUCCESS));
    }
    let _ = fs::remove_file(dir.join(CLAIM));
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
            // Programs give the same directory with and without a slash at the end: it is one place.
            Ok(whole) => whole.components().collect::<PathBuf>(),
            Err(wrong) => return Err(Error::plan(format!("the directory to save to {wrong}"))),
        };
        Ok(Directory {
            path: whole.into_os_string().into_vec(),
            names: Names::default(),
            token: String::new(),
            claim: None,
            named: Vec::new(),
            is_detached: false,
        })
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn work(&self) -> PathBuf {
        self.path().join(work_name(&self.token))
    }

    /// Why something of the job is not there.
    fn gone(&self) -> io::Error {
        io::Error::other(match self.path().exists() {
            false => REMOVED,
            true => "it was removed or replaced while this job was saving there",
        })
    }

    fn give_name(&mut self, file: &Pending) -> Result<()> {
        let (temporary, name) = (self.work().join(&file.temporary), self.path().join(&file.name));
        let failed = |error: io::Error| disk::storage("committing a part", &name, 0, &error);
        if !self.path().exists() {
            return Err(failed(self.gone()));
        }
        name.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        match fs::rename(&temporary, &name) {
            // An earlier driver of a detached job may have got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.exists() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(failed(self.gone())),
            other => other.map_err(failed)?,
        }
        self.named.push(name);
        Ok(())
    }
}

impl Place for Directory {
    type Part = PartFile;

    fn title(&self) -> String {
        format!("directory {}", self.path().display())
    }

    /// Makes the directory, unless it is there and empty, and claims it for the job. A detached job gets back what it
    /// claimed before. What an earlier detached job of the same name left is removed, if that job is over. Nothing else is
    /// overwritten.
    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        self.names = Names {
            partitions: request.partitions,
            several_files: request.several_files,
            extension: request.extension.into(),
        };
        let claim = Claim::take(self.path(), &request.saver, &self.names)?;
        self.token = claim.token().into();
        self.is_detached = request.saver != Saver::Bound;
        let is_new = claim.is_new();
        self.claim = Some(Arc::new(claim));
        Ok(is_new)
    }

    fn open(&self, name: FileName, attempt: u64) -> Result<PartFile> {
        let refused = |message: &str| {
            let path = self.path().join(&name.directory);
            Err(Error::storage("saving", path, &io::Error::other(message)))
        };
        if !self.names.several_files && (name.number > 0 || !name.directory.is_empty()) {
            return refused(
                "a partition was said to be one file here; let `SEVERAL_FILES` of the layout say otherwise",
            );
        }
        let below = Path::new(&name.directory);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return refused("a file would not be below the directory that is saved to");
        }
        let file = self.names.of(name.partition, name.number);
        let temporary = format!("{file}.{attempt}");
        let path = below.join(file);
        let pending = self
            .names
            .several_files
            .then(|| Pending { temporary: temporary.clone(), name: path.to_string_lossy().into_owned() });
        PartFile::create(self.path(), self.work().join(temporary), self.path().join(path), pending)
    }

    fn accept(&mut self, _: u32, files: Vec<Option<Pending>>) -> Result<()> {
        files.iter().flatten().try_for_each(|file| self.give_name(file))
    }

    /// Removes what attempts left behind, marks the directory, and gives it up. Of several drivers that wait for a detached
    /// job each comes to this, at any time: one finds the claim, and those after it the mark.
    fn finish(&mut self) -> Result<()> {
        let failed = |path: &Path, error: io::Error| disk::storage("finishing what was saved", path, 0, &error);
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            // The mark is made before the claim goes.
            if self.is_finished() {
                return Ok(());
            }
            let what = if self.path().exists() { self.path().join(CLAIM) } else { self.path().to_path_buf() };
            return Err(failed(&what, self.gone()));
        }
        let is_there = |path: &Path| {
            let looked = fs::metadata(path).map(drop);
            looked.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => failed(path, self.gone()),
                _ => failed(path, error),
            })
        };
        self.named.iter().try_for_each(|path| is_there(path))?;
        if !self.names.several_files {
            let mut parts = (0..self.names.partitions).map(|partition| self.path().join(self.names.of(partition, 0)));
            parts.try_for_each(|path| is_there(&path))?;
        }
        self.mark().map_err(|error| failed(&self.path().join(SUCCESS), error))?;
        // All parts are complete and marked so: what cannot be removed now does no harm.
        let _ = fs::remove_dir_all(self.work());
        let _ = fs::remove_file(self.path().join(CLAIM));
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.is_detached && fs::read(self.path().join(SUCCESS)).is_ok_and(|said| said == self.token.as_bytes())
    }

    /// Removes what was saved, and the directories that were created for it unless they contain anything else.
    fn abandon(&mut self) {
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            return;
        }
        remove_saved(self.path(), &self.token, &self.names);
        if let Some(claim) = &self.claim {
            claim.made().for_each(|dir| drop(fs::remove_dir(dir)));
        }
    }
}

impl Directory {
    /// Says that all parts are there. Other drivers of a detached job may do the same now, or read it.
    fn mark(&self) -> io::Result<()> {
        let success = self.path().join(SUCCESS);
        if !self.is_detached {
            return File::create(success).map(drop);
        }
        let new = self.path().join(format!("{}.{}", work_name(&self.token), claim::random()?));
        let made = fs::write(&new, &self.token).and_then(|()| fs::rename(&new, success));
        if made.is_err() {
            let _ = fs::remove_file(&new);
        }
        made
    }
}
