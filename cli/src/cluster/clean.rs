//! `tryworks cluster clean`: what is left of clusters that were killed.

use crate::record::{Record, recorded};
use crate::{human, out, place};
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Removes what is left of all clusters and engines of this machine that were killed.
pub fn execute() -> anyhow::Result<()> {
    let mut text = String::new();
    let _lock = place::lock()?;
    for (name, directory) in place::all()? {
        match Record::read(&directory) {
            Some(record) if record.supervisor.find().is_some() => writeln!(text, "{name}: runs, and is left alone")?,
            Some(record) => {
                let ended = human::count(remove(&directory)?, "process").replace("processs", "processes");
                let pid = record.supervisor.pid;
                writeln!(text, "{name}: its supervisor (process {pid}) is gone; {ended} ended, directory removed")?;
            }
            None => writeln!(text, "{name}: not made by `tryworks cluster start`, and left alone")?,
        }
    }
    for entry in fs::read_dir(place::engines()?).into_iter().flatten().flatten() {
        // An engine by itself that was killed: nobody else uses its directory.
        if recorded(&entry.path()).is_empty() {
            remove(&entry.path())?;
            writeln!(text, "{}: an engine that is gone; directory removed", entry.file_name().display())?;
        }
    }
    if text.is_empty() {
        text.push_str("there is nothing to clean\n");
    }
    out::print(text)
}

/// Ends the processes that are recorded in the directory of a cluster, and removes it. Says how many there were.
pub fn remove(directory: &Path) -> anyhow::Result<u64> {
    let ended = end_recorded(directory)?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(tryworks_core::Error::storage("removing the directory of a cluster", directory, &error).into())
        }
        _ => Ok(ended),
    }
}

/// Ends the processes that pid files in the directory name and that are still there: all are asked first, and those
/// that do not end in time are killed.
fn end_recorded(directory: &Path) -> anyhow::Result<u64> {
    let found: Vec<_> = recorded(directory).into_iter().filter_map(|(_, identity)| identity.find()).collect();
    for process in &found {
        process.signal(rustix::process::Signal::TERM)?;
    }
    for process in &found {
        process.end(GRACE)?;
    }
    Ok(found.len() as u64)
}
