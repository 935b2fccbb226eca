//! Where clusters are: from names to directories.

use crate::exit::{Exit, Failure};
use crate::stubs::transport;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of the cluster of this machine that has, or would have, this name.
pub fn directory(name: &str) -> anyhow::Result<PathBuf> {
    let directory = transport::cluster_dir(name)
        .map_err(|error| Failure::of(Exit::Usage, error, "choose another name or TRYWORKS_HOME"))?;
    Ok(std::path::absolute(directory)?)
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
        format!(
            "`tryworks cluster start --name {name}` starts one, `tryworks cluster list` shows those that are there"
        ),
    ))
}

/// The directory or connection file that a name or a path means.
pub fn find(cluster: &str) -> anyhow::Result<PathBuf> {
    if !cluster.contains('/') && !cluster.ends_with(".json") {
        return existing(cluster);
    }
    let path = PathBuf::from(cluster);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::of(
        Exit::NoCluster,
        format!("there is no connection file {cluster}"),
        "the hub writes driver.json into the cluster's directory: copy that file",
    ))
}

/// The directory of an engine that was not given one.
pub fn engine(name: &str) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(engines()?.join(name))?)
}

/// Where engines that were not given a directory have theirs.
pub fn engines() -> anyhow::Result<PathBuf> {
    Ok(transport::home().map_err(anyhow::Error::msg)?.join(".engines"))
}

/// The directories of all clusters of this machine, with their names, in the order of names.
pub fn all() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let directory = directory("default")?;
    let above = directory.parent().unwrap_or(Path::new("/"));
    let entries = match fs::read_dir(above) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
