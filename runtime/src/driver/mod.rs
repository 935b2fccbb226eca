//! The ends of connections to a hub that people have: a driver's context, and the command line.

mod arguments;
mod cluster;
mod job;
mod output;
mod session;
mod ship;
mod spool;

pub use cluster::{Cluster, Settings};
