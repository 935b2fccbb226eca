//! The words of Tryworks: datasets, pipes, operators, lineage, and how code travels.
//!
//! This crate opens no file, socket, thread or clock. What a task needs of the process it runs in it asks of a
//! [`host::Host`]; what an action needs run it asks of a [`runner::Runner`].

#[cfg(not(target_os = "linux"))]
compile_error!("Tryworks runs on Linux: it reads /proc, uses unlinked spill files and unix sockets");

mod actions;
pub mod call;
pub mod codec;
pub mod data;
pub mod dataset;
mod error;
pub mod host;
pub mod ids;
mod intern;
pub mod lineage;
pub mod memory;
pub mod pipe;
pub mod runner;
mod exchange;
pub mod ops;
pub mod row;
pub mod ship;
mod sort;
pub mod sink;
pub mod source;
pub mod stage;
pub mod task;
mod str;
mod trampoline;
pub mod with;

pub use actions::{Background, Job};
pub use dataset::Dataset;
pub use error::{Error, Place, Result, Site, UserError, UserFault};
pub use str::Str;
