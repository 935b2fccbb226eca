//! Moves messages and bulk bytes between the processes of a cluster. This crate knows no stages and no user types: it
//! carries bytes.
//!
//! On one machine, messages go by ZeroMQ over unix sockets in a directory that no other user can enter. [`Link`] is the
//! end that dials, [`Peers`] the end that is dialled. From other machines, messages come in [frames](FrameReader)
//! through a [`Door`], which ends mutual TLS with the cluster's own authority; the hub's gateway passes them on. Bulk
//! bytes go from a [data port](serve_data) to a [`DataClient`] without passing through the hub. A [`Connection`] file
//! has what is needed to reach a cluster.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

mod again;
mod backlog;
mod capacity;
mod connection;
mod data;
mod dial;
mod door;
mod error;
mod frame;
#[cfg(test)]
mod fuzz;
mod greeting;
mod link;
mod peer_id;
mod peers;
mod role;
mod socket;
mod strangers;
mod tls;

pub use again::while_away;
pub use backlog::{Backlog, BacklogLimits};
pub use capacity::{Capacity, CapacityLimits, Held, Share};
pub use connection::{Connection, ConnectionError, read_private, write_private};
pub use data::{
    Chunks, DataClient, DataError, DataHandler, DataLimits, DataStream, Download, Upload, chunks, serve_data,
};
pub use dial::{dial, dial_place, is_here};
pub use door::{Counts, Door, Incoming, Limits, Service, raise_file_limit};
pub use error::LinkError;
pub use frame::{FrameError, FrameReader, write_frame};
pub use greeting::{refuse, welcome};
pub use link::{Link, LinkReceiver, LinkSender};
pub use peer_id::PeerId;
pub use peers::{PeerEvent, Peers, PeersReceiver, PeersSender};
pub use role::{Role, role_of};
pub use tls::Credentials;
