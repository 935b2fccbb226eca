//! The end of connections that is dialled: the hub's to its engines and drivers, an engine's to its workers.

use crate::error::{LinkError, check_len};
use crate::link::one_frame;
use crate::socket::{self, Bound};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use zeromq::util::PeerIdentity;
use zeromq::{MultiPeerBackend, RouterRecvHalf, RouterSendHalf, RouterSocket};
use zeromq::{Socket, SocketEvent, SocketRecv, SocketSend, ZmqMessage};

type Events = futures_util::stream::BoxStream<'static, SocketEvent>;

/// How often it is tried again to write to a peer that has stopped reading.
const RETRY: Duration = Duration::from_millis(2);

/// A connection of a peer, for as long as it lasts. A peer that dials again is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u128);

impl PeerId {
    /// Peers are named by our own socket. One that names itself could take the place of another, and is not ours.
    fn from_frame(frame: &[u8]) -> Option<Self> {
        Some(PeerId(u128::from_be_bytes(frame.try_into().ok()?)))
    }

    fn frame(self) -> Bytes {
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
}

/// Listens for the links of other processes of this machine.
pub struct Peers;

impl Peers {
    /// Listens at `path`, in a directory that only this user may enter. A socket that a dead process left there is
    /// replaced.
    ///
    /// # Errors
    /// If others can enter or replace its directory, or another process listens there.
    pub async fn bind(path: impl AsRef<Path>) -> Result<(PeersSender, PeersReceiver), LinkError> {
        let path = path.as_ref();
        let (listener, bound) = socket::listen(path).await?;
        let mut router = RouterSocket::with_options(socket::options());
        let events = router.monitor().boxed();
        router.bind_listener(listener).await.map_err(|error| LinkError::socket(path, error))?;
        let backend = router.backend();
        let (to, from) = router.split();
        let (waiting, to_write) = mpsc::unbounded_channel();
        let (lost_by, lost) = mpsc::unbounded_channel();
        let (close, to_close) = mpsc::unbounded_channel();
        tokio::spawn(Writer { to, lost: lost_by, close, stuck: BTreeMap::new() }.run(to_write));
        let known = BTreeSet::new();
        Ok((PeersSender { waiting }, PeersReceiver { from, backend, events, lost, to_close, known, _bound: bound }))
    }
}

enum Order {
    Send(PeerId, Bytes),
    Close(PeerId),
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

    /// Closes the connection of a peer once what was sent to it is written. For this end it is gone as soon as the
    /// receiver is next asked. A peer that has stopped reading gets no more than what the system and the socket have
    /// taken for it already.
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
    lost: mpsc::UnboundedReceiver<PeerId>,
    to_close: mpsc::UnboundedReceiver<PeerId>,
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
                Some(peer) = self.to_close.recv() => {
                    self.close(peer);
                    Some(peer)
                }
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
                Some(peer) = self.lost.recv() => Some(peer),
            };
            if let Some(peer) = gone.filter(|peer| self.known.remove(peer)) {
                return Ok(PeerEvent::Gone { peer });
            }
        }
    }

    /// What comes next if it is there already.
    pub fn ready(&mut self) -> Option<PeerEvent> {
        loop {
            if let Ok(peer) = self.to_close.try_recv() {
                self.close(peer);
                if self.known.remove(&peer) {
                    return Some(PeerEvent::Gone { peer });
                }
            }
            let message = self.from.recv().now_or_never()?;
            if let Some(event) = self.message(message).ok()? {
                return Some(event);
            }
        }
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

/// Hands what is to be written to the socket. The socket has a queue for each peer, which its own task writes; when
/// one is full, its peer's messages wait here, and those of others are not held up.
///
/// A send that has to wait must be given up and tried again, not awaited: the socket holds a lock while it waits, which
/// the end of that very peer would need.
struct Writer {
    to: RouterSendHalf,
    lost: mpsc::UnboundedSender<PeerId>,
    close: mpsc::UnboundedSender<PeerId>,
    stuck: BTreeMap<PeerId, VecDeque<Bytes>>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Order>) {
        // The other half has this channel's receiver, and ends it when it is dropped.
        let lost = self.lost.clone();
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = waiting.recv() => match order {
                    Some(Order::Send(peer, bytes)) => self.send(peer, bytes),
                    Some(Order::Close(peer)) => self.close(peer),
                    None => return,
                },
                _ = retry.tick(), if !self.stuck.is_empty() => self.retry(),
                () = lost.closed() => return,
            }
        }
    }

    fn send(&mut self, peer: PeerId, bytes: Bytes) {
        if let Some(queue) = self.stuck.get_mut(&peer) {
            queue.push_back(bytes);
        } else if !self.try_send(peer, &bytes) {
            self.stuck.insert(peer, VecDeque::from([bytes]));
        }
    }

    fn retry(&mut self) {
        for (peer, mut queue) in std::mem::take(&mut self.stuck) {
            while let Some(bytes) = queue.front()
                && self.try_send(peer, bytes)
            {
                queue.pop_front();
            }
            if !queue.is_empty() {
                self.stuck.insert(peer, queue);
            }
        }
    }

    /// Gives a message to the socket; false if the peer's queue is full.
    fn try_send(&mut self, peer: PeerId, bytes: &Bytes) -> bool {
        let mut message = ZmqMessage::from(bytes.clone());
        message.push_front(peer.frame());
        match self.to.send(message).now_or_never() {
            Some(Ok(())) => true,
            Some(Err(_)) => {
                // The socket tells of at most 1,024 ends that nobody has asked for yet; so this tells, too.
                let _ = self.lost.send(peer);
                true
            }
            None => false,
        }
    }

    fn close(&mut self, peer: PeerId) {
        self.stuck.remove(&peer);
        let _ = self.close.send(peer);
    }
}
