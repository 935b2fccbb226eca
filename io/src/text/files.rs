//! Which files a text source reads: paths, directories and globs, made into one list that no longer changes.

use super::patterns;
use crate::shipped::{self, Shipped};
use crate::sink::is_half_saved;
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

/// What to read: the path of a file, a directory (its files by name, but not those whose names begin with `.` or
/// `_`), a glob, or several of these. In a glob `*` and `?` stand for characters of a name, `[a-z]` for one of a class,
/// `**` for any number of directories, and `{a,b}` for each of these. None but the last stands for a `.` or `_` at the
/// beginning of a name. What is there under the very name is taken as it is.
///
/// ```
/// use tryworks_io::text::TextPath;
/// assert_eq!(TextPath::from("logs/*.txt").to_string(), "logs/*.txt");
/// assert_eq!(TextPath::from(["a.txt", "b"]).to_string(), "a.txt, b");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPath(Vec<PathBuf>);

/// How many of many paths are shown.
const SHOWN: usize = 3;

impl std::fmt::Display for TextPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, path) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, path.display())?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

macro_rules! from_one_path {
    ($($path:ty),*) => {$(
        impl From<$path> for TextPath {
            fn from(path: $path) -> Self {
                TextPath(vec![path.into()])
            }
        }
    )*};
}
from_one_path!(&str, String, &String, &Path, PathBuf);

impl From<&PathBuf> for TextPath {
    fn from(path: &PathBuf) -> Self {
        TextPath(vec![path.clone()])
    }
}

impl<P: Into<PathBuf>> From<Vec<P>> for TextPath {
    fn from(paths: Vec<P>) -> Self {
        TextPath(paths.into_iter().map(Into::into).collect())
    }
}

impl<P: Into<PathBuf>, const N: usize> From<[P; N]> for TextPath {
    fn from(paths: [P; N]) -> Self {
        TextPath(paths.into_iter().map(Into::into).collect())
    }
}

impl<P: AsRef<Path>> From<&[P]> for TextPath {
    fn from(paths: &[P]) -> Self {
        TextPath(paths.iter().map(|path| path.as_ref().to_path_buf()).collect())
    }
}

/// What a file is by its first bytes, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Format::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
            _ => Format::Plain,
        }
    }
}

/// What tells whether a file was written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) bytes: u64,
    /// When it was written to last, in seconds and nanoseconds.
    modified: (i64, i64),
    inode: u64,
}

impl State {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(State { bytes: about.len(), modified: (about.mtime(), about.mtime_nsec()), inode: about.ino() })
    }

    /// An error that says what has changed if this is not the state of the file `now`.
    pub(super) fn check(&self, now: &State, path: &Path) -> Result<()> {
        let what = if self.bytes != now.bytes {
            format!("it had {} bytes when it was listed, and has {} now", self.bytes, now.bytes)
        } else if self.inode != now.inode {
            "another one was put in its place since it was listed".into()
        } else if self.modified != now.modified {
            "it was written to since it was listed, though it has as many bytes as it had".into()
        } else {
            return Ok(());
        };
        let message = format!("the file has changed: {what}; read files that nobody writes to, or a copy of this one");
        Err(Error::input(path.display(), None, message))
    }
}

/// A file as it was when it was listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    /// The bytes of its whole path, which need not be UTF-8.
    path: Vec<u8>,
    /// The file as it was sent along.
    shipped: Option<Shipped>,
    state: State,
    pub(super) format: Format,
}

impl Listed {
    fn look(path: PathBuf) -> Result<Self> {
        let look = || -> io::Result<_> {
            // Before it is opened: opening a pipe would wait for whoever writes to it.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("this is no regular file, so it cannot be divided into splits"));
            }
            let mut head = Vec::new();
            let file = File::open(&path)?;
            let state = State::of(&file)?;
            file.take(4).read_to_end(&mut head)?;
            if state.bytes == 0 && !head.is_empty() {
                return Err(io::Error::other("the file does not know its size, so it cannot be divided into splits"));
            }
            Ok((state, Format::of(&head)))
        };
        let (state, format) = look().map_err(|error| Error::input(path.display(), None, error))?;
        Ok(Listed { path: path.into_os_string().into_vec(), shipped: None, state, format })
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.state.bytes
    }

    /// Has the file sent to where tasks are.
    pub(super) fn ship(&mut self, runner: &dyn Runner) -> Result<()> {
        self.shipped = Some(Shipped::by(runner, self.path())?);
        Ok(())
    }

    /// Opens it where this process is, if it is still what was listed.
    pub(super) fn open(&self) -> Result<(File, State)> {
        let path = self.shipped.as_ref().map_or_else(|| Ok(self.path().to_path_buf()), Shipped::path)?;
        let file = match self.shipped {
            Some(_) => File::open(&path).map_err(|error| Error::input(path.display(), None, error))?,
            None => shipped::open(&path)?,
        };
        let now = State::of(&file).map_err(|error| Error::input(path.display(), None, error))?;
        let mut listed = self.state.clone();
        if path != self.path() {
            // A copy has a time of its own; its bytes were checked when it was brought.
            listed.modified = now.modified;
        }
        if path != self.path() || shipped::is_elsewhere() {
            // Machines number the files of a shared directory as they like.
            listed.inode = now.inode;
        }
        listed.check(&now, &path)?;
        Ok((file, now))
    }

    /// Its path on the machine where it was listed.
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// Lists what is asked for: in the order of the paths given, by name under each of them. What is relative is so to
/// where this process is now.
pub(super) fn list(wanted: &TextPath) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for path in &wanted.0 {
        let failed = |error: io::Error| Error::input(path.display(), None, error);
        let whole = paths::whole(path).map_err(|wrong| Error::input("its input", None, format!("the path {wrong}")))?;
        let before = files.len();
        match fs::metadata(&whole) {
            Ok(about) if about.is_dir() => directory(&whole, &mut files)?,
            Ok(_) => files.push(whole),
            Err(_) if patterns::is_pattern(path) => {
                // The directory where this process is may have a name with a `*` in it.
                let here = if path.is_absolute() { PathBuf::new() } else { std::env::current_dir().map_err(failed)? };
                let mut found = Vec::new();
                for path in patterns::find(&here, path)? {
                    if path.is_dir() { directory(&path, &mut found)? } else { found.push(path) }
                }
                // Of a directory and what is in it, both may have been asked for.
                let mut seen = BTreeSet::new();
                found.retain(|path| seen.insert(path.clone()));
                files.append(&mut found);
            }
            Err(error) => return Err(failed(error)),
        }
        if files.len() == before {
            return Err(Error::input(path.display(), None, "there is no file to read here"));
        }
    }
    if files.is_empty() {
        return Err(Error::input("text_file", None, "no path was given"));
    }
    files.into_iter().map(Listed::look).collect()
}

/// Whether a name is not read unless it is asked for.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_bytes().first(), Some(b'.' | b'_'))
}

/// Adds the files of a directory, by name.
fn directory(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error: io::Error| Error::input(path.display(), None, error);
    if is_half_saved(path) {
        let message = "a job saves to this directory, or ended before it was done: what is there is not whole; read it \
                       when `_SUCCESS` is there, or remove it if no job saves there any more";
        return Err(failed(io::Error::other(message)));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if !is_hidden(&entry.file_name()) && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}
