//! The client of a data port.

use super::protocol::{MAX_PIECE, MAX_REQUEST, PIECE_FRAME, Piece, REPLY_FRAME, Reply, Request};
use super::{Chunks, DataError};
use crate::error::LinkError;
use crate::frame::{FrameReader, write_frame};
use crate::greeting::why;
use crate::role::Role;
use crate::tls::Credentials;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// The unit in which bytes in flight are counted.
const UNIT: usize = 1 << 10;

/// How many connections are kept for later requests.
const KEPT: usize = 64;

/// How long to wait for the server's reason after it stopped taking bytes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The limits of a client.
#[derive(Clone, Copy, Debug)]
pub struct DataLimits {
    /// How long the server may be silent while the client waits for it.
    pub silence: Duration,
    /// How many bytes may be in flight at once, for all requests together. A piece of up to 1 MiB always may.
    pub in_flight: usize,
}

impl Default for DataLimits {
    fn default() -> Self {
        DataLimits { silence: Duration::from_secs(60), in_flight: 64 << 20 }
    }
}

/// Requests bytes at data ports. Clones share connections and limits.
#[derive(Clone)]
pub struct DataClient {
    shared: Arc<Shared>,
}

struct Shared {
    credentials: Credentials,
    limits: DataLimits,
    in_flight: Semaphore,
    /// The connections that are kept; the one used last is at the end.
    idle: Mutex<VecDeque<((String, Role), Connection)>>,
}

struct Connection {
    from: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    to: BufWriter<WriteHalf<TlsStream<TcpStream>>>,
}

impl DataClient {
    /// A client that shows these credentials.
    pub fn new(credentials: Credentials, limits: DataLimits) -> Self {
        let in_flight = Semaphore::new(limits.in_flight.max(MAX_PIECE).div_ceil(UNIT).min(Semaphore::MAX_PERMITS));
        DataClient { shared: Arc::new(Shared { credentials, limits, in_flight, idle: Mutex::default() }) }
    }

    /// The same with connections of its own: a runtime cannot use connections of another one that has ended.
    pub fn apart(&self) -> Self {
        DataClient::new(self.shared.credentials.clone(), self.shared.limits)
    }

    /// Requests bytes at the data port at `address`, whose process must have the role `server`.
    ///
    /// # Errors
    /// If it cannot be reached, refuses, or falls silent.
    pub async fn get(&self, address: &str, server: Role, request: &[u8]) -> Result<DataStream, DataError> {
        let (connection, len) = self.ask(address, server, None, request).await?;
        let key = (address.to_owned(), server);
        Ok(DataStream { shared: self.shared.clone(), key, connection: Some(connection), done: 0, len })
    }

    /// Sends `len` bytes to the data port at `address`. It returns when the server has them.
    ///
    /// # Errors
    /// If it cannot be reached, refuses, fails or falls silent, or the bytes cannot be read here.
    pub async fn put(
        &self,
        address: &str,
        server: Role,
        request: &[u8],
        len: u64,
        chunks: Chunks,
    ) -> Result<(), DataError> {
        let (Connection { mut from, mut to }, _) = self.ask(address, server, Some(len), request).await?;
        let mut done = 0;
        let answer = {
            // The server may answer before all bytes are written.
            let mut answer = std::pin::pin!(from.next(PIECE_FRAME));
            let silence = self.shared.limits.silence;
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                written = write(address, &mut to, chunks, len, &mut done, silence) => {
                    let patience = match written {
                        Ok(()) => silence,
                        Err(error @ DataError::Source { .. }) => return Err(error),
                        Err(_) => LAST_WORDS.min(silence),
                    };
                    match (timeout(patience, answer).await, written) {
                        (Ok(Ok(Some(answer))), _) => Ok(Some(answer)),
                        (_, Err(error)) => return Err(error),
                        (Ok(answer), Ok(())) => answer,
                        (Err(_), Ok(())) => return Err(cut(address, done, len, silent(silence))),
                    }
                }
            }
        };
        let answer = answer.map_err(|error| cut(address, done, len, why(&error)))?;
        match answer.and_then(Piece::parse) {
            Some(Piece::End) if done == len => {
                self.shared.keep((address.to_owned(), server), Connection { from, to });
                Ok(())
            }
            Some(Piece::Failed(message)) => Err(DataError::Failed { address: address.into(), done, len, message }),
            _ => Err(cut(address, done, len, "it does not speak our protocol".into())),
        }
    }

    /// Sends a request. Returns the connection on which it was accepted, and the length that the server stated.
    async fn ask(
        &self,
        address: &str,
        server: Role,
        put: Option<u64>,
        request: &[u8],
    ) -> Result<(Connection, u64), DataError> {
        if request.len() > MAX_REQUEST {
            return Err(LinkError::TooLong { len: request.len(), limit: MAX_REQUEST }.into());
        }
        let head = Request::head(put);
        let key = (address.to_owned(), server);
        loop {
            // A connection that was kept may have been closed by now, or its server replaced.
            let kept = self.shared.kept(&key);
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    let (from, to) = tokio::io::split(self.shared.credentials.dial(address, server).await?);
                    Connection { from: FrameReader::new(from), to: BufWriter::with_capacity(16 << 10, to) }
                }
            };
            let silence = self.shared.limits.silence;
            match timeout(silence, connection.ask(&head, request)).await {
                Ok(Ok(Reply::Accepted(len))) => return Ok((connection, len)),
                Ok(Ok(Reply::Refused(message))) => {
                    self.shared.keep(key, connection);
                    return Err(DataError::Refused { address: address.into(), message });
                }
                Ok(Err(_)) if !fresh => {}
                Ok(Err(message)) => return Err(LinkError::dial(address, server, message).into()),
                Err(_) => return Err(cut(address, 0, 0, silent(silence))),
            }
        }
    }
}

impl fmt::Debug for DataClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataClient").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Connection {
    async fn ask(&mut self, head: &[u8], request: &[u8]) -> Result<Reply, String> {
        let written = async {
            write_frame(&mut self.to, &[head, request]).await?;
            self.to.flush().await
        };
        // If writing failed, the server's reason may be there to be read.
        let written = written.await;
        match (self.from.next(REPLY_FRAME).await, written) {
            (Ok(Some(frame)), _) => Reply::parse(frame).ok_or_else(|| "it does not speak our protocol".into()),
            (Err(error), _) => Err(why(&error)),
            (Ok(None), Err(error)) => Err(error.to_string()),
            (Ok(None), Ok(())) => Err("it closed the connection".into()),
        }
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, VecDeque<((String, Role), Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, key: &(String, Role)) -> Option<Connection> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(of, _)| of == key)?;
        Some(idle.remove(at)?.1)
    }

    fn keep(&self, key: (String, Role), connection: Connection) {
        let mut idle = self.idle();
        if idle.len() == KEPT {
            idle.pop_front();
        }
        idle.push_back((key, connection));
    }
}

/// Bytes from a data port, read on demand. Dropping the stream before its end closes the connection.
pub struct DataStream {
    shared: Arc<Shared>,
    key: (String, Role),
    connection: Option<Connection>,
    done: u64,
    len: u64,
}

impl DataStream {
    /// How many bytes there are in all, as the server says. Do not allocate memory for them before they arrive.
    pub fn total(&self) -> u64 {
        self.len
    }

    /// The next bytes, at most 1 MiB of them, or none at the end. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// If the connection is cut, or the server fails or is silent. The stream has ended then.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, DataError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let next = next_piece(&self.shared, connection, (self.len - self.done).min(MAX_PIECE as u64)).await;
        let address = &self.key.0;
        let error = match next {
            Ok(Piece::Data(bytes)) if bytes.len() as u64 <= self.len - self.done => {
                self.done += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            Ok(Piece::End) if self.done == self.len => {
                if let Some(connection) = self.connection.take() {
                    self.shared.keep(self.key.clone(), connection);
                }
                return Ok(None);
            }
            Ok(Piece::Failed(message)) => {
                DataError::Failed { address: address.clone(), done: self.done, len: self.len, message }
            }
            Ok(_) => cut(address, self.done, self.len, "it sends another number of bytes than it has promised".into()),
            Err(message) => cut(address, self.done, self.len, message),
        };
        self.connection = None;
        Err(error)
    }
}

impl fmt::Debug for DataStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataStream")
            .field("from", &self.key)
            .field("done", &self.done)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Reads a piece. Its bytes are counted until the caller gets them, so that waiting for one stream never blocks
/// another.
async fn next_piece(shared: &Shared, connection: &mut Connection, most: u64) -> Result<Piece, String> {
    let units = u32::try_from(most.div_ceil(UNIT as u64)).unwrap_or(u32::MAX);
    let _counted = shared.in_flight.acquire_many(units).await.map_err(|error| error.to_string())?;
    let silence = shared.limits.silence;
    match timeout(silence, connection.from.next(PIECE_FRAME)).await {
        Err(_) => Err(silent(silence)),
        Ok(Err(error)) => Err(why(&error)),
        Ok(Ok(None)) => Err("it closed the connection".into()),
        Ok(Ok(Some(frame))) => Piece::parse(frame).ok_or_else(|| "it does not speak our protocol".into()),
    }
}

async fn write(
    address: &str,
    to: &mut BufWriter<WriteHalf<TlsStream<TcpStream>>>,
    mut chunks: Chunks,
    len: u64,
    done: &mut u64,
    silence: Duration,
) -> Result<(), DataError> {
    let unread = |message: String| DataError::Source { address: address.into(), message };
    while *done < len {
        // The reader may block.
        let next = spawn_blocking(move || {
            let next = chunks.next();
            (chunks, next)
        });
        let (rest, next) = next.await.map_err(|_| unread("their reader panicked".into()))?;
        chunks = rest;
        let bytes = match next {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(unread(error.to_string())),
            None => return Err(unread(format!("they ended after {done} of {len}"))),
        };
        if bytes.len() as u64 > len - *done {
            return Err(unread(format!("there are more than {len}")));
        }
        for piece in bytes.chunks(MAX_PIECE) {
            match timeout(silence, write_frame(to, &[Piece::DATA, piece])).await {
                Ok(Ok(())) => *done += piece.len() as u64,
                Ok(Err(error)) => return Err(cut(address, *done, len, error.to_string())),
                Err(_) => return Err(cut(address, *done, len, silent(silence))),
            }
        }
    }
    let end = async {
        write_frame(to, &[Piece::END]).await?;
        to.flush().await
    };
    match timeout(silence, end).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(cut(address, *done, len, error.to_string())),
        Err(_) => Err(cut(address, *done, len, silent(silence))),
    }
}

fn cut(address: &str, done: u64, len: u64, message: String) -> DataError {
    DataError::Cut { address: address.into(), done, len, message }
}

fn silent(silence: Duration) -> String {
    format!("it was silent for {silence:?}")
}
