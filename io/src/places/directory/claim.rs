//! The claim on a directory that a job saves to: a file that only one job can create.

use foldhash::quality::FixedState;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::BuildHasher;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, disk};
use tryworks_core::runner::Tie;

/// The name of the claim.
pub(super) const CLAIM: &str = ".saving";

/// A directory that only this job may write to.
#[derive(Debug)]
pub(super) struct Claim {
    token: String,
    /// Locked for as long as the driver lives. Others can so tell a job that is saving from one whose driver died.
    _file: File,
    /// The directories that were created for it, the outer ones first.
    made: Vec<PathBuf>,
    is_new: bool,
}

/// The token of the job that has claimed a directory.
pub(super) fn holder(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(CLAIM)).ok()?;
    Some(text.lines().next()?.to_string())
}

impl Claim {
    /// Claims `dir`, and creates it if it is missing.
    pub(super) fn take(dir: &Path, tie: &Tie) -> Result<Self> {
        let failed = |error: io::Error| match obstacle(dir, &error) {
            Some(what) => Error::storage("preparing to save", dir, &io::Error::other(what)),
            None => disk::storage("preparing to save", dir, 0, &error),
        };
        if let Tie::Attached(job) = tie {
            let message = format!("the number of job {job} does not say what it saves; ask for it by its name");
            return Err(failed(io::Error::other(message)));
        }
        if let Some(claim) = Claim::again(dir, tie) {
            return Ok(claim);
        }
        let missing = dir.ancestors().take_while(|dir| fs::symlink_metadata(dir).is_err());
        let mut made: Vec<_> = missing.map(Path::to_path_buf).collect();
        made.reverse();
        fs::create_dir_all(dir).map_err(failed)?;
        let claimed = Claim::take_empty(dir, tie);
        if claimed.is_err() {
            made.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
        }
        let (token, file) = claimed.map_err(failed)?;
        Ok(Claim { token, _file: file, made, is_new: true })
    }

    /// The claim that a detached job has already, from an earlier driver.
    fn again(dir: &Path, tie: &Tie) -> Option<Self> {
        let Tie::Detached(name) = tie else { return None };
        let token = holder(dir).filter(|token| *token == named(name))?;
        let file = File::open(dir.join(CLAIM)).ok()?;
        // Another driver that waits for the same job may hold the lock: then that driver's lock shows that the job is
        // alive.
        let _ = file.try_lock();
        Some(Claim { token, _file: file, made: Vec::new(), is_new: false })
    }

    fn take_empty(dir: &Path, tie: &Tie) -> io::Result<(String, File)> {
        check_empty(dir)?;
        let path = dir.join(CLAIM);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(dir)),
            other => other?,
        };
        let take = |file: &mut File| {
            // A process that looks at the claim holds the lock for a moment. On a file system without locks, the file
            // alone is the claim.
            let _ = file.lock();
            let token = if let Tie::Detached(name) = tie { named(name) } else { random()? };
            writeln!(file, "{token}\nprocess {} saves here", std::process::id())?;
            // Files may have been added since the first look.
            check_empty_but_claim(dir)?;
            fs::create_dir(dir.join(super::work_name(&token)))?;
            Ok(token)
        };
        match take(&mut file) {
            Ok(token) => Ok((token, file)),
            Err(error) => {
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether this claim is the first for this job.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The directories that were created, the inner ones first.
    pub(super) fn made(&self) -> impl Iterator<Item = &Path> {
        self.made.iter().rev().map(PathBuf::as_path)
    }
}

/// What prevents a directory from being created, and what to do; `None` if the error says enough.
fn obstacle(dir: &Path, error: &io::Error) -> Option<String> {
    let advice = "parts are saved to a directory of their own";
    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::NotFound => {}
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            let there = dir.ancestors().find(|dir| dir.exists())?;
            let place = there.display();
            return Some(format!(
                "nothing may be made in {place}: {error}; save to a place that this user may write to"
            ));
        }
        _ => return None,
    }
    // The innermost ancestor that exists, whatever kind of file it is.
    let (path, about) = dir.ancestors().find_map(|path| Some((path, fs::symlink_metadata(path).ok()?)))?;
    let place = path.display();
    let target = fs::metadata(path);
    if about.is_symlink() && target.is_err() {
        let to = fs::read_link(path).unwrap_or_default();
        return Some(format!(
            "{place} is a link to {}, which is not there; make that directory, or remove the link",
            to.display()
        ));
    }
    let is_file = target.is_ok_and(|about| !about.is_dir());
    is_file.then(|| format!("{place} is a file, and no directory; {advice}: give another path, or remove the file"))
}

/// The token of a detached job: any program that asks for the job by its name can compute it.
fn named(job: &str) -> String {
    format!("job-{:016x}", FixedState::default().hash_one(job))
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

fn check_empty(dir: &Path) -> io::Result<()> {
    if fs::exists(dir.join(CLAIM))? { Err(taken(dir)) } else { check_empty_but_claim(dir) }
}

fn check_empty_but_claim(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        if entry?.file_name() != CLAIM {
            let message = "the directory is there and is not empty; save to another one, or remove it";
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

/// Why a directory that has a claim cannot be claimed.
fn taken(dir: &Path) -> io::Error {
    let claim = dir.join(CLAIM);
    let message = match File::open(&claim).map(|file| file.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => "another job is saving to this directory; save to another one".to_string(),
        Ok(Ok(())) => {
            "a job that ended before it was done has left its files in this directory; remove it, unless that \
                       job is detached and still runs, or save to another one"
                .to_string()
        }
        // The file system has no locks, or the claim was removed in between.
        _ => format!(
            "another job has claimed this directory; save to another one. If no job saves there, {} is left of one that \
             died: remove the directory",
            claim.display()
        ),
    };
    io::Error::other(message)
}
