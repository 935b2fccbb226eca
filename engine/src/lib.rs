//! The engine process: it owns blocks, starts a worker for each driver's program, hands tasks on, and reports to the hub.
//!
//! [`state`] is what it knows and decides, a value without I/O and without a clock. `serve` is the loop around it, `obey`
//! carries out what the state orders, `join` is the way to the hub. `workers` starts processes and watches them, `flow` holds
//! back what they write; `fetch` gets executables, `files` what drivers give along, and `arrive` writes both; `bring` gets
//! blocks from other engines, `take` takes over those of one that leaves, `give` gives out its own.
//!
//! Nothing on the loop's thread waits for a disk: files are written, hashed, copied, read and unlinked on others.

mod arrive;
mod clock;
mod fetch;
mod files;
mod flow;
mod give;
mod join;
mod obey;
mod prefetch;
mod serve;
pub mod state;
mod take;
mod workers;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::{Error, Result};

/// What an engine is told when it is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is called, as long as it lives.
    pub name: String,
    /// The connection file of engines.
    pub connect: PathBuf,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Its own directory, for blocks, programs and sockets: a short path that nobody else may enter.
    pub directory: PathBuf,
    /// Where programs are instead, if it shares them with other engines of this machine. They stay when it ends.
    pub programs: Option<PathBuf>,
    /// The most bytes that its blocks may take.
    pub quota: Option<u64>,
    /// Where its data port listens, which others are told, so it is never a wildcard: if nothing is said, where the hub's
    /// machine reaches this one.
    pub listen: Option<IpAddr>,
    /// How long it goes on without a hub.
    pub patience: Duration,
}

/// Serves until the hub says to leave, or SIGTERM comes, or there is no hub for too long.
///
/// # Errors
/// If the connection file or the directory cannot be used, or the hub refuses.
pub fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::storage("starting the engine", &options.directory, &error))?;
    let result = runtime.block_on(serve::serve(options));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}
