//! The processes of a cluster, as they are started.

use crate::record::Record;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// The name of the hub among the processes.
pub const HUB: &str = "hub";

/// A process of a cluster.
pub struct Part {
    /// What it is called in messages.
    pub name: String,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl Part {
    /// The hub.
    pub fn hub(directory: &Path, record: &Record) -> Self {
        let mut part = Part::new(directory, HUB);
        part.option("--name", &record.cluster).option("--directory", directory);
        part.option("--listen", record.options.listen.to_string());
        part.option("--driver-grace", format!("{}ms", record.options.driver_grace_ms));
        for pool in &record.options.pools {
            part.option("--pool", pool);
        }
        part
    }

    /// An engine, by its number.
    pub fn engine(directory: &Path, record: &Record, number: u32) -> Self {
        let name = format!("engine-{number}");
        let mut part = Part::new(directory, "engine");
        part.log = log(directory, &name);
        part.option("--connect", directory.join("engine.json"));
        part.option("--directory", directory.join("engines").join(&name));
        part.option("--slots", record.options.slots.to_string()).option("--memory", record.options.memory.to_string());
        part.option("--listen", record.options.listen.to_string()).option("--name", &name);
        part.name = name;
        part
    }

    fn new(directory: &Path, command: &str) -> Self {
        Part { name: command.into(), arguments: vec![command.into()], log: log(directory, command) }
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.arguments.extend([name.into(), value.into()]);
        self
    }

    /// Starts it: in a group of its own, so that Ctrl-C in a terminal does not reach it before the supervisor stops it.
    pub fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        // Not by its path: there may be another version by now, which would not understand the others.
        Command::new("/proc/self/exe")
            .arg0("tryworks")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Where a process of a cluster writes what happens.
pub fn log(directory: &Path, name: &str) -> PathBuf {
    directory.join("logs").join(format!("{name}.log"))
}
