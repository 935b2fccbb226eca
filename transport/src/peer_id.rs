//! The id of a connection to a dialled socket.

use bytes::Bytes;
use std::fmt;
use zeromq::util::PeerIdentity;

/// One connection of a peer. A peer that dials again gets another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u128);

impl PeerId {
    /// Tryworks's own socket names the peers. A peer that named itself could take the place of another, and is refused.
    pub(crate) fn from_frame(frame: &[u8]) -> Option<Self> {
        Some(PeerId(u128::from_be_bytes(frame.try_into().ok()?)))
    }

    pub(crate) fn frame(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    pub(crate) fn identity(self) -> Option<PeerIdentity> {
        PeerIdentity::try_from(self.frame()).ok()
    }
}

impl From<u128> for PeerId {
    /// A peer of no socket, for tests of code that listens to peers.
    fn from(number: u128) -> Self {
        PeerId(number)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {:08x}", self.0 >> 96)
    }
}
