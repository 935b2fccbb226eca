//! What every process of Tryworks shares: errors and their places, the encoding of values, ids, the memory budget, and
//! locks that detect when they are held for too long.
//!
//! Nothing here knows datasets, stages, blocks or messages.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(target_os = "linux"))]
compile_error!("Tryworks runs on Linux: it reads /proc, uses unlinked spill files and unix sockets");

mod action;
pub mod codec;
pub mod disk;
mod error;
pub mod frames;
pub mod home;
pub mod ids;
mod intern;
pub mod lock;
pub mod memory;
mod op;
pub mod outlet;
pub mod paths;
pub mod private;
mod progress;
pub mod resident;
mod shipment;
pub mod size;
mod sources;
pub mod time;
mod user_error;

pub use action::{Action, Aspect};
pub use error::{Error, Result, Site, TaskSite, UserFault};
pub use intern::intern;
pub use op::Op;
pub use progress::Progress;
pub use shipment::Shipment;
pub use sources::is_ours;
pub use user_error::UserError;

/// The most bytes that one message may have. Anything larger goes by a data port.
pub const MAX_MESSAGE: usize = 256 << 20;
