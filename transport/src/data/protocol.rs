//! The frames of the data port, as bytes.

use bytes::{Buf, Bytes};

/// The most bytes that a request may have.
pub(crate) const MAX_REQUEST: usize = 1 << 20;

/// The most bytes that a piece may have.
pub(crate) const MAX_PIECE: usize = 1 << 20;

/// The most bytes that a text may have.
const MAX_TEXT: usize = 64 << 10;

/// The longest frame of each kind.
pub(crate) const REQUEST_FRAME: usize = 1 + 8 + MAX_REQUEST;
pub(crate) const REPLY_FRAME: usize = 1 + MAX_TEXT;
pub(crate) const PIECE_FRAME: usize = 1 + MAX_PIECE;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Get(Bytes),
    Put(u64, Bytes),
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Accepted(u64),
    Refused(String),
}

/// A part of the bytes, or their end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    End,
    Failed(String),
}

impl Request {
    /// The bytes that precede the request itself.
    pub(crate) fn head(put: Option<u64>) -> [u8; 9] {
        let mut head = [0; 9];
        head[0] = put.is_some().into();
        head[1..].copy_from_slice(&put.unwrap_or_default().to_le_bytes());
        head
    }

    pub(crate) fn parse(mut frame: Bytes) -> Option<Self> {
        let (kind, len) = (frame.try_get_u8().ok()?, frame.try_get_u64_le().ok()?);
        match (kind, len) {
            _ if frame.len() > MAX_REQUEST => None,
            (0, 0) => Some(Request::Get(frame)),
            (1, len) => Some(Request::Put(len, frame)),
            _ => None,
        }
    }
}

impl Reply {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Reply::Accepted(len) => [&[0][..], &len.to_le_bytes()].concat(),
            Reply::Refused(why) => [&[1], text(why)].concat(),
        }
    }

    pub(crate) fn parse(mut frame: Bytes) -> Option<Self> {
        match frame.try_get_u8().ok()? {
            0 => frame.try_get_u64_le().ok().filter(|_| frame.is_empty()).map(Reply::Accepted),
            1 => Some(Reply::Refused(String::from_utf8(frame.into()).ok()?)),
            _ => None,
        }
    }
}

impl Piece {
    /// The byte that precedes a piece of data.
    pub(crate) const DATA: &[u8] = &[0];
    /// The whole frame that ends the bytes.
    pub(crate) const END: &[u8] = &[1];

    pub(crate) fn failed(why: &str) -> Vec<u8> {
        [&[2], text(why)].concat()
    }

    pub(crate) fn parse(mut frame: Bytes) -> Option<Self> {
        match frame.try_get_u8().ok()? {
            0 if frame.len() <= MAX_PIECE && !frame.is_empty() => Some(Piece::Data(frame)),
            1 if frame.is_empty() => Some(Piece::End),
            2 if frame.len() <= MAX_TEXT => Some(Piece::Failed(String::from_utf8(frame.into()).ok()?)),
            _ => None,
        }
    }
}

/// The part of a text that a frame may carry.
fn text(why: &str) -> &[u8] {
    &why.as_bytes()[..why.floor_char_boundary(MAX_TEXT)]
}
