//! The hub of a cluster: the registry of engines, the sessions of drivers, their jobs, and the scheduler that decides
//! what runs where; its certificate authority, and its gateway for other machines.
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

/// What a hub is told when it is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the cluster.
    pub cluster: String,
    /// The cluster's directory, which only this user may enter.
    pub directory: PathBuf,
    /// Where the gateway and the data port listen, which connection files say, so it is never a wildcard.
    pub listen: IpAddr,
    /// The gateway's port; 0 takes a free one.
    pub port: u16,
    /// The pools that jobs can be in, beside the one without a name.
    pub pools: Vec<Pool>,
    /// How long it waits for whom.
    pub limits: Limits,
}

/// Serves a cluster until it is told to stop, or gets SIGTERM.
///
/// # Errors
/// If the cluster's directory cannot be used, or a hub of this name runs already.
pub fn run(options: Options) -> Result<()> {
    tryworks_transport::raise_file_limit();
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::storage("starting the hub", &options.directory, &error))?;
        let ended = runtime.block_on(serve::serve(&options))?;
        // All connections end with it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        if ended == serve::Ended::Stopped {
            return Ok(());
        }
    }
}
