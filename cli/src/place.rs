//! Where clusters are: the directories of their names.

use crate::exit::{Exit, Failure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tryworks_base::home::{check_name, cluster_dir, existing_home, home};
use tryworks_transport::Connection;

/// The directory that the cluster of this name has, or would have, on this machine.
pub fn directory(name: &str) -> anyhow::Result<PathBuf> {
    named(name)?;
    Ok(cluster_dir(&home()?, name)?)
}

/// Refuses what cannot be the name of a cluster.
pub fn named(name: &str) -> anyhow::Result<()> {
    check_name(name).map_err(|error| Failure::of(Exit::Usage, error, "choose another name with -c"))
}

/// The directory of an existing cluster of this machine. Looking for it makes no directory.
pub fn existing(name: &str) -> anyhow::Result<PathBuf> {
    named(name)?;
    if let Some(home) = existing_home()? {
        let directory = cluster_dir(&home, name)?;
        if directory.is_dir() {
            return Ok(directory);
        }
    }
    Err(Failure::of(
        Exit::NoCluster,
        format!("there is no cluster `{name}` on this machine"),
        format!("`tryworks cluster start -c {name}` starts one, `tryworks cluster list` shows those that are there"),
    ))
}

/// The connection file for a name or a path. A cluster of this machine whose hub does not run has none; it is named by
/// its directory.
pub fn find(cluster: &str) -> anyhow::Result<PathBuf> {
    let path = match cluster.contains('/') || cluster.ends_with(".json") {
        true => PathBuf::from(cluster),
        false => existing(cluster)?,
    };
    if path.is_dir() {
        // The hub may be on another machine that shares the directory: the file says how to reach it.
        let file = path.join("driver.json");
        return Ok(if file.exists() { file } else { path });
    }
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::of(
        Exit::NoCluster,
        format!("there is no connection file {cluster}"),
        "the hub writes driver.json into the cluster's directory: copy that file",
    ))
}

/// The directory of the cluster at this place, if this machine can see it.
pub fn local(place: &Path) -> Option<PathBuf> {
    if place.is_dir() {
        return Some(place.into());
    }
    let connection = Connection::read(place).ok()?;
    let there = Connection::read(&connection.sockets.join("driver.json")).ok()?;
    // Another cluster may have a directory of the same path on this machine.
    (there.cluster_id == connection.cluster_id).then_some(connection.sockets)
}

/// Held while a command decides which cluster a directory belongs to, and while it removes one without an owner.
pub fn lock() -> anyhow::Result<File> {
    let home = home()?;
    let locked = File::open(&home).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        Failure::of(
            Exit::Failed,
            format!("{} cannot be locked: {error}", home.display()),
            "its file system may not do locks (`flock`), as those of a network: set TRYWORKS_HOME to a directory on a \
             disk of this machine",
        )
    })
}

/// The default directory of an engine.
pub fn engine(name: &str) -> anyhow::Result<PathBuf> {
    Ok(engines()?.join(name))
}

/// The default parent directory of engines.
pub fn engines() -> anyhow::Result<PathBuf> {
    Ok(home()?.join(".engines"))
}

/// The directory that holds clusters' directories while they are removed.
pub fn removed() -> anyhow::Result<PathBuf> {
    Ok(home()?.join(".removed"))
}

/// The directories of all clusters of this machine, with their names, in the order of names.
pub fn all() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let Some(home) = existing_home()? else { return Ok(found) };
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && check_name(&name).is_ok() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
