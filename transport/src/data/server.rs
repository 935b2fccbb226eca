//! The server of a data port.

use super::protocol::{MAX_PIECE, PIECE_FRAME, Piece, REQUEST_FRAME, Reply, Request};
use super::{Chunks, DataHandler, Download, Upload};
use crate::capacity::{Held, Share};
use crate::door::{Door, Incoming, Limits, Service};
use crate::error::LinkError;
use crate::frame::{FrameError, FrameReader, write_frame};
use crate::role::Role;
use crate::tls::Credentials;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf, split};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// How long the server still reads bytes that it does not want, so that the client hears the reason.
const FAREWELL: Duration = Duration::from_secs(5);

/// Listens at an address (port 0 takes a free one) and answers requests with `handler`, until the returned door is
/// dropped.
///
/// # Errors
/// If the system refuses the address.
pub async fn serve_data(
    listen: SocketAddr,
    credentials: &Credentials,
    limits: Limits,
    handler: impl DataHandler,
) -> Result<Door, LinkError> {
    Door::open(listen, credentials, limits, Serving(Arc::new(handler))).await
}

struct Serving<H>(Arc<H>);

impl<H: DataHandler> Service for Serving<H> {
    async fn serve(&self, role: Role, stream: Incoming, share: Share) {
        let (from, to) = split(stream);
        let mut connection = Connection { from: FrameReader::within(from, share.clone()), to: buffered(to), share };
        // If a connection fails, the error goes to its client.
        while let Ok(true) = connection.answer(role, &self.0).await {}
        let _ = timeout(FAREWELL, connection.to.shutdown()).await;
    }

    async fn refuse(&self, stream: Incoming, why: &str) {
        let (from, to) = split(stream);
        let mut to = buffered(to);
        if let Ok(Some(_)) = FrameReader::new(from).next(REQUEST_FRAME).await {
            let _ = write_frame(&mut to, &[&Reply::Refused(why.into()).to_bytes()]).await;
            let _ = to.shutdown().await;
        }
    }
}

fn buffered(to: WriteHalf<Incoming>) -> BufWriter<WriteHalf<Incoming>> {
    BufWriter::with_capacity(16 << 10, to)
}

struct Connection {
    from: FrameReader<ReadHalf<Incoming>>,
    to: BufWriter<WriteHalf<Incoming>>,
    share: Share,
}

/// The remaining pieces, and the next one.
type Pulled = (Chunks, Option<io::Result<Bytes>>);

/// Bytes about to be served.
enum Opened {
    /// The capacity is taken, and the first piece has been read.
    Begun(Held, Pulled),
    Waits(Chunks),
}

impl Connection {
    /// Answers one request; returns whether another may follow.
    async fn answer<H: DataHandler>(&mut self, role: Role, handler: &Arc<H>) -> Result<bool, FrameError> {
        let asked = timeout(self.share.idle(), self.from.next(REQUEST_FRAME)).await;
        let Some(frame) = asked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? else {
            return Ok(false);
        };
        let handler = handler.clone();
        match Request::parse(frame) {
            Some(Request::Get(request)) => {
                // If there is capacity, the first piece is read at once: often it is the only one.
                let share = self.share.clone();
                let opened = spawn_blocking(move || {
                    let Download { len, held, chunks } = handler.get(role, &request)?;
                    let needed = usize::try_from(len).unwrap_or(usize::MAX).min(held);
                    Ok((
                        len,
                        needed,
                        match share.try_take(needed) {
                            Some(held) => Opened::Begun(held, pull(chunks)),
                            None => Opened::Waits(chunks),
                        },
                    ))
                });
                match opened.await.unwrap_or_else(|_| Err(panicked())) {
                    Ok((len, _, Opened::Begun(_held, first))) => self.give(len, first).await,
                    Ok((len, needed, Opened::Waits(chunks))) => {
                        let _held = self.share.take(needed).await;
                        match spawn_blocking(move || pull(chunks)).await {
                            Ok(first) => self.give(len, first).await,
                            Err(_) => self.reply(&Reply::Refused(panicked())).await.map(|()| true),
                        }
                    }
                    Err(why) => self.reply(&Reply::Refused(why)).await.map(|()| true),
                }
            }
            Some(Request::Put(len, request)) => {
                let opened = spawn_blocking(move || handler.put(role, &request, len));
                match opened.await.unwrap_or_else(|_| Err(panicked())) {
                    Ok(upload) => self.take(len, upload).await,
                    Err(why) => self.reply(&Reply::Refused(why)).await.map(|()| true),
                }
            }
            None => Ok(false),
        }
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), FrameError> {
        self.share
            .patiently(async {
                write_frame(&mut self.to, &[&reply.to_bytes()]).await?;
                self.to.flush().await
            })
            .await??;
        Ok(())
    }

    async fn give(&mut self, len: u64, (mut chunks, mut next): Pulled) -> Result<bool, FrameError> {
        write_frame(&mut self.to, &[&Reply::Accepted(len).to_bytes()]).await?;
        let mut given = 0;
        let end = loop {
            if given == len {
                break Piece::END.to_vec();
            }
            let bytes = match next {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => break Piece::failed(&error.to_string()),
                None => break Piece::failed(&format!("the source ended after {given} bytes of {len}")),
            };
            given += bytes.len() as u64;
            if given > len {
                break Piece::failed(&format!("the source has more than the {len} bytes that it promised"));
            }
            // The next piece is read while this one is written.
            let reading = (given < len).then(|| spawn_blocking(move || pull(chunks)));
            self.share
                .patiently(async {
                    for piece in bytes.chunks(MAX_PIECE) {
                        write_frame(&mut self.to, &[Piece::DATA, piece]).await?;
                    }
                    match given < len {
                        true => self.to.flush().await,
                        false => Ok(()),
                    }
                })
                .await??;
            match pulled(reading).await {
                Some(pulled) => (chunks, next) = pulled,
                None if given == len => break Piece::END.to_vec(),
                None => break Piece::failed(&panicked()),
            }
        };
        self.share
            .patiently(async {
                write_frame(&mut self.to, &[&end]).await?;
                self.to.flush().await
            })
            .await??;
        Ok(true)
    }

    async fn take(&mut self, len: u64, mut upload: Box<dyn Upload>) -> Result<bool, FrameError> {
        self.reply(&Reply::Accepted(len)).await?;
        let mut taken = 0;
        let why = loop {
            let frame = self.share.patiently(self.from.next(PIECE_FRAME)).await??;
            match frame.and_then(Piece::parse) {
                Some(Piece::Data(bytes)) => {
                    taken += bytes.len() as u64;
                    if taken > len {
                        break format!("these are more than the {len} bytes that were promised");
                    }
                    let written = spawn_blocking(move || {
                        let written = upload.write(&bytes);
                        (upload, written)
                    });
                    match written.await {
                        Ok((back, Ok(()))) => upload = back,
                        Ok((_, Err(error))) => break error.to_string(),
                        Err(_) => break panicked(),
                    }
                }
                Some(Piece::End) if taken == len => {
                    match spawn_blocking(move || upload.finish()).await.unwrap_or_else(|_| Err(panicked())) {
                        Ok(()) => {
                            self.share
                                .patiently(async {
                                    write_frame(&mut self.to, &[Piece::END]).await?;
                                    self.to.flush().await
                                })
                                .await??;
                            return Ok(true);
                        }
                        Err(why) => break why,
                    }
                }
                Some(Piece::End) => break format!("these are {taken} bytes, and {len} were promised"),
                Some(Piece::Failed(_)) | None => return Ok(false),
            }
        };
        self.share
            .patiently(async {
                write_frame(&mut self.to, &[&Piece::failed(&why)]).await?;
                self.to.flush().await?;
                self.to.shutdown().await
            })
            .await??;
        // The client would not see the reason if its remaining bytes were left unread.
        let _ = timeout(FAREWELL, async { while let Ok(Some(_)) = self.from.next(PIECE_FRAME).await {} }).await;
        Ok(false)
    }
}

fn pull(mut chunks: Chunks) -> Pulled {
    // An empty piece would look like the end.
    let next = chunks.find(|chunk| !matches!(chunk, Ok(bytes) if bytes.is_empty()));
    (chunks, next)
}

async fn pulled(reading: Option<JoinHandle<Pulled>>) -> Option<Pulled> {
    reading?.await.ok()
}

fn panicked() -> String {
    "a bug in Tryworks: the handler of data requests panicked".into()
}
