//! How messages and bulk bytes travel between the processes of a cluster. Nothing here knows stages or users' types:
//! what is carried are bytes.
//!
//! On one machine, messages go by ZeroMQ over unix sockets in a directory that nobody else can enter: [`Link`] is the
//! end that dials, [`Peers`] the end that is dialled.

#![forbid(unsafe_code)]

mod error;
mod link;
mod peers;
mod socket;

pub use error::LinkError;
pub use link::{Link, LinkReceiver, LinkSender};
pub use peers::{PeerEvent, PeerId, Peers, PeersReceiver, PeersSender};

/// The most bytes that one message may have. What is larger goes by the data port.
pub const MAX_MESSAGE: usize = 256 << 20;
