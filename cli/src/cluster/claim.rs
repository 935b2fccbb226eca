//! How a new cluster gets its directory: at once and whole, so that two that want the same name never share it.

use super::clean;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::place;
use crate::process::Identity;
use crate::record::{Options, Record};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use tryworks_transport::private_dir;

/// The directory of a cluster that is being started.
pub struct Claim {
    /// The directory, with its `supervisor.json` in it.
    pub directory: PathBuf,
}

impl Claim {
    /// Makes the directory of a cluster, with this process as its supervisor for the moment. What a killed cluster of
    /// the name left is removed before.
    pub fn make(name: &str, options: Options) -> anyhow::Result<Self> {
        let directory = place::directory(name)?;
        let own = Identity::own()?;
        let new = directory.with_file_name(format!(".{name}.{}", own.pid));
        private_dir(&new)?;
        private_dir(&new.join("logs"))?;
        let claimed = Record { cluster: name.into(), supervisor: own, started: human::now(), options }
            .write(&new)
            .and_then(|()| take(name, &new, &directory));
        if claimed.is_err() {
            let _ = fs::remove_dir_all(&new);
        }
        claimed.map(|()| Claim { directory })
    }
}

/// Gives a finished directory its name. Renaming fails if there is one of that name with anything in it.
fn take(name: &str, new: &Path, directory: &Path) -> anyhow::Result<()> {
    if rename(new, directory)? {
        return Ok(());
    }
    match Record::read(directory) {
        Some(record) if record.supervisor.find().is_some() => Err(Failure::of(
            Exit::Failed,
            format!("a cluster `{name}` runs already (its supervisor is process {})", record.supervisor.pid),
            format!("stop it with `tryworks cluster stop --name {name}`, or choose another name with --name"),
        )),
        Some(_) => {
            clean::remove(directory)?;
            match rename(new, directory)? {
                true => Ok(()),
                false => Err(Failure::of(
                    Exit::Failed,
                    format!("another cluster `{name}` is being started"),
                    "choose another name with --name",
                )),
            }
        }
        None => Err(Failure::of(
            Exit::Failed,
            format!("{} is there, and `tryworks cluster start` did not make it", directory.display()),
            "a hub that was started by itself may use it: choose another name with --name",
        )),
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<bool> {
    match rustix::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(tryworks_core::Error::storage("naming a directory", to, &error.into()).into()),
    }
}
