//! Where clusters live: a directory that only their user can enter, with one directory for each cluster in it.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest name of a cluster. The paths of its sockets have to fit.
const MAX_NAME: usize = 32;

/// The longest name of anything else.
const MAX_LABEL: usize = 100;

/// Why a cluster has no place to live.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A name that no cluster can have.
    #[error(
        "{name:?} is no name for a cluster: it must begin with a small letter or a digit, go on with these, `_` or \
         `-`, and have at most {MAX_NAME} of them"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name that nothing else can have.
    #[error(
        "{name:?} is no name for {what}: it must begin with a letter or a digit, be no number alone, hold neither `/` \
         nor line breaks or the like, and have at most {MAX_LABEL} characters"
    )]
    Label {
        /// What it was to name.
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

/// The directory of all clusters of this user, made if need be: `TRYWORKS_HOME`, or `XDG_RUNTIME_DIR/tryworks`, or
/// `/tmp/tryworks-UID`.
///
/// # Errors
/// If it belongs to somebody else, others can enter it, or it cannot be made.
pub fn home() -> Result<PathBuf, HomeError> {
    home_from(|name| std::env::var_os(name))
}

/// [`home`] with another environment.
///
/// # Errors
/// As [`home`].
pub fn home_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, HomeError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = match (set("TRYWORKS_HOME"), set("XDG_RUNTIME_DIR")) {
        (Some(path), _) => path,
        (None, Some(runtime)) => runtime.join("tryworks"),
        (None, None) => format!("/tmp/tryworks-{}", rustix::process::geteuid().as_raw()).into(),
    };
    let path = std::path::absolute(&path).map_err(|error| wrong(&path, error))?;
    private_dir(&path)?;
    Ok(path)
}

/// The directory of the cluster of this name in a home, which need not exist.
///
/// # Errors
/// If no cluster can have that name.
pub fn cluster_dir(home: &Path, name: &str) -> Result<PathBuf, HomeError> {
    check_name(name)?;
    Ok(home.join(name))
}

/// Refuses what is no name for a cluster, such as one that leads out of its home.
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

/// Refuses what is no name for an engine, a pool or a job: they are shown in terminals, the names of engines become
/// directories, and numbers are what the cluster itself calls them by.
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

/// Makes a directory that only this user can enter, or checks that it is one.
///
/// # Errors
/// If it belongs to somebody else, others can enter it, or it cannot be made.
pub fn private_dir(path: &Path) -> Result<(), HomeError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| wrong(parent, error))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(wrong(path, error)),
        _ => {}
    }
    check_private(path).map_err(|message| wrong(path, message))
}

/// Says why a directory is not this user's alone. A link is none: who made it could let it lead elsewhere.
pub(crate) fn check_private(path: &Path) -> Result<(), String> {
    let meta = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_dir() {
        return Err("it is not a directory".into());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user; set TRYWORKS_HOME to a directory of your own".into());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!("others can enter it; chmod 700 {}", path.display()));
    }
    Ok(())
}

fn wrong(path: &Path, message: impl fmt::Display) -> HomeError {
    HomeError::Directory { path: path.to_owned(), message: message.to_string() }
}
