//! `tryworks cluster stop`.

use crate::args::At;
use crate::exit::{Exit, Failure};
use crate::jobs::ask;
use crate::process::Seen;
use crate::record::{Record, elsewhere};
use crate::remover::{left, remove};
use crate::{out, place};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};
use tryworks_protocol::admin::Question;
use tryworks_protocol::ask::{Admin, AdminError};

/// How long a supervisor may take. It gives engines and the hub some time each before it kills them.
const LIMIT: Duration = Duration::from_secs(60);

/// How often this command checks whether a hub is gone.
const EVERY: Duration = Duration::from_millis(50);

/// Stops a cluster, and waits until none of its processes is left and its name is free.
pub fn execute(at: &At) -> anyhow::Result<()> {
    let cluster = at.cluster()?;
    let place = place::find(&cluster)?;
    let directory = place::local(&place);
    let record = directory.as_deref().map(Record::read).transpose()?.flatten();
    let (Some(directory), Some(record)) = (directory, record) else {
        // The cluster is on another machine, or was started by hand.
        end_hub(&place)?;
        return out::print(format_args!(
            "the hub of cluster `{cluster}` has ended; engines without a supervisor end within a minute\n"
        ));
    };
    match record.supervisor.look() {
        Seen::Alive(supervisor) => {
            supervisor.signal(Signal::TERM)?;
            if !supervisor.wait(LIMIT) {
                return Err(Failure::of(
                    Exit::TimedOut,
                    format!(
                        "the supervisor (process {}) has not ended in {} s",
                        record.supervisor.pid,
                        LIMIT.as_secs()
                    ),
                    format!("look into {}/logs/supervisor.log", directory.display()),
                ));
            }
        }
        Seen::Gone => {}
        // When its hub ends, the supervisor ends the cluster and removes the directory.
        Seen::Elsewhere => match end_hub(&place) {
            Ok(()) => {}
            Err(_) => return Err(elsewhere(&directory, &record.supervisor)),
        },
    }
    // The supervisor removes everything itself, unless it was killed.
    let _lock = place::lock()?;
    if Record::read(&directory)?.is_some_and(|record| matches!(record.supervisor.look(), Seen::Gone)) {
        remove(&directory)?;
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let is_of_it = |left: &String| left.rsplit_once('-').is_some_and(|(left, _)| left == name);
    if left()?.iter().any(is_of_it) {
        let place = place::removed()?;
        return out::print(format_args!(
            "cluster `{cluster}` is stopped; what its engines held is being removed from {}\n",
            place.display()
        ));
    }
    out::print(format_args!("cluster `{cluster}` is stopped\n"))
}

/// Asks a hub to end, and waits until it has.
fn end_hub(place: &Path) -> anyhow::Result<()> {
    ask(place, Question::Stop)?;
    let end = Instant::now() + LIMIT;
    while !matches!(Admin::connect(place), Err(AdminError::Unreachable { .. })) {
        if Instant::now() > end {
            let what = format!("the hub has not ended in {} s", LIMIT.as_secs());
            return Err(Failure::of(Exit::TimedOut, what, "look into its log"));
        }
        std::thread::sleep(EVERY);
    }
    Ok(())
}
