//! Benchmarks on a cluster of this machine: real hub and engine processes, started for each figure and stopped again.

mod cancelled;
mod jobs;
mod killed;
mod many_engines;
mod memory;
mod shuffle;
mod start;
mod words;

pub use cancelled::bench as cancelled;
pub use jobs::{empty_tasks, tiny_job};
pub use killed::bench as killed;
pub use many_engines::bench as many_engines;
pub use memory::bench as memory;
pub use shuffle::{strings, u64s};
pub use start::bench as start;
pub use words::bench as words;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tryworks::Context;

use crate::harness::Outcome;

/// A cluster with a home of its own, stopped when dropped.
pub struct Cluster {
    home: PathBuf,
}

impl Cluster {
    /// Starts engines with one slot each.
    pub fn start(engines: u32) -> Outcome<Self> {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Paths of sockets are short.
        let home = PathBuf::from(format!("/tmp/twb-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
        let cluster = Cluster { home };
        cluster.command(&["cluster", "start", "-n", &engines.to_string(), "--slots", "1"])?;
        Ok(cluster)
    }

    /// A context that runs its jobs on this cluster.
    pub fn context(&self) -> Outcome<Context> {
        Ok(Context::builder().cluster(self.driver_file().display().to_string()).progress(false).build()?)
    }

    /// The connection file of drivers.
    fn driver_file(&self) -> PathBuf {
        self.home.join("default/driver.json")
    }

    /// Runs the command line, which was built beside this program.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Output> {
        let program = tryworks()?;
        let output = Command::new(&program).args(arguments).env("TRYWORKS_HOME", &self.home).output()?;
        if output.status.success() {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("`tryworks {}` failed: {text}", arguments.join(" ")).into())
    }

    /// The process of an engine.
    pub fn engine(&self, name: &str) -> Outcome<u32> {
        process(&self.home.join("default/engines").join(name).join("engine.pid"))
    }

    /// The process of the hub.
    pub fn hub(&self) -> Outcome<u32> {
        process(&self.home.join("default/hub.pid"))
    }
}

/// The process in a pid file.
fn process(file: &Path) -> Outcome<u32> {
    let text = std::fs::read_to_string(file)?;
    let digits = text.split_once("\"pid\":").map(|(_, rest)| rest.trim_start()).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Ok(digits[..end].parse()?)
}

/// The command line's executable.
fn tryworks() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.parent().unwrap_or(Path::new(".")).join("tryworks");
    if program.exists() {
        return Ok(program);
    }
    Err("there is no `tryworks` beside this program: build it with `cargo build --release -p tryworks-cli`".into())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.command(&["cluster", "stop"]) {
            eprintln!("the cluster could not be stopped: {error}");
        }
        // This command waits until the cluster's files are gone.
        if let Err(error) = self.command(&["cluster", "clean"]) {
            eprintln!("what the cluster left could not be removed: {error}");
        }
        let _ = std::fs::remove_dir(&self.home);
    }
}
