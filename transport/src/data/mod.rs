//! The data port: bulk bytes between two processes of a cluster, past the hub's messages.
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

/// Bytes in pieces, which are asked for on a thread that may wait.
pub type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// Answers the requests at a data port. Its methods are called on threads that may wait.
pub trait DataHandler: Send + Sync + 'static {
    /// What is asked for, or why it is not given out.
    ///
    /// # Errors
    /// A text for the other end.
    fn get(&self, role: Role, request: &[u8]) -> Result<Download, String>;

    /// Takes `len` bytes that the other end has, or says why not.
    ///
    /// # Errors
    /// A text for the other end.
    fn put(&self, role: Role, request: &[u8], len: u64) -> Result<Box<dyn Upload>, String> {
        let _ = (role, request, len);
        Err("nothing can be put here".into())
    }
}

/// Bytes that are given out.
pub struct Download {
    /// How many there are in all.
    pub len: u64,
    /// How many of them are in memory at once, at most.
    pub held: usize,
    /// The bytes. It is an error if they are more or fewer.
    pub chunks: Chunks,
}

impl Download {
    /// Bytes that are in memory.
    pub fn bytes(bytes: Bytes) -> Self {
        Download { len: bytes.len() as u64, held: bytes.len(), chunks: Box::new(std::iter::once(Ok(bytes))) }
    }

    /// The next `len` bytes of a reader.
    pub fn read(from: impl Read + Send + 'static, len: u64) -> Self {
        // One is read while another one is sent.
        Download { len, held: 2 * protocol::MAX_PIECE, chunks: chunks(from.take(len)) }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Where bytes go that the other end has. If it is dropped before it is finished, they did not all come.
pub trait Upload: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If they cannot be kept.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All bytes came.
    ///
    /// # Errors
    /// A text for the other end, if they are not what they should be.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

impl DataError {
    /// Whether the other end was not to be had, and may be in a moment.
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

/// Why bytes could not be had or handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The other end cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other end does not do what it was asked.
    #[error("{address} refused: {message}")]
    Refused {
        /// The address of the other end.
        address: String,
        /// What it said.
        message: String,
    },
    /// The other end could not go on, and said so.
    #[error("{address} failed after {done} of {len} bytes: {message}")]
    Failed {
        /// The address of the other end.
        address: String,
        /// How many bytes were carried until then.
        done: u64,
        /// How many there are in all.
        len: u64,
        /// What it said.
        message: String,
    },
    /// The connection ended in the middle.
    #[error("the connection to {address} was cut after {done} of {len} bytes: {message}")]
    Cut {
        /// The address of the other end.
        address: String,
        /// How many bytes were carried until then.
        done: u64,
        /// How many there are in all; 0 if that was not known yet.
        len: u64,
        /// What was said.
        message: String,
    },
    /// Bytes that were to be handed over could not be read here.
    #[error("the bytes for {address} cannot be read: {message}")]
    Source {
        /// The address of the other end.
        address: String,
        /// What was said.
        message: String,
    },
}
