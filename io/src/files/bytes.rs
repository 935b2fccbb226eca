//! Where the bytes of a partition come from: a range of a plain file, or a decompressor over a whole file.

use super::compression::Compression;
use super::list::ListedFile;
use super::plain::Plain;
use super::unpack::Gzip;
#[cfg(feature = "zstd")]
use super::unpack::Zstd;
use std::io::{self, Read};
use std::path::Path;
use tryworks_base::{Error, Result};
use tryworks_core::task::TaskContext;

/// The bytes of a partition.
pub(crate) enum Bytes {
    Plain(Plain),
    // Much larger than a plain file.
    Gzip(Box<Gzip>),
    #[cfg(feature = "zstd")]
    Zstd(Zstd),
}

impl Bytes {
    /// Opens a file at its beginning.
    pub(crate) fn open(file: &ListedFile, task: &TaskContext) -> Result<Self> {
        let plain = Plain::open(file)?;
        Ok(match file.compression {
            Compression::Plain => Bytes::Plain(plain),
            Compression::Gzip => Bytes::Gzip(Box::new(Gzip::new(plain, task))),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Bytes::Zstd(Zstd::new(plain, task)?),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => return Err(file.compression.refused(plain.path())),
        })
    }

    /// The file, and how many of the bytes read from it are not unpacked yet.
    fn source(&self) -> Option<(&Plain, usize)> {
        let buffered = match self {
            Bytes::Plain(plain) => return Some((plain, 0)),
            Bytes::Gzip(unpacked) => unpacked.input()?,
            #[cfg(feature = "zstd")]
            Bytes::Zstd(unpacked) => unpacked.input(),
        };
        Some((buffered.get_ref(), buffered.buffer().len()))
    }

    /// How far a plain file was read; 0 for a compressed one that was not begun yet.
    pub(crate) fn at(&self) -> u64 {
        if let Bytes::Plain(plain) = self { plain.at() } else { 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.source().map_or(Path::new(""), |(plain, _)| plain.path())
    }

    pub(crate) fn compressed(&self) -> bool {
        !matches!(self, Bytes::Plain(_))
    }

    /// An error if the file is not what it was when it was opened.
    pub(crate) fn check(&self) -> Result<()> {
        self.source().map_or(Ok(()), |(plain, _)| plain.check())
    }

    /// Adds about `most` bytes to `out`, none at the end.
    pub(crate) fn append(&mut self, most: usize, out: &mut Vec<u8>) -> Result<usize> {
        let unpacked = match self {
            Bytes::Plain(plain) => return plain.append(most, out),
            Bytes::Gzip(unpacked) => unpacked.take(most as u64).read_to_end(out),
            #[cfg(feature = "zstd")]
            Bytes::Zstd(unpacked) => unpacked.take(most as u64).read_to_end(out),
        };
        let error = match unpacked.map_err(io::Error::downcast::<Error>) {
            Ok(read) => return Ok(read),
            Err(Ok(error)) => return Err(error),
            Err(Err(error)) => error,
        };
        // Bytes read while another process wrote to the file may look like anything.
        self.check()?;
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed data ends too early".to_string(),
            _ => format!("the compressed data is damaged: {error}"),
        };
        let at = self.source().map(|(plain, ahead)| plain.at() - ahead as u64);
        Err(Error::input(self.path().display(), at, message))
    }
}
