//! `tryworks cluster clean`: removes what killed clusters left.

use super::remover::{discard, finish};
use crate::exit::{Exit, Failure};
use crate::process::{Identity, Seen};
use crate::record::{Record, recorded};
use crate::{human, out, place};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Removes what all killed clusters and engines of this machine left.
pub fn execute() -> anyhow::Result<()> {
    let mut text = String::new();
    let lock = place::lock()?;
    for (name, directory) in place::all()? {
        match tidy(&directory) {
            Ok(what) => writeln!(text, "{name}: {what}")?,
            Err(error) => writeln!(text, "{name}: left alone: {error:#}")?,
        }
    }
    for entry in fs::read_dir(place::engines()?).into_iter().flatten().flatten() {
        let name = entry.file_name().display().to_string();
        // A killed engine that was started by hand: no other process uses its directory.
        match recorded(&entry.path()).pop() {
            None => {
                remove(&entry.path())?;
                writeln!(text, "{name}: an engine that is gone; directory removed")?;
            }
            Some((engine, Seen::Elsewhere)) => {
                writeln!(text, "{name}: left alone: {}", elsewhere(&entry.path(), &engine))?;
            }
            Some(_) => {}
        }
    }
    // Removing it may take long, and other commands start and stop clusters in that time.
    drop(lock);
    for name in finish()? {
        writeln!(text, "{name}: what a cluster left is removed")?;
    }
    if text.is_empty() {
        text.push_str("there is nothing to clean\n");
    }
    out::print(text)
}

/// Removes what is left of a cluster, unless it runs; returns what was done.
fn tidy(directory: &Path) -> anyhow::Result<String> {
    let Some(record) = Record::read(directory)? else {
        return Ok("not made by `tryworks cluster start`, and left alone".into());
    };
    match record.supervisor.look() {
        Seen::Alive(_) => Ok("runs, and is left alone".into()),
        Seen::Elsewhere => Err(elsewhere(directory, &record.supervisor)),
        Seen::Gone => {
            let ended = human::count(remove(directory)?, "process").replace("processs", "processes");
            let pid = record.supervisor.pid;
            Ok(format!("its supervisor (process {pid}) is gone; {ended} ended, directory removed"))
        }
    }
}

/// The error for a directory whose process runs where this machine cannot see it.
pub fn elsewhere(directory: &Path, process: &Identity) -> anyhow::Error {
    let (Identity { pid, host, .. }, directory) = (process, directory.display());
    Failure::of(
        Exit::Failed,
        format!(
            "{directory} belongs to process {pid} of {}, which is another machine or container: whether it runs cannot \
             be seen here",
            host.name
        ),
        format!(
            "do this there; if that process is gone for good, remove {directory} by hand. Machines that share a home \
             directory are best given a TRYWORKS_HOME each"
        ),
    )
}

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
