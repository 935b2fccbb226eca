//! The dialling end of a connection: an engine's or a driver's to the hub, a worker's to its engine.

use crate::error::{LinkError, check_len};
use crate::frame::{FrameReader, write_frame};
use crate::greeting::{greeted, why};
use crate::role::Role;
use crate::socket;
use crate::tls::Credentials;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_rustls::client::TlsStream;
use zeromq::{DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketEvent, SocketRecv, SocketSend, ZmqMessage};

type Events = futures_util::stream::BoxStream<'static, SocketEvent>;

/// How many bytes of messages that are passed on may wait.
const PASSED: u32 = 64 << 10;

/// Dials the other end of a connection. The two returned halves are used separately.
///
/// A link ends when either process ends, and when its [`LinkReceiver`] is dropped. A message sent just before may then
/// be lost. To leave safely, send a message that says so and receive until [`LinkError::Closed`].
pub struct Link;

impl Link {
    /// Dials the [`Peers`](crate::Peers) of this machine that listen at `path`.
    ///
    /// # Errors
    /// If no process listens there, the other end does not answer, it belongs to another user, or others can enter its
    /// directory.
    pub async fn unix(path: impl AsRef<Path>) -> Result<(LinkSender, LinkReceiver), LinkError> {
        let path = path.as_ref();
        let mut dealer = DealerSocket::with_options(socket::options());
        let events = dealer.monitor().boxed();
        socket::dial(&mut dealer, path).await?;
        let (to, from) = dealer.split();
        let (sender, to_write) = LinkSender::new();
        let receiver =
            LinkReceiver::new(Source::Unix { from, events }, &sender, to_write, |waiting| write(to, waiting));
        Ok((sender, receiver))
    }

    /// Dials the gateway of a cluster on another machine.
    ///
    /// # Errors
    /// If no process listens there, one of the two ends does not trust the other, or the gateway has no capacity.
    pub async fn tls(address: &str, credentials: &Credentials) -> Result<(LinkSender, LinkReceiver), LinkError> {
        let (from, to) = tokio::io::split(credentials.dial(address, Role::Hub).await?);
        let mut from = FrameReader::new(from);
        greeted(&mut from, address).await?;
        let (sender, to_write) = LinkSender::new();
        let receiver = LinkReceiver::new(Source::Tls(from), &sender, to_write, |waiting| write_tls(to, waiting));
        Ok((sender, receiver))
    }
}

/// The sending half of a link, for use from any thread. Clones send over the same connection.
#[derive(Clone)]
pub struct LinkSender {
    waiting: mpsc::UnboundedSender<Bytes>,
    passing: Arc<Semaphore>,
    ended: Arc<OnceLock<String>>,
}

/// A message that is passed on, until it is written.
struct Passed {
    message: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Passed {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl LinkSender {
    fn new() -> (Self, mpsc::UnboundedReceiver<Bytes>) {
        let (waiting, to_write) = mpsc::unbounded_channel();
        let passing = Arc::new(Semaphore::new(PASSED as usize));
        (LinkSender { waiting, passing, ended: Arc::default() }, to_write)
    }

    /// Sends one message. It never waits: messages are kept until the other end takes them. That this returns `Ok` does
    /// not mean that the message arrives.
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

    /// Passes on a message, once at most 64 KiB of passed messages wait before it. So the caller takes messages from
    /// their sender only as fast as the other end does.
    ///
    /// # Errors
    /// As those of [`send`](Self::send).
    pub async fn pass(&self, message: Bytes) -> Result<(), LinkError> {
        // An empty message takes a unit, too: there may be millions.
        let places = u32::try_from(message.len()).unwrap_or(PASSED).clamp(64, PASSED);
        let place = self.passing.clone().acquire_many_owned(places).await;
        let _place = place.map_err(|_| closed(&self.ended))?;
        self.send(Bytes::from_owner(Passed { message, _place }))
    }
}

impl fmt::Debug for LinkSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSender").field("ended", &self.ended.get()).finish_non_exhaustive()
    }
}

/// The receiving half of a link. Dropping it ends the link.
pub struct LinkReceiver {
    from: Source,
    ended: Arc<OnceLock<String>>,
    _dropped: oneshot::Sender<()>,
}

enum Source {
    Unix { from: DealerRecvHalf, events: Events },
    Tls(FrameReader<ReadHalf<TlsStream<TcpStream>>>),
}

impl LinkReceiver {
    /// Starts to write waiting messages, until that fails or the receiver is dropped.
    fn new<F: Future<Output = String> + Send + 'static>(
        from: Source,
        sender: &LinkSender,
        to_write: mpsc::UnboundedReceiver<Bytes>,
        write: impl FnOnce(Waiting) -> F,
    ) -> Self {
        let (_dropped, dropped) = oneshot::channel();
        let writing = write(Waiting { messages: to_write, dropped });
        let ended = sender.ended.clone();
        tokio::spawn(async move {
            let why = writing.await;
            let _ = ended.set(why);
        });
        LinkReceiver { from, ended: sender.ended.clone(), _dropped }
    }

    /// The next message. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// [`LinkError::Closed`] once the other end is gone and all messages that arrived have been received.
    pub async fn recv(&mut self) -> Result<Bytes, LinkError> {
        let why = match &mut self.from {
            Source::Unix { from, events } => loop {
                tokio::select! {
                    biased;
                    message = from.recv() => match message {
                        Ok(message) => match one_frame(message) {
                            Some(message) => return Ok(message),
                            None => break "the other end does not speak our protocol".to_owned(),
                        },
                        Err(error) => break error.to_string(),
                    },
                    // The socket itself would wait for ever: it hopes for a new connection, and none will be made.
                    event = events.next() => match event {
                        Some(SocketEvent::Disconnected(_)) | None => break "the other end is gone".to_owned(),
                        Some(_) => {}
                    },
                }
            },
            Source::Tls(from) => match from.next(tryworks_base::MAX_MESSAGE).await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => "the other end is gone".to_owned(),
                Err(error) => why(&error),
            },
        };
        let _ = self.ended.set(why);
        Err(closed(&self.ended))
    }

    /// The next message, if it has arrived already.
    pub fn ready(&mut self) -> Option<Bytes> {
        match &mut self.from {
            Source::Unix { from, .. } => one_frame(from.recv().now_or_never()?.ok()?),
            Source::Tls(from) => from.ready(tryworks_base::MAX_MESSAGE).ok()?,
        }
    }
}

impl fmt::Debug for LinkReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkReceiver").field("ended", &self.ended.get()).finish_non_exhaustive()
    }
}

fn closed(ended: &OnceLock<String>) -> LinkError {
    LinkError::Closed { why: ended.get().cloned().unwrap_or_else(|| "this end was closed".into()) }
}

/// Tryworks's messages have one frame.
pub(crate) fn one_frame(message: ZmqMessage) -> Option<Bytes> {
    let mut frames = message.into_vecdeque();
    if frames.len() == 1 { frames.pop_front() } else { None }
}

/// Messages to be written, until the receiving half is dropped. Messages sent before that are still written.
struct Waiting {
    messages: mpsc::UnboundedReceiver<Bytes>,
    dropped: oneshot::Receiver<()>,
}

impl Waiting {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            message = self.messages.recv() => message,
            _ = &mut self.dropped => None,
        }
    }
}

/// Hands messages to the socket, which writes as many at once as there are. Its queue is bounded, and a thread that
/// sends must not wait for it; so this task waits instead.
async fn write(mut to: DealerSendHalf, mut waiting: Waiting) -> String {
    while let Some(message) = waiting.next().await {
        if let Err(error) = to.send(message.into()).await {
            return format!("the other end is gone ({error})");
        }
    }
    "this end was closed".to_owned()
}

/// Writes frames, and flushes when no more of them wait.
async fn write_tls(to: WriteHalf<TlsStream<TcpStream>>, mut waiting: Waiting) -> String {
    let mut to = BufWriter::with_capacity(16 << 10, to);
    let result = async {
        while let Some(message) = waiting.next().await {
            write_frame(&mut to, &[&message]).await?;
            while let Ok(message) = waiting.messages.try_recv() {
                write_frame(&mut to, &[&message]).await?;
            }
            to.flush().await?;
        }
        to.shutdown().await
    };
    match result.await {
        Ok(()) => "this end was closed".to_owned(),
        Err(error) => format!("the other end is gone ({error})"),
    }
}
