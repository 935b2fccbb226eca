//! The end of a connection that dials: an engine's or a driver's to the hub, a worker's to its engine.

use crate::error::{LinkError, check_len};
use crate::socket;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};
use zeromq::{DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketEvent, SocketRecv, SocketSend, ZmqMessage};

type Events = futures_util::stream::BoxStream<'static, SocketEvent>;

/// Dials the other end of a connection. The two halves that it gives are used apart.
///
/// A link ends when either process ends, and when its [`LinkReceiver`] is dropped. What was sent just before may be lost
/// then: to leave for sure, say so in a message of your own and receive until [`LinkError::Closed`].
pub struct Link;

impl Link {
    /// Dials the [`Peers`](crate::Peers) of this machine that listen at `path`.
    ///
    /// # Errors
    /// If nobody listens there, or they do not answer.
    pub async fn unix(path: impl AsRef<Path>) -> Result<(LinkSender, LinkReceiver), LinkError> {
        let path = path.as_ref();
        let endpoint = socket::reachable(path)?;
        let mut dealer = DealerSocket::with_options(socket::options());
        let events = dealer.monitor().boxed();
        dealer.connect(&endpoint).await.map_err(|error| LinkError::socket(path, error))?;
        let (to, from) = dealer.split();
        let (sender, waiting, end) = LinkSender::new();
        tokio::spawn(write(to, waiting, end.ended, sender.ended.clone()));
        let ended = sender.ended.clone();
        Ok((sender, LinkReceiver { from, events, ended, _dropped: end.dropped }))
    }
}

/// The half of a link that sends, from any thread. Clones send over the same connection.
#[derive(Clone)]
pub struct LinkSender {
    waiting: mpsc::UnboundedSender<Bytes>,
    ended: Arc<OnceLock<String>>,
}

/// Tells the task that writes when the half that receives is dropped.
struct End {
    dropped: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl LinkSender {
    fn new() -> (Self, mpsc::UnboundedReceiver<Bytes>, End) {
        let (waiting, to_write) = mpsc::unbounded_channel();
        let (dropped, ended) = oneshot::channel();
        (LinkSender { waiting, ended: Arc::default() }, to_write, End { dropped, ended })
    }

    /// Sends one message. It never waits: messages are kept until the other end takes them. That it is accepted does
    /// not mean that it arrives.
    ///
    /// # Errors
    /// If the message is too long, or the link is known to have ended.
    pub fn send(&self, message: Bytes) -> Result<(), LinkError> {
        check_len(&message)?;
        match self.ended.get() {
            None => self.waiting.send(message).map_err(|_| closed(&self.ended)),
            Some(_) => Err(closed(&self.ended)),
        }
    }
}

impl fmt::Debug for LinkSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSender").field("ended", &self.ended.get()).finish_non_exhaustive()
    }
}

/// The half of a link that receives. Dropping it ends the link.
pub struct LinkReceiver {
    from: DealerRecvHalf,
    events: Events,
    ended: Arc<OnceLock<String>>,
    _dropped: oneshot::Sender<()>,
}

impl LinkReceiver {
    /// The next message. Nothing is lost when this is given up halfway.
    ///
    /// # Errors
    /// [`LinkError::Closed`] once the other end is gone and all that arrived was received.
    pub async fn recv(&mut self) -> Result<Bytes, LinkError> {
        loop {
            tokio::select! {
                biased;
                message = self.from.recv() => match message {
                    Ok(message) => match one_frame(message) {
                        Some(message) => return Ok(message),
                        None => self.end("the other end does not speak our protocol"),
                    },
                    Err(error) => self.end(error),
                },
                // The socket itself would wait for ever: it hopes for a connection that nobody makes.
                event = self.events.next() => match event {
                    Some(SocketEvent::Disconnected(_)) | None => self.end("the other end is gone"),
                    Some(_) => continue,
                },
            }
            return Err(closed(&self.ended));
        }
    }

    /// The next message if it is there already.
    pub fn ready(&mut self) -> Option<Bytes> {
        match self.from.recv().now_or_never()? {
            Ok(message) => one_frame(message),
            Err(error) => {
                self.end(error);
                None
            }
        }
    }

    fn end(&self, why: impl fmt::Display) {
        let _ = self.ended.set(why.to_string());
    }
}

impl fmt::Debug for LinkReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkReceiver").field("ended", &self.ended.get()).finish_non_exhaustive()
    }
}

fn closed(ended: &OnceLock<String>) -> LinkError {
    LinkError::Closed { why: ended.get().cloned().unwrap_or_else(|| "this end was given up".into()) }
}

/// Our messages have one frame.
pub(crate) fn one_frame(message: ZmqMessage) -> Option<Bytes> {
    let mut frames = message.into_vecdeque();
    if frames.len() == 1 { frames.pop_front() } else { None }
}

/// Hands what is to be written to the socket, which writes as many messages at once as there are. Its queue has an end,
/// and a thread that sends must not wait for it; so this task does.
async fn write(
    mut to: DealerSendHalf,
    mut waiting: mpsc::UnboundedReceiver<Bytes>,
    mut dropped: oneshot::Receiver<()>,
    ended: Arc<OnceLock<String>>,
) {
    loop {
        let message = tokio::select! {
            biased;
            message = waiting.recv() => message,
            _ = &mut dropped => None,
        };
        let Some(message) = message else { return };
        if let Err(error) = to.send(message.into()).await {
            let _ = ended.set(format!("the other end is gone ({error})"));
            return;
        }
    }
}
