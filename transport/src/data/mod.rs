//! The data port: bulk bytes between two processes of a cluster, which do not pass through the hub.
//!
//! ```text
//! get    ->  Request::Get                            put    ->  Request::Put { len }
//!        <-  Reply::Accepted { len } | Refused              <-  Reply::Accepted | Refused
//!        <-  Piece::Data*, Piece::End | Failed              ->  Piece::Data*, Piece::End
//!                                                           <-  Piece::End | Failed
//! ```
//!
//! After that, the next request may follow on the same connection.

mod client;
pub(crate) mod protocol;
mod server;

pub use client::{DataClient, DataLimits, DataStream};
pub use server::serve_data;

use crate::error::LinkError;
use crate::role::Role;
use bytes::Bytes;
use std::fmt;
use std::io::{self, Read};

/// Bytes in pieces, produced on a thread that may block.
pub type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// Answers the requests at a data port. Its methods are called on threads that may block.
pub trait DataHandler: Send + Sync + 'static {
    /// The requested bytes, or why they are refused.
    ///
    /// # Errors
    /// A text for the client.
    fn get(&self, role: Role, request: &[u8]) -> Result<Download, String>;

    /// Accepts `len` bytes from the client, or says why not.
    ///
    /// # Errors
    /// A text for the client.
    fn put(&self, role: Role, request: &[u8], len: u64) -> Result<Box<dyn Upload>, String> {
        let _ = (role, request, len);
        Err("nothing can be put here".into())
    }
}

/// Bytes to be served.
pub struct Download {
    /// How many there are in all.
    pub len: u64,
    /// How many of them are in memory at once, at most.
    pub held: usize,
    /// The bytes. If they are more or fewer than `len`, that is an error.
    pub chunks: Chunks,
}

impl Download {
    /// Serves bytes that are in memory.
    pub fn bytes(bytes: Bytes) -> Self {
        Download { len: bytes.len() as u64, held: bytes.len(), chunks: Box::new(std::iter::once(Ok(bytes))) }
    }

    /// Serves the next `len` bytes of a reader.
    pub fn read(from: impl Read + Send + 'static, len: u64) -> Self {
        // One piece is read while another one is sent.
        Download { len, held: 2 * protocol::MAX_PIECE, chunks: chunks(from.take(len)) }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Receives the client's bytes. If it is dropped before it is finished, some of them did not arrive.
pub trait Upload: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If they cannot be stored.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All bytes have arrived.
    ///
    /// # Errors
    /// A text for the client, if they are not what they should be.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

impl DataError {
    /// Whether the server could not be reached now, but may be reachable soon.
    pub fn may_pass(&self) -> bool {
        match self {
            DataError::Link(error) => {
                matches!(error, LinkError::Dial { .. } | LinkError::Closed { .. } | LinkError::Socket { .. })
            }
            DataError::Cut { .. } => true,
            DataError::Refused { .. } | DataError::Failed { .. } | DataError::Source { .. } => false,
        }
    }
}

/// The bytes of a reader, in pieces.
pub fn chunks(mut from: impl Read + Send + 'static) -> Chunks {
    Box::new(std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(protocol::MAX_PIECE);
        match (&mut from).take(protocol::MAX_PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error)),
        }
    }))
}

/// Why bytes could not be fetched or sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The server cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server refuses the request.
    #[error("{address} refused: {message}")]
    Refused {
        /// The address of the server.
        address: String,
        /// The server's reason.
        message: String,
    },
    /// The server could not continue, and said so.
    #[error("{address} failed after {done} of {len} bytes: {message}")]
    Failed {
        /// The address of the server.
        address: String,
        /// How many bytes had been transferred.
        done: u64,
        /// How many there are in all.
        len: u64,
        /// The server's reason.
        message: String,
    },
    /// The connection ended before all bytes were transferred.
    #[error("the connection to {address} was cut after {done} of {len} bytes: {message}")]
    Cut {
        /// The address of the server.
        address: String,
        /// How many bytes had been transferred.
        done: u64,
        /// How many there are in all; 0 if that was not known yet.
        len: u64,
        /// The reason, as the system or the connection gave it.
        message: String,
    },
    /// Bytes that were to be sent could not be read here.
    #[error("the bytes for {address} cannot be read: {message}")]
    Source {
        /// The address of the server.
        address: String,
        /// The reason that the reader gave.
        message: String,
    },
}
