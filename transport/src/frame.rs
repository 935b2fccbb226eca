//! Frames: a length of four bytes, low byte first, and that many bytes. They come from other machines, so a reader
//! states how long a frame may be, and a length that is only claimed takes no memory. Long frames of processes that
//! connected to this one take memory from a shared capacity.

use crate::capacity::{Held, STEP, Share};
use bytes::{Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The bytes of a frame's length.
const HEAD: usize = 4;

/// Why no frame could be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame says that it is longer than the reader allows.
    #[error("a frame claims to have {len} bytes, and may have {limit}")]
    TooLong {
        /// The length that it claims.
        len: u64,
        /// The longest length that the reader allows.
        limit: usize,
    },
    /// The bytes ended within a frame.
    #[error("the bytes ended within a frame, {missing} bytes before its end")]
    Cut {
        /// The least number of bytes that are missing.
        missing: usize,
    },
    /// The system or the other end closed the connection.
    #[error("{message}")]
    Io {
        /// The kind of I/O error.
        kind: io::ErrorKind,
        /// The system's message.
        message: String,
    },
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        FrameError::Io { kind: error.kind(), message: error.to_string() }
    }
}

/// Reads frames. If a read is given up halfway, the bytes that arrived are kept.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    got: BytesMut,
    share: Option<Share>,
    /// The capacity for the frame that is arriving.
    held: Option<Held>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from the beginning of a frame, from a peer that may use this process's memory freely.
    pub fn new(from: R) -> Self {
        FrameReader { from, got: BytesMut::new(), share: None, held: None }
    }

    /// Reads from a peer that has a share of the capacity. A frame of more than 64 KiB waits until there is capacity
    /// for all of it, and holds that while it lives. The peer must continue a frame that it has begun.
    pub fn within(from: R, share: Share) -> Self {
        FrameReader { share: Some(share), ..FrameReader::new(from) }
    }

    /// The next frame, or none if the bytes end before it.
    ///
    /// # Errors
    /// If the frame is longer than `limit`, the bytes end inside it, the peer does not continue it, or reading fails.
    /// Nothing can be read after that.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        loop {
            let missing = match self.whole(limit)? {
                Whole::Frame(frame) => return Ok(Some(frame)),
                Whole::Missing(missing) => missing,
            };
            let begun = !self.got.is_empty();
            if let Some(share) = &self.share
                && self.held.is_none()
                && missing > STEP
            {
                self.held = Some(share.take(self.got.len() + missing).await);
            }
            let (from, got) = (&mut self.from, &mut self.got);
            let step = missing.min(STEP);
            got.reserve(step);
            let ended = match &self.share {
                // A single byte now and then is not enough progress.
                Some(share) if begun => {
                    let goal = got.len() + step;
                    share.patiently(read_to(from, got, goal)).await??
                }
                _ => from.read_buf(got).await? == 0,
            };
            if ended {
                return if self.got.is_empty() { Ok(None) } else { Err(FrameError::Cut { missing }) };
            }
        }
    }

    /// The next frame, if all of it has been read already.
    ///
    /// # Errors
    /// If it is longer than `limit`.
    pub fn ready(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        match self.whole(limit)? {
            Whole::Frame(frame) => Ok(Some(frame)),
            Whole::Missing(_) => Ok(None),
        }
    }

    /// The memory that is allocated for frames now.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.got.capacity()
    }

    fn whole(&mut self, limit: usize) -> Result<Whole, FrameError> {
        let Some(head) = self.got.first_chunk::<HEAD>() else {
            return Ok(Whole::Missing(HEAD - self.got.len()));
        };
        let len = u32::from_le_bytes(*head);
        match usize::try_from(len) {
            Ok(len) if len <= limit => match (HEAD + len).checked_sub(self.got.len()) {
                None | Some(0) => {
                    let frame = self.got.split_to(HEAD + len).split_off(HEAD).freeze();
                    Ok(Whole::Frame(match self.held.take() {
                        Some(held) => Bytes::from_owner(Kept { frame, _held: held }),
                        None => frame,
                    }))
                }
                Some(missing) => Ok(Whole::Missing(missing)),
            },
            _ => Err(FrameError::TooLong { len: len.into(), limit }),
        }
    }
}

/// Reads until there are `len` bytes; returns whether the input ended before.
async fn read_to<R: AsyncRead + Unpin>(from: &mut R, got: &mut BytesMut, len: usize) -> io::Result<bool> {
    while got.len() < len {
        if from.read_buf(got).await? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A frame that keeps its capacity until the last reference to it is dropped.
struct Kept {
    frame: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

enum Whole {
    Frame(Bytes),
    Missing(usize),
}

/// Writes one frame made of these parts, without flushing.
///
/// # Errors
/// If the writer fails, or the parts are 4 GiB or more.
pub async fn write_frame<W: AsyncWrite + Unpin>(to: &mut W, parts: &[&[u8]]) -> io::Result<()> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of over 4 GiB"))?;
    to.write_all(&len.to_le_bytes()).await?;
    for part in parts {
        to.write_all(part).await?;
    }
    Ok(())
}
