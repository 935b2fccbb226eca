//! The hub of a cluster: the registry of engines, the sessions of drivers and their jobs, and the scheduler that
//! decides what runs where. It also has the certificate authority, and the gateway for other machines.
//!
//! The hub knows ids, sizes and bytes, never a user's types.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

mod authority;
mod carry;
mod gateway;
mod history;
pub mod journal;
mod pools;
mod programs;
mod serve;
pub mod state;
#[cfg(test)]
mod tests;

pub use authority::{Authority, AuthorityError, Validity};
pub use gateway::{Sockets, open_gateway};
pub use history::look_up;
pub use pools::Pool;
pub use state::Limits;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::{Error, Result};

/// The settings with which a hub starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the cluster.
    pub cluster: String,
    /// The cluster's directory, which only this user may enter.
    pub directory: PathBuf,
    /// The address on which the gateway and the data port listen. Connection files name it, so it is never a wildcard.
    pub listen: IpAddr,
    /// The gateway's port; 0 takes any free port.
    pub port: u16,
    /// The pools that jobs can be in, besides the one without a name.
    pub pools: Vec<Pool>,
    /// How long the hub waits for its peers, and how much may wait for them.
    pub limits: Limits,
}

/// Serves a cluster until the hub is told to stop or gets SIGTERM.
///
/// # Errors
/// If the cluster's directory cannot be used, or a hub of this name is already running.
pub fn run(options: Options) -> Result<()> {
    tryworks_transport::raise_file_limit();
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::storage("starting the hub", &options.directory, &error))?;
        let ended = runtime.block_on(serve::serve(&options))?;
        // This ends all connections.
        runtime.shutdown_timeout(Duration::from_secs(1));
        if ended == serve::Ended::Stopped {
            return Ok(());
        }
    }
}
