//! Which files are read: paths, directories and globs, made into one list that no longer changes.

use super::compression::Compression;
use super::paths::Paths;
use super::patterns::{self, is_hidden};
use super::saved::{SUCCESS, is_half_saved};
use super::shipped::{self, Shipped};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, paths};
use tryworks_core::runner::Runner;

/// The properties that show whether a file was written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileState {
    pub(super) bytes: u64,
    /// The time of the last write, in seconds and nanoseconds.
    modified: (i64, i64),
    inode: u64,
}

impl FileState {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(FileState { bytes: about.len(), modified: (about.mtime(), about.mtime_nsec()), inode: about.ino() })
    }

    /// Compares this state with the state `now`; the error says what has changed.
    pub(super) fn check(&self, now: &FileState, path: &Path) -> Result<()> {
        let what = if self.bytes != now.bytes {
            format!("it had {} bytes when it was listed, and has {} now", self.bytes, now.bytes)
        } else if self.inode != now.inode {
            "it was replaced by another file after it was listed".into()
        } else if self.modified != now.modified {
            "it was written to after it was listed, although its size is the same".into()
        } else {
            return Ok(());
        };
        let message =
            format!("the file has changed: {what}; read files that are not being written to, or a copy of this one");
        Err(Error::input(path.display(), None, message))
    }
}

/// A file with the state that it had when it was listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListedFile {
    /// The bytes of its absolute path, which need not be UTF-8.
    path: Vec<u8>,
    /// The copy that was sent to tasks, if one was.
    shipped: Option<Shipped>,
    state: FileState,
    pub(crate) compression: Compression,
}

impl ListedFile {
    /// Looks at a file. `packed` tells whether it may be compressed. In formats whose files may begin with any bytes,
    /// the first bytes do not show compression.
    fn look(path: PathBuf, packed: bool) -> Result<Self> {
        let look = || -> io::Result<_> {
            // Checked before the file is opened: opening a pipe would wait for its writer.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other(
                    "this is no regular file, so it cannot be divided into splits; write what comes out of it to a file, \
                     and read that",
                ));
            }
            let mut head = Vec::new();
            let file = File::open(&path)?;
            let state = FileState::of(&file)?;
            file.take(4).read_to_end(&mut head)?;
            if state.bytes == 0 && !head.is_empty() {
                return Err(io::Error::other("the file does not know its size, so it cannot be divided into splits"));
            }
            Ok((state, if packed { Compression::of(&head) } else { Compression::Plain }))
        };
        let (state, compression) = look().map_err(|error| Error::input(path.display(), None, error))?;
        if !compression.is_known() {
            return Err(compression.refused(&path));
        }
        Ok(ListedFile { path: path.into_os_string().into_vec(), shipped: None, state, compression })
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.bytes
    }

    /// Has the file sent to the machines of the tasks.
    pub(super) fn ship(&mut self, runner: &dyn Runner) -> Result<()> {
        self.shipped = Some(Shipped::by(runner, self.path())?);
        Ok(())
    }

    /// Opens the file on this machine, if it is still the one that was listed.
    pub(super) fn open(&self) -> Result<(File, FileState)> {
        let path = self.shipped.as_ref().map_or_else(|| Ok(self.path().to_path_buf()), Shipped::path)?;
        let file = match self.shipped {
            Some(_) => {
                shipped::own_alone(&path)?;
                File::open(&path).map_err(|error| Error::input(path.display(), None, error))?
            }
            None => shipped::open(&path)?,
        };
        let now = FileState::of(&file).map_err(|error| Error::input(path.display(), None, error))?;
        let mut listed = self.state.clone();
        if path != self.path() {
            // A copy has its own time; its bytes were checked when it was fetched.
            listed.modified = now.modified;
        }
        if path != self.path() || shipped::is_elsewhere() {
            // Each machine numbers the files of a shared directory in its own way.
            listed.inode = now.inode;
        }
        listed.check(&now, &path)?;
        Ok((file, now))
    }

    /// Its path on the machine where it was listed.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// Lists the files that are asked for: in the order of the paths given, and by name under each of them. A relative path
/// starts from the present directory of the process. `packed` tells whether files may be compressed.
pub(super) fn list(wanted: &Paths, packed: bool) -> Result<Vec<ListedFile>> {
    let mut files = Vec::new();
    for path in &wanted.0 {
        let failed = |error: io::Error| Error::input(path.display(), None, error);
        let whole = paths::whole(path).map_err(|wrong| Error::input("its input", None, format!("the path {wrong}")))?;
        let before = files.len();
        let mut is_saved = false;
        match fs::metadata(&whole) {
            Ok(about) if about.is_dir() => is_saved = directory(&whole, &mut files)?,
            Ok(_) => files.push(shipped::named(whole)),
            Err(_) if patterns::is_pattern(path) => {
                // The present directory may have a name with a `*` in it.
                let here = if path.is_absolute() { PathBuf::new() } else { std::env::current_dir().map_err(failed)? };
                let mut found = Vec::new();
                for path in patterns::find(&here, path)? {
                    if path.is_dir() { is_saved |= directory(&path, &mut found)? } else { found.push(path) }
                }
                // The program may have asked for a directory and for a file in it.
                let mut seen = BTreeSet::new();
                found.retain(|path| seen.insert(path.clone()));
                files.append(&mut found);
            }
            Err(error) => return Err(failed(error)),
        }
        if files.len() == before && !is_saved {
            return Err(Error::input(path.display(), None, "there is no file to read here"));
        }
    }
    if wanted.0.is_empty() {
        return Err(Error::input("its input", None, "no path was given"));
    }
    files.into_iter().map(|path| ListedFile::look(path, packed)).collect()
}

/// Adds the files of a directory, by name. Tells whether it is what a job without partitions has saved: there is nothing
/// but the mark that all of it is there.
fn directory(path: &Path, files: &mut Vec<PathBuf>) -> Result<bool> {
    let failed = |error: io::Error| Error::input(path.display(), None, error);
    if is_half_saved(path) {
        let message = "a job saves to this directory, or ended before it was done: what is there is not whole; read it \
                       when `_SUCCESS` is there, or remove it if no job saves there any more";
        return Err(failed(io::Error::other(message)));
    }
    let (mut found, mut is_saved) = (Vec::new(), false);
    let mut is_empty = true;
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        is_saved |= name == SUCCESS;
        if !is_hidden(&name) {
            is_empty = false;
            if !path.is_dir() {
                found.push(path);
            }
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(is_saved && is_empty)
}
