//! Where clusters keep their files: a directory that only their user can enter, with one directory in it for each
//! cluster.

use crate::private::{PrivateDir, private_dir};
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The longest name of a cluster.
const MAX_NAME: usize = 32;

/// The longest name of anything else.
const MAX_LABEL: usize = 100;

/// Why a cluster cannot have a directory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A name that no cluster can have.
    #[error(
        "{name:?} is no name for a cluster: it must begin with a lower-case letter or a digit, continue with these, `_` \
         or `-`, and have at most {MAX_NAME} of them"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name that nothing in a cluster can have.
    #[error(
        "{name:?} is no name for {what}: it must begin with a letter or a digit, not be a number, contain neither `/` \
         nor line breaks or the like, and have at most {MAX_LABEL} characters"
    )]
    Label {
        /// What the name was for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A directory that cannot be used.
    #[error("the directory {}: {message}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
}

impl HomeError {
    /// What is wrong, without naming the directory again.
    pub fn why(&self) -> String {
        match self {
            HomeError::Directory { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// The directory of all clusters of this user: `TRYWORKS_HOME`, or `XDG_RUNTIME_DIR/tryworks`, or `/tmp/tryworks-UID`.
/// It is created if it is missing.
///
/// # Errors
/// If it belongs to another user, other users can enter it, or it cannot be created.
pub fn home() -> Result<PathBuf, HomeError> {
    home_from(|name| std::env::var_os(name))
}

/// The same for who only looks: it is not created, and `None` if it is missing.
///
/// # Errors
/// If it belongs to another user, or other users can enter it.
pub fn existing_home() -> Result<Option<PathBuf>, HomeError> {
    let path = path_from(|name| std::env::var_os(name))?;
    match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        _ => PrivateDir::open(&path).map(|_| Some(path)),
    }
}

/// [`home`], with another environment.
///
/// # Errors
/// As [`home`].
pub fn home_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, HomeError> {
    let path = path_from(variable)?;
    private_dir(&path)?;
    Ok(path)
}

fn path_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, HomeError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = match (set("TRYWORKS_HOME"), set("XDG_RUNTIME_DIR")) {
        (Some(path), _) => path,
        (None, Some(runtime)) => runtime.join("tryworks"),
        (None, None) => format!("/tmp/tryworks-{}", rustix::process::geteuid().as_raw()).into(),
    };
    std::path::absolute(&path).map_err(|error| wrong(&path, error))
}

/// The directory of the cluster of this name in a home; it need not exist.
///
/// # Errors
/// If no cluster can have that name.
pub fn cluster_dir(home: &Path, name: &str) -> Result<PathBuf, HomeError> {
    check_name(name)?;
    Ok(home.join(name))
}

/// Refuses what cannot be the name of a cluster, such as one that leads out of its home.
///
/// # Errors
/// Says what a name may be.
pub fn check_name(name: &str) -> Result<(), HomeError> {
    let good = |(i, byte): (usize, u8)| match byte {
        b'a'..=b'z' | b'0'..=b'9' => true,
        b'_' | b'-' => i > 0,
        _ => false,
    };
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().enumerate().all(good) {
        true => Ok(()),
        false => Err(HomeError::Name { name: name.into() }),
    }
}

/// Refuses what cannot be the name of an engine, a pool or a job. Names are shown in terminals, and those of engines
/// become directories. A number is no name, since the cluster itself calls things by numbers.
///
/// # Errors
/// Says what a name may be.
pub fn check_label(what: &'static str, name: &str) -> Result<(), HomeError> {
    let begins = name.starts_with(char::is_alphanumeric);
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    let strange = name.contains(|c: char| c == '/' || c.is_control());
    match begins && !number && !strange && name.chars().count() <= MAX_LABEL {
        true => Ok(()),
        false => Err(HomeError::Label { what, name: name.into() }),
    }
}

fn wrong(path: &Path, message: impl fmt::Display) -> HomeError {
    HomeError::Directory { path: path.to_owned(), message: message.to_string() }
}
