//! Which files a text source reads: paths, directories and globs, made into one list that no longer changes.

use crate::shipped::Shipped;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tryworks_core::runner::Runner;
use tryworks_core::{Error, Result};

/// What to read: the path of a file, a directory (its files by name, but not those whose names begin with `.` or
/// `_`), a glob, or several of these.
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

/// A file as it was when it was listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    /// The bytes of its path, which need not be UTF-8.
    path: Vec<u8>,
    /// The file as it was sent along.
    shipped: Option<Shipped>,
    pub(super) bytes: u64,
    pub(super) format: Format,
}

impl Listed {
    fn look(path: PathBuf) -> Result<Self> {
        let look = || -> io::Result<_> {
            // Before it is opened: opening a pipe would wait for whoever writes to it.
            let about = fs::metadata(&path)?;
            if !about.is_file() {
                return Err(io::Error::other("this is no regular file, so it cannot be divided into splits"));
            }
            let mut head = Vec::new();
            File::open(&path)?.take(4).read_to_end(&mut head)?;
            if about.len() == 0 && !head.is_empty() {
                return Err(io::Error::other("the file does not know its size, so it cannot be divided into splits"));
            }
            Ok((about.len(), Format::of(&head)))
        };
        let (bytes, format) = look().map_err(|error| Error::input(path.display(), None, error))?;
        Ok(Listed { path: path.into_os_string().into_vec(), shipped: None, bytes, format })
    }

    /// Has the file sent to where tasks are.
    pub(super) fn ship(&mut self, runner: &dyn Runner) -> Result<()> {
        self.shipped = Some(Shipped::by(runner, self.path())?);
        Ok(())
    }

    /// Opens it where this process is.
    pub(super) fn open(&self) -> Result<File> {
        match &self.shipped {
            Some(shipped) => {
                let path = shipped.path()?;
                File::open(&path).map_err(|error| Error::input(path.display(), None, error))
            }
            None => crate::shipped::open(self.path()),
        }
    }

    /// Its path on the machine where it was listed.
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// Lists what is asked for: in the order of the paths given, by name under each of them.
pub(super) fn list(wanted: &TextPath) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for path in &wanted.0 {
        let before = files.len();
        match fs::metadata(path) {
            Ok(about) if about.is_dir() => directory(path, &mut files)?,
            Ok(_) => files.push(path.clone()),
            Err(error) => match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(pattern) => matches(pattern, &mut files)?,
                None => return Err(Error::input(path.display(), None, error)),
            },
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

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| matches!(name.as_bytes().first(), Some(b'.' | b'_')))
}

/// Adds the files of a directory, by name.
fn directory(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error: io::Error| Error::input(path.display(), None, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if !is_hidden(&entry) && !entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}

/// Adds what matches a glob. `*` does not match names that begin with `.` or `_`, as in a directory.
fn matches(pattern: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let found = glob::glob_with(pattern, options).map_err(|error| Error::input(pattern, None, error))?;
    let wants_hidden = is_hidden(Path::new(pattern));
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| Error::input(error.path().display(), None, error.error()))?;
        if wants_hidden || !is_hidden(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        if path.is_dir() { directory(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
