//! The claim on a directory that a job saves to: a file that only one job can create.

use super::Names;
use crate::files::saved::CLAIM;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, codec, disk};
use tryworks_core::sink::Saver;

/// A directory that only this job may write to.
#[derive(Debug)]
pub(super) struct Claim {
    token: String,
    /// Locked for as long as a driver of the job is there, so that others can tell a job that is saving from one that died.
    _file: Option<File>,
    /// The directories that were made for it, the outer ones first.
    made: Vec<PathBuf>,
    is_new: bool,
}

/// What a claim says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What tells the files of the job from those of others.
    pub(super) token: String,
    /// For people.
    note: String,
    /// The name of the job and its cluster, if it is detached. Of the jobs of a cluster one has a name at a time.
    job: Option<(String, String)>,
    /// How its files are named.
    pub(super) names: Names,
    /// How many directories were made for it: this one and some that it is in.
    made: usize,
}

/// What the claim on a directory says.
pub(super) fn record(dir: &Path) -> Option<Record> {
    parse(&fs::read(dir.join(CLAIM)).ok()?)
}

fn parse(bytes: &[u8]) -> Option<Record> {
    // The first lines are for people, and for programs that only want the token.
    let at = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1)?.0 + 1;
    codec::decode_whole(bytes.get(at..)?).ok()
}

/// The token of the job that has claimed a directory.
pub(super) fn holder(dir: &Path) -> Option<String> {
    Some(record(dir)?.token)
}

impl Claim {
    /// Claims `dir`, which is made if it is not there. The files of the job are called so.
    pub(super) fn take(dir: &Path, saver: &Saver<'_>, names: &Names) -> Result<Self> {
        let failed = |error: io::Error| match obstacle(dir, &error) {
            Some(what) => Error::storage("preparing to save", dir, &io::Error::other(what)),
            None => disk::storage("preparing to save", dir, 0, &error),
        };
        if let Saver::Known { token } = saver {
            return Ok(Claim::again(dir, token));
        }
        if let Saver::New { name, cluster, .. } = saver {
            clear_after(dir, name, cluster);
        }
        let missing = dir.ancestors().take_while(|dir| fs::symlink_metadata(dir).is_err());
        let mut made: Vec<_> = missing.map(Path::to_path_buf).collect();
        made.reverse();
        fs::create_dir_all(dir).map_err(failed)?;
        let claimed = Claim::take_empty(dir, saver, names, made.len());
        if claimed.is_err() {
            made.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
        }
        let (token, file) = claimed.map_err(failed)?;
        Ok(Claim { token, _file: Some(file), made, is_new: true })
    }

    /// The claim that a job which outlives its drivers has already. It may be over by now, so that there is none: what came
    /// of it is seen when it is finished.
    fn again(dir: &Path, token: &str) -> Self {
        let record = record(dir).filter(|record| record.token == *token);
        let file = record.as_ref().and_then(|_| File::open(dir.join(CLAIM)).ok());
        // Another driver that waits for the same job may have it locked: then that one says that the job is there.
        let _ = file.as_ref().map(File::try_lock);
        let made = record.map_or(0, |record| record.made);
        let mut made: Vec<_> = dir.ancestors().take(made).map(Path::to_path_buf).collect();
        made.reverse();
        Claim { token: token.into(), _file: file, made, is_new: false }
    }

    fn take_empty(dir: &Path, saver: &Saver<'_>, names: &Names, made: usize) -> io::Result<(String, File)> {
        check_empty(dir)?;
        let (token, job) = match saver {
            Saver::New { token, name, cluster } => {
                ((*token).to_string(), Some((name.to_string(), cluster.to_string())))
            }
            Saver::Bound | Saver::Known { .. } => (random()?, None),
        };
        let note = match &job {
            Some((name, _)) => format!("the detached job `{name}` saves here"),
            None => format!("process {} saves here", std::process::id()),
        };
        let record = Record { token: token.clone(), note, job, names: names.clone(), made };
        let file = publish(dir, &record)?;
        let take = || {
            // Something may have come in since the first look.
            check_empty_but_claim(dir)?;
            fs::create_dir(dir.join(super::work_name(&token)))
        };
        match take() {
            Ok(()) => Ok((token, file)),
            Err(error) => {
                fs::remove_file(dir.join(CLAIM))?;
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

/// Makes the claim. It is locked and says all that it says before anybody sees it under its name: else it would look like
/// one that a dead job has left.
fn publish(dir: &Path, record: &Record) -> io::Result<File> {
    let (new, claim) = (dir.join(new_name(&record.token)), dir.join(CLAIM));
    let make = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        // Where there are no locks, the file alone is the claim.
        let _ = file.try_lock();
        let mut bytes = format!("{}\n{}\n", record.token, record.note.escape_debug()).into_bytes();
        codec::encode(record, &mut bytes).map_err(io::Error::other)?;
        file.write_all(&bytes)?;
        match renameat_with(CWD, &new, CWD, &claim, RenameFlags::NOREPLACE) {
            // Not every file system knows this kind of renaming. A link is not made over another file either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::hard_link(&new, &claim) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    file = OpenOptions::new().write(true).create_new(true).open(&claim)?;
                    let _ = file.try_lock();
                    file.write_all(&bytes)?;
                }
                other => other?,
            },
            other => other?,
        }
        Ok(file)
    };
    let made = make().map_err(|error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => taken(dir),
        _ => error,
    });
    // After a rename it is not there.
    let _ = fs::remove_file(&new);
    made
}

/// The name of a claim before it is one.
fn new_name(token: &str) -> String {
    format!("{CLAIM}-{token}.new")
}

/// Removes what a detached job of this name has left in `dir`, and its claim. The job is over: the cluster has none of the
/// name, and no program saves for it.
fn clear_after(dir: &Path, name: &str, cluster: &str) {
    let Ok(file) = File::open(dir.join(CLAIM)) else { return };
    // A driver that was cut off may still believe that it has the name.
    if file.try_lock().is_err() {
        return;
    }
    if let Some(Record { token, job: Some((its_name, its_cluster)), names, .. }) = record(dir)
        && its_name == name
        && its_cluster == cluster
    {
        super::remove_saved(dir, &token, &names);
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

pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

fn check_empty(dir: &Path) -> io::Result<()> {
    let looked = check_empty_but_claim(dir);
    // What is in the way may be what another job has put there, whose claim came in between.
    if fs::exists(dir.join(CLAIM))? { Err(taken(dir)) } else { looked }
}

fn check_empty_but_claim(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        // Others may be about to claim it, and are told that they come too late.
        let is_new = name.as_bytes().starts_with(CLAIM.as_bytes()) && name.as_bytes().ends_with(b".new");
        if name != CLAIM && !is_new {
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
        Ok(Ok(())) => match record(dir).and_then(|record| record.job) {
            Some((name, _)) => format!(
                "the detached job `{name}` saves to this directory, or was of a cluster that is gone and has left its files \
                 here; save to another one, or remove it if no cluster has that job any more (`tryworks jobs` lists them)"
            ),
            None => "a job that ended before it was done has left its files in this directory; remove it, or save to \
                     another one"
                .to_string(),
        },
        // The file system has no locks, or the claim was removed in between.
        _ => format!(
            "another job has claimed this directory; save to another one. If no job saves there, {} is left of one that \
             died: remove the directory",
            claim.display()
        ),
    };
    io::Error::other(message)
}
