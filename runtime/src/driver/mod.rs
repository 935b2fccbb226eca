//! A driver's context on a cluster. [`state`] is what the driver knows and decides: a value without I/O and without a
//! clock. `session` is the thread around it that talks to the hub. `cluster` and `job` are for the program's own
//! threads, and `shared` is for both.

mod arguments;
mod cluster;
mod job;
mod output;
mod session;
mod shared;
mod ship;
mod spool;
pub mod state;

pub use cluster::Cluster;
pub use shared::Settings;
