//! Ends what is left of clusters, and removes their directories, in a process of its own. Engines may have held millions
//! of blocks, and the command that stops a cluster or starts the next one must not wait for that.

use crate::process::Seen;
use crate::record::{elsewhere, recorded};
use crate::{human, place};
use anyhow::Context;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tryworks_base::Error;
use tryworks_base::private::private_dir;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long a command waits for the process. Usually nothing is left by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the command checks whether the process has ended.
const EVERY: Duration = Duration::from_millis(5);

/// Ends the processes that are recorded in the directory of a cluster, and removes it. Returns how many processes there
/// were.
pub fn remove(directory: &Path) -> anyhow::Result<u64> {
    let ended = end_recorded(directory)?;
    discard(directory)?;
    Ok(ended)
}

/// Ends the living processes that pid files in the directory name. All are asked first; those that do not end in time
/// are killed.
fn end_recorded(directory: &Path) -> anyhow::Result<u64> {
    let mut found = Vec::new();
    for (process, seen) in recorded(directory) {
        match seen {
            Seen::Alive(process) => found.push(process),
            Seen::Elsewhere => return Err(elsewhere(directory, &process)),
            Seen::Gone => {}
        }
    }
    for process in &found {
        process.signal(rustix::process::Signal::TERM)?;
    }
    for process in &found {
        process.end(GRACE)?;
    }
    Ok(found.len() as u64)
}

/// Frees the name of a directory at once, and has the directory removed.
fn discard(directory: &Path) -> anyhow::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}-{}", human::now());
    let aside = place::removed()?;
    loop {
        private_dir(&aside)?;
        match fs::rename(directory, aside.join(&name)) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !directory.exists() {
                    return Ok(());
                }
                // Another process has removed the last entry, and then the directory of removed clusters itself.
            }
            Err(error) => return Err(Error::storage("removing the directory of a cluster", directory, &error).into()),
        }
    }
    let mut remover = begin(&name)?;
    let end = Instant::now() + PATIENCE;
    while remover.try_wait()?.is_none() && Instant::now() < end {
        std::thread::sleep(EVERY);
    }
    Ok(())
}

/// Starts the process that removes the directory of this name. It does not end with this command.
fn begin(name: &str) -> anyhow::Result<Child> {
    // Not by its path: another version may be installed there by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tryworks").args(["remove", name]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("the process that removes what a cluster left cannot be started")
}

/// The process: removes the directory of this name, unless another process does.
pub fn execute(name: &str) -> anyhow::Result<()> {
    // A process that leads a process group already needs no session.
    let _ = rustix::process::setsid();
    if !left()?.iter().any(|left| left == name) {
        return Ok(());
    }
    let directory = place::removed()?.join(name);
    let lock = File::open(&directory)?;
    if lock.try_lock().is_ok() {
        delete(&directory)?;
    }
    Ok(())
}

/// Continues with what is left because the processes that were removing it were killed.
pub fn resume() -> anyhow::Result<()> {
    for name in left()? {
        let mut remover = begin(&name)?;
        // A supervisor lives for long, and would keep its dead child.
        std::thread::spawn(move || remover.wait());
    }
    Ok(())
}

/// Waits until everything that is to be removed is gone; returns what it was.
pub fn finish() -> anyhow::Result<Vec<String>> {
    let names = left()?;
    for name in &names {
        let directory = place::removed()?.join(name);
        // The process that removes it holds the lock until it is gone.
        match File::open(&directory).and_then(|lock| lock.lock().map(|()| lock)) {
            Ok(_lock) => delete(&directory)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::storage("removing what a cluster left", directory, &error).into()),
        }
    }
    Ok(names)
}

/// What still has to be removed.
pub fn left() -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(place::removed()?).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn delete(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::storage("removing what a cluster left", directory, &error).into());
        }
        _ => {}
    }
    // Unless there are others in it.
    let _ = fs::remove_dir(place::removed()?);
    Ok(())
}
