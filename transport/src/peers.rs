//! The dialled end of connections: the hub's to its engines and drivers, an engine's to its workers.

use crate::backlog::{Backlog, Notice, Order, Writer};
use crate::error::{LinkError, check_len};
use crate::link::one_frame;
use crate::peer_id::PeerId;
use crate::socket::{self, Bound};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use zeromq::{MultiPeerBackend, RouterRecvHalf, RouterSocket, Socket, SocketEvent, SocketRecv, ZmqMessage};

type Events = futures_util::stream::BoxStream<'static, SocketEvent>;

/// An event from the peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerEvent {
    /// A message of a peer. The first message makes the peer known.
    Message {
        /// The peer that sent it.
        peer: PeerId,
        /// The message.
        bytes: Bytes,
    },
    /// A known peer is gone. All messages that arrived from it were received before, and it does not come back.
    Gone {
        /// The peer.
        peer: PeerId,
    },
    /// A known peer is gone because its connection was closed: it took none of the bytes that waited for it.
    CutOff {
        /// The peer.
        peer: PeerId,
        /// How many bytes waited for it.
        waiting: usize,
    },
}

/// Listens for the links of other processes of this machine.
pub struct Peers;

impl Peers {
    /// Listens at `path`, in a directory that only this user may enter. A socket that a dead process left there is
    /// replaced. Messages that wait for the peers count in this backlog.
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
        let (tell, notices) = mpsc::unbounded_channel();
        // The receiver has the other end of this channel: dropping the receiver ends the writer.
        tokio::spawn(Writer::new(to, tell, backlog).run(orders));
        let known = BTreeSet::new();
        Ok((PeersSender { waiting }, PeersReceiver { from, backend, events, notices, known, _bound: bound }))
    }
}

/// The sending half, for use from any thread. Clones send by the same socket.
#[derive(Clone)]
pub struct PeersSender {
    waiting: mpsc::UnboundedSender<Order>,
}

impl PeersSender {
    /// Sends a message to a peer. It never waits, so a peer that does not read delays no other peer. A message to a
    /// peer that is gone is dropped, since the loss of the peer is an event of its own.
    ///
    /// # Errors
    /// If the message is too long, or the receiver was dropped.
    pub fn send(&self, peer: &PeerId, message: Bytes) -> Result<(), LinkError> {
        check_len(&message)?;
        self.order(Order::Send(*peer, message))
    }

    /// Closes the connection of a peer once its messages are written, or once it has taken nothing for as long as the
    /// backlog allows. The peer counts as gone when the receiver is asked next after that.
    ///
    /// # Errors
    /// If the receiver was dropped.
    pub fn close(&self, peer: &PeerId) -> Result<(), LinkError> {
        self.order(Order::Close(*peer))
    }

    fn order(&self, order: Order) -> Result<(), LinkError> {
        self.waiting.send(order).map_err(|_| LinkError::Closed { why: "this end was closed".into() })
    }
}

impl fmt::Debug for PeersSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersSender").finish_non_exhaustive()
    }
}

/// The receiving half. Dropping it closes all connections.
pub struct PeersReceiver {
    from: RouterRecvHalf,
    backend: Arc<dyn MultiPeerBackend>,
    events: Events,
    notices: mpsc::UnboundedReceiver<Notice>,
    known: BTreeSet<PeerId>,
    _bound: Bound,
}

impl PeersReceiver {
    /// The next event. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// Only if the socket itself fails, which is a bug.
    pub async fn recv(&mut self) -> Result<PeerEvent, LinkError> {
        loop {
            let gone = tokio::select! {
                biased;
                Some(notice) = self.notices.recv() => match self.hear(notice) {
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

    /// The next event, if there is one already.
    pub fn ready(&mut self) -> Option<PeerEvent> {
        loop {
            if let Ok(notice) = self.notices.try_recv()
                && let Some(event) = self.hear(notice)
            {
                return Some(event);
            }
            let message = self.from.recv().now_or_never()?;
            if let Some(event) = self.message(message).ok()? {
                return Some(event);
            }
        }
    }

    fn hear(&mut self, notice: Notice) -> Option<PeerEvent> {
        let (peer, event) = match notice {
            Notice::Lost(peer) => (peer, PeerEvent::Gone { peer }),
            Notice::Close(peer) => (peer, PeerEvent::Gone { peer }),
            Notice::CutOff(peer, waiting) => (peer, PeerEvent::CutOff { peer, waiting }),
        };
        if !matches!(notice, Notice::Lost(_)) {
            self.close(peer);
        }
        self.known.remove(&peer).then_some(event)
    }

    /// Closes a connection. This must not happen while the socket is being asked for messages. The socket then takes
    /// the reading half of each connection out of its table, and would put it back, to stay open for ever.
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
