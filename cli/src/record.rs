//! The records of a cluster's processes in its directory: `supervisor.json` and the pid files.

use crate::exit::{Exit, Failure};
use crate::process::{Identity, Seen};
use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tryworks_transport::write_private;

/// The directory of blocks in an engine's directory.
const BLOCKS: &str = "blocks";

/// The options of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Options {
    /// How many engines.
    pub engines: u32,
    /// The slots of each engine.
    pub slots: u32,
    /// The memory of each engine, in bytes.
    pub memory: u64,
    /// The address at which hub and engines listen for other machines.
    pub listen: IpAddr,
    /// How long the jobs of a disconnected driver wait for it, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub driver_grace_ms: u64,
    /// The pools, as the user wrote them.
    #[serde(default)]
    pub pools: Vec<String>,
}

fn half_a_minute() -> u64 {
    30_000
}

/// The record of a cluster that `cluster start` made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The name of the cluster.
    pub cluster: String,
    /// The supervisor.
    pub supervisor: Identity,
    /// When it was started, in microseconds since 1970.
    pub started: u64,
    /// The options of the cluster.
    pub options: Options,
}

impl Record {
    /// Reads the record in a cluster's directory. `None` if there is none.
    pub fn read(directory: &Path) -> anyhow::Result<Option<Record>> {
        let path = directory.join("supervisor.json");
        let advice = "if another version of Tryworks wrote it, stop the cluster with that version";
        let unread =
            |why: String| Failure::of(Exit::Failed, format!("{} cannot be read: {why}", path.display()), advice);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| unread(error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unread(error.to_string())),
        }
    }

    /// Writes the record into a cluster's directory.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        write(&directory.join("supervisor.json"), self)
    }
}

/// A pid file of this process, which is removed when this is dropped.
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file. The inner `Err` has the process that the file already names, unless that is gone.
    pub fn write(path: PathBuf) -> anyhow::Result<Result<Self, (Identity, Seen)>> {
        if let Some(other) = read::<Identity>(&path) {
            match other.look() {
                Seen::Gone => {}
                seen => return Ok(Err((other, seen))),
            }
        }
        write(&path, &Identity::own()?)?;
        Ok(Ok(PidFile { path }))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The whole directory may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}

/// The processes that the pid files in a directory and below it name, without those that are gone.
pub fn recorded(directory: &Path) -> Vec<(Identity, Seen)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                // There may be millions of blocks, and none is a pid file.
                Ok(kind) if kind.is_dir() && entry.file_name() == BLOCKS => {}
                Ok(kind) if kind.is_dir() => left.push(path),
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|extension| extension == "pid") => {
                    found.extend(read::<Identity>(&path).map(|process| {
                        let seen = process.look();
                        (path, process, seen)
                    }));
                }
                _ => {}
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let found = found.into_iter().map(|(_, process, seen)| (process, seen));
    found.filter(|(_, seen)| !matches!(seen, Seen::Gone)).collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    write_private(path, &text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The error for a directory whose process runs where this machine cannot see it.
pub fn elsewhere(directory: &Path, process: &Identity) -> anyhow::Error {
    let (Identity { pid, host, .. }, directory) = (process, directory.display());
    Failure::of(
        Exit::Failed,
        format!(
            "{directory} belongs to process {pid} of {}, which is another machine or container: whether it runs cannot \
             be seen here",
            host.name
        ),
        format!(
            "do this there; if that process is gone for good, remove {directory} by hand. Machines that share a home \
             directory are best given a TRYWORKS_HOME each"
        ),
    )
}
