//! Private directories: opened component by component, so that no other user can put another directory in their place.

use crate::home::HomeError;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, mkdirat, open, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// How many links one path may pass.
const LINKS: usize = 40;

/// Opens a directory only to pass through it, and never by way of a link.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that only this user can enter, and that no other user can replace. It is held open: a file reached
/// through it is in the directory that was checked, whatever its path leads to by then.
///
/// Each directory on the way has to belong to this user or to root. Others may not change what is in it, unless it is
/// sticky, as `/tmp` is. A link on the way counts only if it belongs to one of these two.
#[derive(Debug)]
pub struct PrivateDir {
    directory: OwnedFd,
    path: PathBuf,
}

/// Creates a directory that only this user can enter, with the missing ones above it, or checks the existing one. The
/// umask of the process does not matter.
///
/// # Errors
/// If it belongs to another user, others can enter or replace it, or it cannot be created.
pub fn private_dir(path: &Path) -> Result<PrivateDir, HomeError> {
    PrivateDir::reach(path, true)
}

impl PrivateDir {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// If it does not exist, belongs to another user, or others can enter or replace it.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        Self::reach(path, false)
    }

    /// The path by which the system finds `name` in the directory, for as long as this value lives. It is short, and no
    /// link outside the directory can redirect it.
    pub fn through(&self, name: impl AsRef<OsStr>) -> PathBuf {
        through(&self.directory).join(name.as_ref())
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's own entry of this name, if there is one.
    pub fn stat(&self, name: &OsStr) -> Option<Stat> {
        statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Opens `name` to be reached by [`through`], not to be read.
    ///
    /// # Errors
    /// If it does not exist, or the file system refuses.
    pub fn hold(&self, name: &OsStr) -> std::io::Result<OwnedFd> {
        Ok(openat(&self.directory, name, HOLD, Mode::empty())?)
    }

    /// Removes the entry `name`, unless it is a directory.
    ///
    /// # Errors
    /// If it does not exist, or the file system refuses.
    pub fn remove(&self, name: &OsStr) -> std::io::Result<()> {
        Ok(unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn reach(path: &Path, make: bool) -> Result<Self, HomeError> {
        let wrong = |message: String| HomeError::Directory { path: path.to_owned(), message };
        let whole = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
        let directory = Walk::begin(&whole, make).and_then(Walk::run).map_err(wrong)?;
        Ok(PrivateDir { directory, path: whole })
    }
}

/// The path of an open file, which the system follows to that very file.
pub fn through(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// A way from the root down to a directory.
struct Walk {
    at: OwnedFd,
    /// The same path, for people.
    shown: PathBuf,
    /// The components still to go, the next one last.
    rest: Vec<OsString>,
    links: usize,
    make: bool,
    /// Who may own what is on the way. The owner of the root directory can do anything; in a user namespace that owner
    /// is root under another number.
    trusted: [u32; 3],
}

impl Walk {
    fn begin(path: &Path, make: bool) -> Result<Self, String> {
        let at = root()?;
        let owner = rustix::fs::fstat(&at).map_err(|error| error.to_string())?.st_uid;
        let trusted = [geteuid().as_raw(), 0, owner];
        Ok(Walk { at, shown: "/".into(), rest: components(path), links: 0, make, trusted })
    }

    fn run(mut self) -> Result<OwnedFd, String> {
        loop {
            let stat = rustix::fs::fstat(&self.at).map_err(|error| self.failed(error))?;
            let Some(name) = self.rest.pop() else { return self.end(&stat) };
            self.check_way(&stat)?;
            let next = self.step(&name)?;
            let stat = rustix::fs::fstat(&next).map_err(|error| self.failed(error))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.at = next;
                    self.shown.push(&name);
                }
                // The last component may not be a link: its owner could let it lead to another directory of this
                // user's.
                FileType::Symlink if !self.rest.is_empty() => self.follow(&next, &name, &stat)?,
                _ => return Err(format!("{} is not a directory", self.shown.join(&name).display())),
            }
        }
    }

    /// Opens the next component, or creates it.
    fn step(&self, name: &OsStr) -> Result<OwnedFd, String> {
        let open = || openat(&self.at, name, HOLD, Mode::empty());
        let made = match open() {
            Err(Errno::NOENT) if self.make => match mkdirat(&self.at, name, Mode::RWXU) {
                Err(Errno::EXIST) => false,
                made => made.map(|()| true).map_err(|error| self.failed_at(name, error))?,
            },
            opened => return opened.map_err(|error| self.failed_at(name, error)),
        };
        let next = open().map_err(|error| self.failed_at(name, error))?;
        if made {
            // The umask may have taken rights from the owner.
            let mode = Permissions::from_mode(0o700);
            std::fs::set_permissions(through(&next), mode).map_err(|error| self.failed_at(name, error))?;
        }
        Ok(next)
    }

    /// Follows a link that no other user can have made.
    fn follow(&mut self, link: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<(), String> {
        if !self.trusted.contains(&stat.st_uid) {
            return Err(format!("{} is a link that another user made", self.shown.join(name).display()));
        }
        self.links += 1;
        let target = readlinkat(link, "", Vec::new()).map_err(|error| self.failed_at(name, error))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if self.links > LINKS {
            return Err(format!("there are more than {LINKS} links on the way"));
        }
        if target.is_absolute() {
            self.at = root()?;
            self.shown = "/".into();
        }
        self.rest.extend(components(&target));
        Ok(())
    }

    /// Refuses to go through a directory in which others can replace the next component.
    fn check_way(&self, stat: &Stat) -> Result<(), String> {
        let shown = self.shown.display();
        if !self.trusted.contains(&stat.st_uid) {
            return Err(format!("{shown} belongs to another user, who could replace what is in it"));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        match mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
            true => Err(format!("others could replace what is in {shown}; chmod go-w {shown}")),
            false => Ok(()),
        }
    }

    fn end(self, stat: &Stat) -> Result<OwnedFd, String> {
        if stat.st_uid != geteuid().as_raw() {
            return Err("it belongs to another user; set TRYWORKS_HOME to a directory of your own".into());
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return Err(format!("others can enter it; chmod 700 {}", self.shown.display()));
        }
        Ok(self.at)
    }

    fn failed(&self, error: Errno) -> String {
        format!("{}: {}", self.shown.display(), std::io::Error::from(error))
    }

    fn failed_at(&self, name: &OsStr, error: impl Into<std::io::Error>) -> String {
        format!("{}: {}", self.shown.join(name).display(), error.into())
    }
}

fn root() -> Result<OwnedFd, String> {
    open("/", HOLD, Mode::empty()).map_err(|error| format!("/: {}", std::io::Error::from(error)))
}

/// The components of a path, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    let named = path.components().filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    named.rev().map(|component| component.as_os_str().to_owned()).collect()
}
