//! Claims the directory for a new cluster, so that two clusters of the same name never share it.

use crate::exit::{Exit, Failure};
use crate::process::{Identity, Seen};
use crate::record::{Options, Record, elsewhere};
use crate::remover::{remove, resume};
use crate::{human, place};
use std::fs;
use std::path::PathBuf;
use tryworks_base::private::private_dir;

/// Creates the directory of a cluster, with this process as its supervisor for the moment. What a killed cluster of the
/// name left is moved aside first.
pub fn claim(name: &str, options: Options) -> anyhow::Result<PathBuf> {
    let directory = place::directory(name)?;
    let _lock = place::lock()?;
    resume()?;
    match Record::read(&directory)? {
        Some(record) => match record.supervisor.look() {
            Seen::Alive(_) => {
                return Err(Failure::of(
                    Exit::Failed,
                    format!("a cluster `{name}` runs already (its supervisor is process {})", record.supervisor.pid),
                    format!("stop it with `tryworks cluster stop -c {name}`, or choose another name with -c"),
                ));
            }
            Seen::Elsewhere => return Err(elsewhere(&directory, &record.supervisor)),
            Seen::Gone => drop(remove(&directory)?),
        },
        // A start that was killed may have left an empty one.
        None if fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) => {
            return Err(Failure::of(
                Exit::Failed,
                format!("{} is there, and `tryworks cluster start` did not make it", directory.display()),
                "a hub that was started by itself may use it: choose another name with -c",
            ));
        }
        None => {}
    }
    private_dir(&directory)?;
    let record = Record { cluster: name.into(), supervisor: Identity::own()?, started: human::now(), options };
    record.write(&directory)?;
    private_dir(&directory.join("logs"))?;
    Ok(directory)
}
