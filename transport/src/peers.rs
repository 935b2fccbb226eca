//! The end of connections that is dialled: the hub's to its engines and drivers, an engine's to its workers.

use crate::backlog::{Backlog, Order, Told, Writer};
use crate::error::{LinkError, check_len};
use crate::link::one_frame;
use crate::socket::{self, Bound};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use zeromq::util::PeerIdentity;
use zeromq::{MultiPeerBackend, RouterRecvHalf, RouterSocket, Socket, SocketEvent, SocketRecv, ZmqMessage};

type Events = futures_util::stream::BoxStream<'static, SocketEvent>;

/// A connection of a peer, for as long as it lasts. A peer that dials again is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u128);

impl PeerId {
    /// Peers are named by our own socket. One that names itself could take the place of another, and is not ours.
    fn from_frame(frame: &[u8]) -> Option<Self> {
        Some(PeerId(u128::from_be_bytes(frame.try_into().ok()?)))
    }

    pub(crate) fn frame(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn identity(self) -> Option<PeerIdentity> {
        PeerIdentity::try_from(self.frame()).ok()
    }
}

impl From<u128> for PeerId {
    /// A peer of no socket, for trying out what listens to peers.
    fn from(number: u128) -> Self {
        PeerId(number)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {:08x}", self.0 >> 96)
    }
}

/// What comes from the peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerEvent {
    /// A message, and who sent it. The first one makes the peer known.
    Message {
        /// Who sent it.
        peer: PeerId,
        /// What was sent.
        bytes: Bytes,
    },
    /// A known peer is gone. All that came of it was received before, and it does not come back.
    Gone {
        /// Who is gone.
        peer: PeerId,
    },
    /// A known peer is gone, too: its connection is closed, since it took nothing of what waited for it.
    CutOff {
        /// Who is gone.
        peer: PeerId,
        /// How many bytes waited for it.
        waiting: usize,
    },
}

/// Listens for the links of other processes of this machine.
pub struct Peers;

impl Peers {
    /// Listens at `path`, in a directory that only this user may enter. A socket that a dead process left there is
    /// replaced. What waits for the peers is a part of this backlog.
    ///
    /// # Errors
    /// If others can enter or replace its directory, or another process listens there.
    pub async fn bind(path: impl AsRef<Path>, backlog: Backlog) -> Result<(PeersSender, PeersReceiver), LinkError> {
        let path = path.as_ref();
        let (listener, bound) = socket::listen(path).await?;
        let mut router = RouterSocket::with_options(socket::options());
        let events = router.monitor().boxed();
        router.bind_listener(listener).await.map_err(|error| LinkError::socket(path, error))?;
        let backend = router.backend();
        let (to, from) = router.split();
        let (waiting, orders) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        // The receiver has the other end of this channel, and ends the writer when it is dropped.
        tokio::spawn(Writer::new(to, tell, backlog).run(orders));
        let known = BTreeSet::new();
        Ok((PeersSender { waiting }, PeersReceiver { from, backend, events, told, known, _bound: bound }))
    }
}

/// The half that sends to peers, from any thread. Clones send by the same socket.
#[derive(Clone)]
pub struct PeersSender {
    waiting: mpsc::UnboundedSender<Order>,
}

impl PeersSender {
    /// Sends a message to a peer. It never waits: a peer that does not read keeps nobody else from reading. What is sent
    /// to a peer that is gone is dropped, since that it is gone is an event of its own.
    ///
    /// # Errors
    /// If the message is too long, or the receiver was dropped.
    pub fn send(&self, peer: &PeerId, message: Bytes) -> Result<(), LinkError> {
        check_len(&message)?;
        self.order(Order::Send(*peer, message))
    }

    /// Closes the connection of a peer once what was sent to it is written, or it has taken nothing for as long as the backlog
    /// allows. For this end it is gone when the receiver is asked after that.
    ///
    /// # Errors
    /// If the receiver was dropped.
    pub fn close(&self, peer: &PeerId) -> Result<(), LinkError> {
        self.order(Order::Close(*peer))
    }

    fn order(&self, order: Order) -> Result<(), LinkError> {
        self.waiting.send(order).map_err(|_| LinkError::Closed { why: "this end was given up".into() })
    }
}

impl fmt::Debug for PeersSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersSender").finish_non_exhaustive()
    }
}

/// The half that receives from peers. Dropping it closes all connections.
pub struct PeersReceiver {
    from: RouterRecvHalf,
    backend: Arc<dyn MultiPeerBackend>,
    events: Events,
    told: mpsc::UnboundedReceiver<Told>,
    known: BTreeSet<PeerId>,
    _bound: Bound,
}

impl PeersReceiver {
    /// What comes next. Nothing is lost when this is given up halfway.
    ///
    /// # Errors
    /// Only if the socket itself fails; that is a bug.
    pub async fn recv(&mut self) -> Result<PeerEvent, LinkError> {
        loop {
            let gone = tokio::select! {
                biased;
                Some(told) = self.told.recv() => match self.hear(told) {
                    Some(event) => return Ok(event),
                    None => continue,
                },
                message = self.from.recv() => match self.message(message) {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => continue,
                    Err(error) => return Err(error),
                },
                event = self.events.next() => match event {
                    Some(SocketEvent::Disconnected(peer)) => PeerId::from_frame(&peer),
                    Some(_) => None,
                    None => return Err(LinkError::Closed { why: "the socket ended".into() }),
                },
            };
            if let Some(peer) = gone.filter(|peer| self.known.remove(peer)) {
                return Ok(PeerEvent::Gone { peer });
            }
        }
    }

    /// What comes next if it is there already.
    pub fn ready(&mut self) -> Option<PeerEvent> {
        loop {
            if let Ok(told) = self.told.try_recv()
                && let Some(event) = self.hear(told)
            {
                return Some(event);
            }
            let message = self.from.recv().now_or_never()?;
            if let Some(event) = self.message(message).ok()? {
                return Some(event);
            }
        }
    }

    fn hear(&mut self, told: Told) -> Option<PeerEvent> {
        let (peer, event) = match told {
            Told::Lost(peer) => (peer, PeerEvent::Gone { peer }),
            Told::Close(peer) => (peer, PeerEvent::Gone { peer }),
            Told::CutOff(peer, waiting) => (peer, PeerEvent::CutOff { peer, waiting }),
        };
        if !matches!(told, Told::Lost(_)) {
            self.close(peer);
        }
        self.known.remove(&peer).then_some(event)
    }

    /// Lets go of a connection. It must not be done while the socket is asked for messages: it takes the reading half of
    /// each connection out of its table while it looks there, and would put it back, to stay open for ever.
    fn close(&self, peer: PeerId) {
        if let Some(identity) = peer.identity() {
            self.backend.peer_disconnected(&identity);
        }
    }

    fn message(&mut self, message: zeromq::ZmqResult<ZmqMessage>) -> Result<Option<PeerEvent>, LinkError> {
        let mut message = message.map_err(|error| LinkError::Closed { why: error.to_string() })?;
        let bytes = message.split_off(1);
        let peer = message.get(0).and_then(|frame| PeerId::from_frame(frame));
        Ok(peer.zip(one_frame(bytes)).map(|(peer, bytes)| {
            self.known.insert(peer);
            PeerEvent::Message { peer, bytes }
        }))
    }
}

impl fmt::Debug for PeersReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersReceiver").field("known", &self.known.len()).finish_non_exhaustive()
    }
}
