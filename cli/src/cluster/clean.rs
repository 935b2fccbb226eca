//! `tryworks cluster clean`: removes what killed clusters left.

use crate::process::Seen;
use crate::record::{Record, elsewhere, recorded};
use crate::remover::{finish, remove};
use crate::{human, out, place};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use tryworks_base::home::existing_home;

/// Removes what all killed clusters and engines of this machine left.
pub fn execute() -> anyhow::Result<()> {
    let mut text = String::new();
    if existing_home()?.is_none() {
        return out::print("there is nothing to clean\n");
    }
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
