//! Part files: what a job saves appears under a final name whole or not at all, in a directory that it has alone.
//!
//! ```text
//! dir/.saving                    the claim: the token of the job that saves here, locked by its driver
//! dir/.saving-TOKEN/part-00007.4 partition 7 being written by attempt 4
//! dir/part-00007                 partition 7, whole, by the attempt that was first
//! dir/_SUCCESS                   all parts are there
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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tryworks_base::{Error, Result, disk, paths};
use tryworks_core::runner::Tie;

/// The name of the file that says that all parts are there.
pub const SUCCESS: &str = "_SUCCESS";

/// Whether a job has claimed the directory and has not come to its end.
pub(crate) fn is_half_saved(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(CLAIM)).is_ok() && !dir.join(SUCCESS).exists()
}

/// The final name of one part of so many: the names sort as the numbers do.
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

/// The directory in which the job of `token` writes what is not committed yet.
fn work_name(token: &str) -> String {
    format!("{CLAIM}-{token}")
}

/// A directory that a job saves to. The driver claims it, tasks write a [`PartFile`] each, then the driver finishes
/// it, or abandons it if the job failed.
///
/// ```
/// use tryworks_core::runner::Tie;
/// use tryworks_io::places::OutputDir;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let home = tempfile::tempdir()?;
/// let mut out = OutputDir::new(home.path().join("out"))?;
/// out.claim(1, &Tie::Bound)?;
/// let mut part = out.part(0, 1)?;
/// part.line("Call me Ishmael.")?;
/// assert_eq!(part.commit()?, 17);
/// out.finish()?;
/// assert_eq!(std::fs::read_to_string(home.path().join("out/part-00000"))?, "Call me Ishmael.\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputDir {
    /// The bytes of its path, which need not be UTF-8.
    path: Vec<u8>,
    partitions: u32,
    /// What tells the files of this job from those of another one.
    token: String,
    /// The driver has it; tasks need not.
    #[serde(skip)]
    claim: Option<Arc<Claim>>,
}

impl OutputDir {
    /// The directory at `path`. A relative path is one from where the process is now.
    ///
    /// # Errors
    /// If it is no path at all, or is relative and nobody knows to what: with the place of the call.
    #[track_caller]
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let whole = match paths::whole(path.as_ref()) {
            Ok(whole) => whole,
            Err(wrong) => return Err(Error::plan(format!("the directory to save to {wrong}"))),
        };
        Ok(OutputDir { path: whole.into_os_string().into_vec(), partitions: 0, token: String::new(), claim: None })
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn work(&self) -> PathBuf {
        self.path().join(work_name(&self.token))
    }

    fn part_path(&self, partition: u32) -> PathBuf {
        self.path().join(part_name(partition, self.partitions))
    }

    /// Makes the directory, unless it is there and empty, and claims it for one job of so many partitions. A detached job
    /// gets back what it claimed before. Tells whether the claim is a new one.
    ///
    /// # Errors
    /// If it cannot be made, another job is saving to it, or it is not empty: nothing is written over.
    pub fn claim(&mut self, partitions: u32, tie: &Tie) -> Result<bool> {
        let claim = Claim::take(self.path(), tie)?;
        self.partitions = partitions;
        self.token = claim.token().to_string();
        let is_new = claim.is_new();
        self.claim = Some(Arc::new(claim));
        Ok(is_new)
    }

    /// Begins to write `partition` for an attempt, under a temporary name.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn part(&self, partition: u32, attempt: u64) -> Result<PartFile> {
        PartFile::create(self.path(), &self.token, &part_name(partition, self.partitions), attempt)
    }

    /// Ends a job whose partitions were all committed: removes what attempts left behind, marks the directory, and gives
    /// it up.
    ///
    /// # Errors
    /// If a part is not there, the directory was taken from this job, or the disk refuses.
    pub fn finish(&self) -> Result<()> {
        let failed = |path: &Path, error: io::Error| disk::storage("finishing what was saved", path, 0, &error);
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            let error = io::Error::other("somebody removed or took it while this job was saving there");
            return Err(failed(&self.path().join(CLAIM), error));
        }
        for partition in 0..self.partitions {
            let part = self.part_path(partition);
            fs::metadata(&part).map_err(|error| failed(&part, error))?;
        }
        let success = self.path().join(SUCCESS);
        File::create(&success).map_err(|error| failed(&success, error))?;
        // All is there and says so: what cannot be removed now harms nobody.
        let _ = fs::remove_dir_all(self.work());
        let _ = fs::remove_file(self.path().join(CLAIM));
        Ok(())
    }

    /// Removes what a job that failed has saved, and the directories that were made for it if nothing else is in them.
    pub fn abandon(&self) {
        if claim::holder(self.path()).as_deref() != Some(&self.token) {
            return;
        }
        // First of all: from now on no task that goes on can commit a part, not even when another job has the directory.
        let given_up = self.path().join(format!("{}.ended", work_name(&self.token)));
        if fs::rename(self.work(), &given_up).is_ok() {
            let _ = fs::remove_dir_all(&given_up);
        }
        let ours = |name: &OsStr| {
            let number = name.to_str().and_then(|name| name.strip_prefix("part-")?.parse().ok());
            number.filter(|number| *number < self.partitions)
        };
        // One after another, in whatever order they are: there may be fewer than partitions.
        for entry in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            if let Some(partition) = ours(&entry.file_name()) {
                let _ = fs::remove_file(self.part_path(partition));
            }
        }
        let _ = fs::remove_file(self.path().join(CLAIM));
        if let Some(claim) = &self.claim {
            claim.made().for_each(|dir| drop(fs::remove_dir(dir)));
        }
    }
}
