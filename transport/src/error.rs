//! What can go wrong with a link.

use crate::frame::FrameError;
use crate::role::Role;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why a message could not be sent or received, or why a link could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other end is gone, or this end was dropped. A link never recovers: make another one.
    #[error("the connection is closed: {why}")]
    Closed {
        /// What ended it.
        why: String,
    },
    /// A message is longer than the limit.
    #[error("a message of {len} bytes is more than one may have ({limit}); bulk bytes go by the data port")]
    TooLong {
        /// The length of the message, in bytes.
        len: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// A unix socket cannot be created or reached at this path.
    #[error("the unix socket {}: {message}", path.display())]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A process of the cluster cannot be reached at this address.
    #[error("no {role} can be reached at {address}: {message}")]
    Dial {
        /// The role of the process that should be there.
        role: Role,
        /// The address.
        address: String,
        /// What is wrong.
        message: String,
    },
    /// One of the two ends does not trust the other. Trying again with the same connection file does not help.
    #[error("no {role} can be reached at {address}: {message}")]
    Distrust {
        /// The role of the process that should be there.
        role: Role,
        /// The address.
        address: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The process cannot listen at an address.
    #[error("cannot listen at {address}: {message}")]
    Listen {
        /// The address.
        address: String,
        /// The system's message.
        message: String,
    },
    /// A certificate or a key cannot be used.
    #[error("the credentials of the cluster cannot be used: {message}")]
    Credentials {
        /// Which of them, and why. It never contains a part of a key.
        message: String,
    },
}

impl LinkError {
    pub(crate) fn socket(path: &Path, message: impl Display) -> Self {
        LinkError::Socket { path: path.to_owned(), message: message.to_string() }
    }

    pub(crate) fn dial(address: &str, role: Role, message: impl Display) -> Self {
        LinkError::Dial { role, address: address.to_owned(), message: message.to_string() }
    }

    pub(crate) fn distrust(address: &str, role: Role, message: impl Display) -> Self {
        LinkError::Distrust { role, address: address.to_owned(), message: message.to_string() }
    }
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        LinkError::Closed { why: error.to_string() }
    }
}

/// Refuses a message that is longer than the limit.
pub(crate) fn check_len(message: &[u8]) -> Result<(), LinkError> {
    match message.len() {
        len if len > tryworks_base::MAX_MESSAGE => Err(LinkError::TooLong { len, limit: tryworks_base::MAX_MESSAGE }),
        _ => Ok(()),
    }
}
