//! The workshop: the scheduler, and the shells around it.
//!
//! [`scheduler`] decides and does nothing else. [`local`] runs what it decides on threads of this process.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod admission;
mod again;
mod apart;
mod caller;
pub mod client;
pub mod environment;
pub mod event_log;
mod execute;
pub mod host;
mod job_spec;
pub mod local;
mod panics;
pub mod process;
pub mod protocol;
mod running;
pub mod scheduler;
pub mod screen;
pub mod ship;
pub mod simulator;
pub mod verdict;
pub mod worker;
