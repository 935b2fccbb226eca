//! The processes of a cluster: how each is started.

use super::watchdog::unanswered;
use crate::record::Record;
use std::ffi::OsString;
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// The name of the hub among the processes.
pub const HUB: &str = "hub";

/// A process of a cluster.
pub struct Part {
    /// The name in messages.
    pub name: String,
    arguments: Vec<OsString>,
    log: PathBuf,
    /// For the hub: the directory by which the watchdog asks whether it still answers.
    asked: Option<PathBuf>,
}

impl Part {
    /// The hub.
    pub fn hub(directory: &Path, record: &Record) -> Self {
        let mut part = Part::new(HUB, log(directory, HUB));
        part.option("--cluster", &record.cluster).option("--directory", directory);
        part.option("--listen", record.options.listen.to_string());
        part.option("--driver-grace", format!("{}ms", record.options.driver_grace_ms));
        for pool in &record.options.pools {
            part.option("--pool", pool);
        }
        part.asked = Some(directory.into());
        part
    }

    /// An engine, by its number.
    pub fn engine(directory: &Path, record: &Record, number: u32) -> Self {
        let name = format!("engine-{number}");
        let mut part = Part::new("engine", log(directory, &name));
        part.option("--connect", directory.join("engine.json"));
        part.option("--directory", directory.join("engines").join(&name));
        part.option("--programs", directory.join("engines").join("programs"));
        part.option("--slots", record.options.slots.to_string()).option("--memory", record.options.memory.to_string());
        part.option("--listen", record.options.listen.to_string()).option("--name", &name);
        part.name = name;
        part
    }

    fn new(command: &str, log: PathBuf) -> Self {
        let arguments = vec![command.into(), "--log".into(), log.clone().into()];
        Part { name: command.into(), arguments, log, asked: None }
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.arguments.extend([name.into(), value.into()]);
        self
    }

    /// Returns when the process has to be killed because it hangs, with the reason.
    pub async fn hangs(&self) -> String {
        match &self.asked {
            Some(directory) => unanswered(directory.clone()).await,
            None => pending().await,
        }
    }

    /// Starts the process in a process group of its own, so that Ctrl-C in a terminal does not reach it before the
    /// supervisor stops it.
    pub fn spawn(&self) -> io::Result<Child> {
        // For what the process writes before it opens its log itself. A full disk is no reason not to start it.
        let log = File::options().create(true).append(true).mode(0o600).open(&self.log);
        // Not by its path: another version may be installed there by now, which would not understand the other
        // processes.
        Command::new("/proc/self/exe")
            .arg0("tryworks")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or_else(|_| Stdio::null(), Stdio::from))
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// The log file of a process of the cluster.
pub fn log(directory: &Path, name: &str) -> PathBuf {
    directory.join("logs").join(format!("{name}.log"))
}
