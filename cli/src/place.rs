//! Where clusters are: from names to directories.

use crate::exit::{Exit, Failure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tryworks_base::home::{check_name, cluster_dir, home};
use tryworks_transport::Connection;

/// The directory of the cluster of this machine that has, or would have, this name.
pub fn directory(name: &str) -> anyhow::Result<PathBuf> {
    named(name)?;
    Ok(cluster_dir(&home()?, name)?)
}

/// Refuses what is no name for a cluster.
pub fn named(name: &str) -> anyhow::Result<()> {
    check_name(name).map_err(|error| Failure::of(Exit::Usage, error, "choose another name with -c"))
}

/// The directory of a cluster of this machine that is there.
pub fn existing(name: &str) -> anyhow::Result<PathBuf> {
    let directory = directory(name)?;
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Failure::of(
        Exit::NoCluster,
        format!("there is no cluster `{name}` on this machine"),
        format!("`tryworks cluster start -c {name}` starts one, `tryworks cluster list` shows those that are there"),
    ))
}

/// The connection file that a name or a path means. One of this machine's clusters whose hub is not there has none, and
/// is named by its directory.
pub fn find(cluster: &str) -> anyhow::Result<PathBuf> {
    let path = match cluster.contains('/') || cluster.ends_with(".json") {
        true => PathBuf::from(cluster),
        false => existing(cluster)?,
    };
    if path.is_dir() {
        // The hub may be on another machine that has the same directory: the file says how it is reached.
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

/// The directory of the cluster that a place means, if it is one that this machine can see.
pub fn local(place: &Path) -> Option<PathBuf> {
    if place.is_dir() {
        return Some(place.into());
    }
    let connection = Connection::read(place).ok()?;
    let there = Connection::read(&connection.sockets.join("driver.json")).ok()?;
    // Another cluster may have a directory of the same path here.
    (there.cluster_id == connection.cluster_id).then_some(connection.sockets)
}

/// Held while it is decided to whom a directory belongs, and while one that belongs to nobody is removed.
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

/// The directory of an engine that was not given one.
pub fn engine(name: &str) -> anyhow::Result<PathBuf> {
    Ok(engines()?.join(name))
}

/// Where engines that were not given a directory have theirs.
pub fn engines() -> anyhow::Result<PathBuf> {
    Ok(home()?.join(".engines"))
}

/// Where directories of clusters are while they are removed.
pub fn removed() -> anyhow::Result<PathBuf> {
    Ok(home()?.join(".removed"))
}

/// The directories of all clusters of this machine, with their names, in the order of names.
pub fn all() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home()?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && check_name(&name).is_ok() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
