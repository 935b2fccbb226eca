//! The ends of connections to a hub that people have: a driver's context, and the command line.

pub mod admin;
mod arguments;
mod cluster;
pub mod dial;
mod driver;
mod job;
mod output;
mod ship;
mod spool;

pub use cluster::{Cluster, Settings};
