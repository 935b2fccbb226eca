//! `tryworks cluster start`.

use super::claim::claim;
use crate::args::Start;
use crate::human;
use crate::record::{Options, Record};
use crate::remover::remove;
use crate::serve::{default_memory, default_slots};
use crate::supervisor::Started;
use crate::{log, out, supervisor};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use tracing::warn;

/// Starts a cluster.
pub fn execute(start: &Start) -> anyhow::Result<()> {
    let options = Options {
        engines: start.engines,
        slots: start.slots.unwrap_or_else(|| default_slots(start.engines)),
        memory: start.memory.unwrap_or_else(|| default_memory(start.engines)),
        listen: start.listen,
        driver_grace_ms: start.driver_grace.as_millis() as u64,
        pools: start.pool.iter().map(ToString::to_string).collect(),
    };
    let directory = claim(&start.name.cluster()?, options)?;
    if start.foreground {
        log::begin(None);
        return supervisor::watch(&directory, |directory, started| {
            // The cluster is for users who run programs on it, and does not end with the terminal that watches it.
            if matches!(started, Started::Ready)
                && let Err(error) = introduce(directory)
            {
                warn!("the cluster runs, but that could not be printed: {error:#}");
            }
            Ok(())
        });
    }
    let started = detached(&directory);
    if started.is_err() {
        // No supervisor took the directory over.
        let _ = remove(&directory);
    }
    started?.check()?;
    introduce(&directory)
}

/// Starts a supervisor in a session of its own, and waits for its report.
fn detached(directory: &Path) -> anyhow::Result<Started> {
    let log = File::options().create(true).append(true).open(directory.join("logs/supervisor.log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("supervise")
        .arg("--directory")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .spawn()?;
    let mut said = String::new();
    child.stdout.take().map(|mut output| output.read_to_string(&mut said)).transpose()?;
    if let Ok(started) = serde_json::from_str(&said) {
        if !matches!(started, Started::Ready) {
            child.wait()?;
        }
        return Ok(started);
    }
    let how = child.wait()?;
    let log = fs::read_to_string(directory.join("logs/supervisor.log")).unwrap_or_default();
    anyhow::bail!("the supervisor of the cluster died ({how})\n  its log: {}", log.trim_end())
}

/// Prints what was started, and what to do with it.
fn introduce(directory: &Path) -> anyhow::Result<()> {
    let Some(Record { cluster, options, .. }) = Record::read(directory)? else {
        anyhow::bail!("the cluster has been stopped in the meantime")
    };
    let engines = human::count(options.engines, "engine");
    let each = if options.engines == 1 { "" } else { " each" };
    let slots = human::count(options.slots, "slot");
    let memory = human::bytes(options.memory);
    let directory = directory.display();
    out::print(format_args!(
        "cluster `{cluster}` runs: {engines}, {slots} and {memory}{each}\n\
         run a program    tryworks run -c {cluster} PROGRAM\n\
         look at it       tryworks cluster status -c {cluster}\n\
         stop it          tryworks cluster stop -c {cluster}\n\
         other machines   connect with {directory}/driver.json, or engine.json for engines\n"
    ))
}
