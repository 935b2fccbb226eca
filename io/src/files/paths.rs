//! Which paths a program asks for: one or several, each a file, a directory or a glob.

use std::path::{Path, PathBuf};

/// What to read: the path of a file, of a directory, a glob, or several of these. Of a directory, the files are read by
/// name, without those whose names begin with `.` or `_`. In a glob, `*` and `?` stand for characters of a name,
/// `[a-z]` for one of a class, `**` for any number of directories, and `{a,b}` for each of these. Only the last also
/// stands for a `.` or `_` at the beginning of a name. A path that exists is taken as it is, even if it looks like a
/// glob.
///
/// ```
/// use tryworks_io::files::Paths;
/// assert_eq!(Paths::from("logs/*.txt").to_string(), "logs/*.txt");
/// assert_eq!(Paths::from(["a.txt", "b"]).to_string(), "a.txt, b");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths(pub(crate) Vec<PathBuf>);

/// How many of several paths are shown.
const SHOWN: usize = 3;

impl std::fmt::Display for Paths {
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
        impl From<$path> for Paths {
            fn from(path: $path) -> Self {
                Paths(vec![path.into()])
            }
        }
    )*};
}
from_one_path!(&str, String, &String, &Path, PathBuf);

impl From<&PathBuf> for Paths {
    fn from(path: &PathBuf) -> Self {
        Paths(vec![path.clone()])
    }
}

impl<P: Into<PathBuf>> From<Vec<P>> for Paths {
    fn from(paths: Vec<P>) -> Self {
        Paths(paths.into_iter().map(Into::into).collect())
    }
}

impl<P: Into<PathBuf>, const N: usize> From<[P; N]> for Paths {
    fn from(paths: [P; N]) -> Self {
        Paths(paths.into_iter().map(Into::into).collect())
    }
}

impl<P: AsRef<Path>> From<&[P]> for Paths {
    fn from(paths: &[P]) -> Self {
        Paths(paths.iter().map(|path| path.as_ref().to_path_buf()).collect())
    }
}
