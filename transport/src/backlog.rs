//! Messages that wait to be sent to peers: how many bytes a process holds, and which peers lose their connections for
//! taking none.

use crate::peer_id::PeerId;
use bytes::Bytes;
use futures_util::FutureExt;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval};
use zeromq::{RouterSendHalf, SocketSend, ZmqMessage};

/// The most bytes of a peer's messages that the socket has at once, in addition to one message. Messages cannot be
/// taken back from the socket.
const IN_SOCKET: usize = 1 << 20;

/// The bytes that a message takes in addition to its content.
const OVERHEAD: usize = 64;

/// How many bytes may wait for peers.
#[derive(Clone, Copy, Debug)]
pub struct BacklogLimits {
    /// How many bytes may wait for a peer that takes none of them.
    pub per_peer: usize,
    /// How many bytes may wait for all peers together. If more do, the peers that take none lose their connections. The
    /// one with the most waiting bytes comes first.
    pub total: usize,
    /// How long a peer may take nothing while too much waits.
    pub patience: Duration,
}

impl Default for BacklogLimits {
    fn default() -> Self {
        BacklogLimits {
            per_peer: tryworks_base::MAX_MESSAGE,
            total: 2 * tryworks_base::MAX_MESSAGE,
            patience: Duration::from_secs(10),
        }
    }
}

/// The bytes that wait for the peers of a process. Sockets with clones of one backlog share its total.
#[derive(Clone, Default, Debug)]
pub struct Backlog {
    limits: BacklogLimits,
    all: Arc<AtomicUsize>,
}

impl Backlog {
    /// A backlog without waiting bytes.
    pub fn new(limits: BacklogLimits) -> Self {
        Backlog { limits, all: Arc::default() }
    }

    /// How many bytes wait now.
    pub fn bytes(&self) -> usize {
        self.all.load(Relaxed)
    }
}

pub(crate) enum Order {
    Send(PeerId, Bytes),
    Close(PeerId),
}

/// What a writer tells the receiving half.
pub(crate) enum Notice {
    /// The socket says that a peer is gone. It remembers at most 1,024 of these peers until it is asked.
    Lost(PeerId),
    /// A connection has to be closed.
    Close(PeerId),
    /// A connection has to be closed because the peer takes nothing and this many bytes wait.
    CutOff(PeerId, usize),
}

/// Hands messages to the socket. The socket has a queue for each peer, which a task of its own writes, and messages in
/// that queue cannot be taken back. So the socket gets little at a time, and the rest waits here. A peer that does not
/// read delays no other peer.
pub(crate) struct Writer {
    to: RouterSendHalf,
    tell: UnboundedSender<Notice>,
    backlog: Backlog,
    peers: HashMap<PeerId, Outgoing>,
    /// Reports which peer's message the socket has written, and how long it was.
    written: (UnboundedSender<(PeerId, usize)>, UnboundedReceiver<(PeerId, usize)>),
}

/// A peer with waiting messages, here or in the socket.
struct Outgoing {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    in_socket: usize,
    /// When the peer last took something.
    took: Instant,
    closing: bool,
}

/// A message that counts in the backlog for as long as it exists. Its end is reported: it was written, or never will
/// be.
struct Counted {
    message: Bytes,
    peer: PeerId,
    all: Arc<AtomicUsize>,
    written: UnboundedSender<(PeerId, usize)>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let len = len_of(&self.message);
        self.all.fetch_sub(len, Relaxed);
        // The writer may be gone.
        let _ = self.written.send((self.peer, len));
    }
}

fn len_of(message: &Bytes) -> usize {
    message.len() + OVERHEAD
}

impl Writer {
    pub(crate) fn new(to: RouterSendHalf, tell: UnboundedSender<Notice>, backlog: Backlog) -> Self {
        Writer { to, tell, backlog, peers: HashMap::new(), written: unbounded_channel() }
    }

    /// Runs until both halves of the socket are dropped, or the receiving half is.
    pub(crate) async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        let tell = self.tell.clone();
        let mut look = interval(self.backlog.limits.patience / 8 + Duration::from_millis(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Send(peer, bytes)) => self.send(peer, bytes),
                    Some(Order::Close(peer)) => self.close(peer),
                    None => return,
                },
                Some((peer, len)) = self.written.1.recv() => self.was_written(peer, len),
                _ = look.tick(), if !self.peers.is_empty() => self.look(),
                () = tell.closed() => return,
            }
        }
    }

    fn send(&mut self, peer: PeerId, message: Bytes) {
        let all = self.backlog.all.clone();
        let len = len_of(&message);
        all.fetch_add(len, Relaxed);
        let message = Bytes::from_owner(Counted { message, peer, all, written: self.written.0.clone() });
        let of = self.peers.entry(peer).or_insert_with(|| Outgoing {
            waiting: VecDeque::new(),
            bytes: 0,
            in_socket: 0,
            took: Instant::now(),
            closing: false,
        });
        of.bytes += len;
        of.waiting.push_back(message);
        self.go_on(peer);
    }

    fn was_written(&mut self, peer: PeerId, len: usize) {
        if let Some(of) = self.peers.get_mut(&peer) {
            // Some of these bytes may be older: the peer was cut off, and its connection was not closed yet.
            of.in_socket = of.in_socket.saturating_sub(len);
            if len > 0 {
                of.took = Instant::now();
            }
            self.go_on(peer);
        }
    }

    /// Gives the socket as many of a peer's messages as it may have.
    ///
    /// A send that has to wait must be given up and tried again, not awaited. The socket holds a lock while it waits,
    /// and closing that very peer would need the lock. The socket's queue has space, since it gets fewer messages of a
    /// peer than the queue takes. So a send waits only while another task holds the lock.
    fn go_on(&mut self, peer: PeerId) {
        let Some(of) = self.peers.get_mut(&peer) else { return };
        while of.in_socket < IN_SOCKET
            && let Some(bytes) = of.waiting.front()
        {
            let len = len_of(bytes);
            let mut message = ZmqMessage::from(bytes.clone());
            message.push_front(peer.frame());
            match self.to.send(message).now_or_never() {
                Some(Ok(())) => {
                    of.bytes -= len;
                    of.in_socket += len;
                    of.waiting.pop_front();
                }
                Some(Err(_)) => {
                    self.peers.remove(&peer);
                    let _ = self.tell.send(Notice::Lost(peer));
                    return;
                }
                None => {
                    // Another task holds the lock. This report of no bytes makes the writer try again.
                    let _ = self.written.0.send((peer, 0));
                    return;
                }
            }
        }
        if of.waiting.is_empty() && of.closing {
            let _ = self.tell.send(Notice::Close(peer));
        }
        // A peer with nothing to send needs no entry.
        if of.waiting.is_empty() && (of.in_socket == 0 || of.closing) {
            self.peers.remove(&peer);
        }
    }

    fn close(&mut self, peer: PeerId) {
        match self.peers.get_mut(&peer) {
            Some(of) if !of.waiting.is_empty() => of.closing = true,
            _ => {
                self.peers.remove(&peer);
                let _ = self.tell.send(Notice::Close(peer));
            }
        }
    }

    /// Cuts off peers that take nothing while too much waits.
    fn look(&mut self) {
        let BacklogLimits { per_peer, total, patience } = self.backlog.limits;
        let still = self.peers.iter().filter(|(_, of)| of.took.elapsed() >= patience);
        let mut still: Vec<_> = still.map(|(peer, of)| (of.bytes + of.in_socket, *peer)).collect();
        still.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, peer) in still {
            let closing = self.peers.get(&peer).is_some_and(|of| of.closing);
            if closing || bytes > per_peer || self.backlog.bytes() > total {
                self.peers.remove(&peer);
                let notice = if closing { Notice::Close(peer) } else { Notice::CutOff(peer, bytes) };
                let _ = self.tell.send(notice);
            }
        }
    }
}
