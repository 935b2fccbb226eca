//! Files of the driver's machine, as tasks see them on any machine.

use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, Shipment, paths};
use tryworks_core::runner::Runner;
use tryworks_core::surroundings;

/// A file that was given to tasks: they find a copy of it on their own machine. On the driver's machine, and where one
/// process runs everything, it is the file itself.
///
/// ```
/// use tryworks_io::files::Shipped;
/// # let dir = tempfile::tempdir().unwrap();
/// # let place = dir.path().join("stop-words.txt");
/// # std::fs::write(&place, "the\n").unwrap();
/// let words = Shipped::here(&place)?;
/// assert_eq!(words.path()?, place);
/// # Ok::<(), tryworks_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    /// The bytes of its path on the driver's machine, which need not be UTF-8.
    path: Vec<u8>,
    shipment: Option<Shipment>,
}

impl Shipped {
    /// A file for tasks that run on this machine.
    ///
    /// # Errors
    /// If it is no path, does not exist, or is no regular file.
    #[track_caller]
    pub fn here(path: impl AsRef<Path>) -> Result<Self> {
        let failed = |error: io::Error| Error::input(path.as_ref().display(), None, error);
        let whole = match paths::whole(path.as_ref()) {
            Ok(whole) => named(whole),
            Err(wrong) => return Err(Error::plan(format!("the path of the file to ship {wrong}"))),
        };
        if !fs::metadata(&whole).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other(
                "this is no regular file, so it cannot be sent to tasks; write its content to a file, and give that",
            )));
        }
        Ok(Shipped { path: whole.into_os_string().into_vec(), shipment: None })
    }

    /// A file for tasks that run where this runner runs them.
    ///
    /// # Errors
    /// If it cannot be read, or cannot be sent.
    #[track_caller]
    pub fn by(runner: &dyn Runner, path: impl AsRef<Path>) -> Result<Self> {
        let mut shipped = Shipped::here(path)?;
        shipped.shipment = runner.ship(Path::new(OsStr::from_bytes(&shipped.path)))?;
        Ok(shipped)
    }

    /// Where the file is for this process. The first task of a machine that asks for it waits until it has arrived. The
    /// file is deleted when the driver's session ends.
    ///
    /// # Errors
    /// If it cannot be fetched, or was changed since it was given.
    pub fn path(&self) -> Result<PathBuf> {
        let own = || PathBuf::from(OsStr::from_bytes(&self.path));
        match (&self.shipment, surroundings::get()) {
            (Some(shipment), Some(worker)) => Ok(worker.fetch(shipment)?.unwrap_or_else(own)),
            _ => Ok(own()),
        }
    }
}

/// Whether a path is that of an open file of the process that looks at it.
fn is_of_a_process(path: &Path) -> bool {
    let mut parts = path.components().skip(1).map(|part| part.as_os_str().to_str());
    matches!(
        (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()),
        (Some("dev"), Some("stdin" | "stdout" | "stderr" | "fd"), _) | (Some("proc"), Some(_), Some("fd" | "task"))
    )
}

/// The name of a file, for one that is asked for as an open file of this process, such as `/dev/stdin`: in another process
/// that is another file. What has no name, such as a pipe, keeps its path.
pub(super) fn named(path: PathBuf) -> PathBuf {
    if !is_of_a_process(&path) {
        return path;
    }
    let file =
        |path: &Path| fs::metadata(path).ok().filter(|about| about.is_file()).map(|about| (about.dev(), about.ino()));
    let name = fs::canonicalize(&path).ok().filter(|name| file(name).is_some() && file(name) == file(&path));
    name.unwrap_or(path)
}

/// An error if a task asks for an open file of the driver's process: this process has another file under that path.
pub(super) fn own_alone(path: &Path) -> Result<()> {
    if !is_elsewhere() || !is_of_a_process(path) {
        return Ok(());
    }
    let message = "this is an open file of the driver's process without a name, and tasks run in other processes: write \
                   its content to a file, and read that";
    Err(Error::input(path.display(), None, message))
}

/// Whether this process runs tasks for a driver in another process, which may be on another machine.
pub(super) fn is_elsewhere() -> bool {
    surroundings::get().is_some()
}

/// The error for a path that the driver has seen or made. If another machine does not see it, the error names that
/// machine and says what to do.
pub(crate) fn unseen(path: &Path, error: &io::Error, advice: &str) -> String {
    match (surroundings::get(), error.kind()) {
        (Some(worker), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            let (place, path) = (worker.place(), path.display());
            if worker.is_beside_driver() && error.kind() == io::ErrorKind::NotFound {
                // The machine that the driver looked at is this one.
                return format!(
                    "{path} is not there any more: the driver saw it on this machine, and it was removed or renamed since \
                     ({error})\n  what to do: leave what a job uses in its place until the job has ended"
                );
            }
            format!("{place} does not see {path}, which the driver saw: {error}\n  what to do: {advice}")
        }
        _ => error.to_string(),
    }
}

/// Opens a file that the driver has seen under this path.
pub(super) fn open(path: &Path) -> Result<File> {
    let advice = "put it where every engine sees it under this path, or have it sent, with `text(..).from_driver()` or \
                  `ship_file`";
    own_alone(path)?;
    File::open(path).map_err(|error| Error::input(path.display(), None, unseen(path, &error, advice)))
}
