//! The engine process: it owns blocks, starts a worker for each driver's program, passes tasks on, and reports to the
//! hub.
//!
//! [`state`] is what the engine knows and decides: a value without I/O and without a clock. `serve` is the loop around
//! it, `obey` carries out the state's orders, and `join` connects to the hub. `workers` starts and watches processes,
//! and `flow` holds back their output. `fetch` gets executables, `files` gets files of drivers, and `arrive` writes
//! both. `prefetch` gets blocks from other engines, `take` takes over the blocks of an engine that leaves, and `give`
//! serves the engine's own blocks.
//!
//! The loop's thread never waits for a disk: other threads write, hash, copy, read and unlink files.

mod arrive;
mod fetch;
mod files;
mod flow;
mod give;
mod io;
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

/// The settings with which an engine starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, for as long as it lives.
    pub name: String,
    /// The connection file of engines.
    pub connect: PathBuf,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Its own directory, for blocks, programs and sockets: a short path that no other user may enter.
    pub directory: PathBuf,
    /// The directory of programs, if the engine shares it with other engines of this machine. Programs there outlive
    /// the engine.
    pub programs: Option<PathBuf>,
    /// The most bytes that its blocks may take.
    pub quota: Option<u64>,
    /// The address on which its data port listens. Other machines connect to it, so it is never a wildcard. By default
    /// it is the address by which the hub's machine reaches this one.
    pub listen: Option<IpAddr>,
    /// How long it continues without a hub.
    pub patience: Duration,
}

/// Serves until the hub says to leave, SIGTERM comes, or there has been no hub for too long.
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
