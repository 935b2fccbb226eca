//! The words of Tryworks: datasets, pipes, operators, lineage, and how code travels.
//!
//! This crate opens no file, socket, thread or clock. What a task needs of the process it runs in it asks of a
//! [`host::Host`]; what an action needs run it asks of a [`runner::Runner`].

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(target_os = "linux"))]
compile_error!("Tryworks runs on Linux: it reads /proc, uses unlinked spill files and unix sockets");

mod actions;
pub mod call;
pub mod codec;
pub mod data;
pub mod dataset;
mod error;
mod exchange;
mod heap;
mod held;
pub mod host;
pub mod ids;
mod intern;
pub mod lineage;
pub mod links;
pub mod lock;
pub mod memory;
pub mod ops;
pub mod pipe;
pub mod row;
pub mod runner;
pub mod ship;
pub mod sink;
mod sort;
pub mod source;
pub mod stage;
mod str;
pub mod task;
mod total;
mod trampoline;
mod user_error;
pub mod with;

pub use actions::{Background, Job, Summand, ToDriver};
pub use dataset::Dataset;
pub use error::{Error, Place, Result, Site, UserFault};
pub use intern::intern;
pub use str::Str;
pub use total::{Float, Total, total};
pub use user_error::UserError;

/// The directory of this crate's sources, as the places of panics name it.
pub const SOURCES: &str = file!().split_at(file!().len() - "lib.rs".len()).0;
