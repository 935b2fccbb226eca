//! `tryworks cluster stop`.

use super::clean::remove;
use crate::exit::{Exit, Failure};
use crate::record::Record;
use crate::{out, place};
use rustix::process::Signal;
use std::time::Duration;

/// How long a supervisor may take: it gives engines and the hub some time each before it kills them.
const LIMIT: Duration = Duration::from_secs(60);

/// Stops a cluster, and waits until nothing of it is left.
pub fn execute(name: &str) -> anyhow::Result<()> {
    let directory = place::existing(name)?;
    let Some(record) = Record::read(&directory) else {
        return Err(Failure::of(
            Exit::Failed,
            format!("`tryworks cluster start` did not make the cluster `{name}`"),
            format!("stop its hub where that was started; its directory is {}", directory.display()),
        ));
    };
    if let Some(supervisor) = record.supervisor.find() {
        supervisor.signal(Signal::TERM)?;
        if !supervisor.wait(LIMIT) {
            return Err(Failure::of(
                Exit::TimedOut,
                format!("the supervisor (process {}) has not ended in {} s", record.supervisor.pid, LIMIT.as_secs()),
                format!("look into {}/logs/supervisor.log", directory.display()),
            ));
        }
    }
    // The supervisor removes everything itself, unless it was killed.
    let _lock = place::lock()?;
    if Record::read(&directory).is_some_and(|record| record.supervisor.find().is_none()) {
        remove(&directory)?;
    }
    out::print(format_args!("cluster `{name}` is stopped\n"))
}
