//! Asking an engine's data port for blocks: many in one request, since a shuffle reads many small pieces.
//!
//! ```text
//! request   the blocks and their parts, as a list
//! answer    for each part, in order: kind (1 byte), length (4 bytes, low byte first), bytes
//! ```
//! An answer may end before the list does; the client then asks for the rest. An answer that is cut off in the middle
//! of a piece still has the pieces before it.

use super::worker::{BlockPart, Piece};
use bytes::Bytes;
use tryworks_base::{Result, codec};
use tryworks_store::blocks::{BlockId, MOST_AT_ONCE};
use tryworks_transport::{DataClient, DataError, Role};

/// The most parts in one request.
const PARTS: usize = 4096;

/// An answer does not take a further piece that would make it longer than this, in bytes.
pub const ENOUGH: u64 = 2 * MOST_AT_ONCE;

/// The longest answer that is accepted, in bytes. A single table of contents may make an answer longer than [`ENOUGH`].
const MOST: u64 = 256 << 20;

/// The length of the head before each piece of an answer.
const HEAD: usize = 5;

/// The head of a piece: its kind and its length.
pub fn head(kind: Kind, len: u64) -> [u8; HEAD] {
    let mut head = [kind as u8; HEAD];
    head[1..].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head
}

/// The kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole block.
    Whole,
    /// Its table of contents.
    Table,
    /// Some of its bytes.
    Range,
    /// The reason why the part is not there.
    Missing,
    /// The note that the block's maker left for it.
    Note,
}

/// The parts that a request asks for, or `None` if it cannot be read.
pub fn asked(request: &[u8]) -> Option<Vec<(BlockId, BlockPart)>> {
    let (asked, taken) = codec::decode::<Vec<(BlockId, BlockPart)>>(request).ok()?;
    (taken == request.len()).then_some(asked)
}

/// Fetches parts of blocks from an engine's data port, and returns all of them in order.
///
/// # Errors
/// If the engine cannot be reached, or the connection is cut. A part that the engine does not have is a piece that says
/// so.
pub async fn fetch(data: &DataClient, address: &str, wanted: &[(BlockId, BlockPart)]) -> Result<Vec<Piece>, DataError> {
    let mut pieces = Vec::with_capacity(wanted.len());
    while pieces.len() < wanted.len() {
        let known = pieces.len();
        let some = &wanted[known..wanted.len().min(known + PARTS)];
        let mut request = Vec::new();
        let refused = |message: String| DataError::Refused { address: address.into(), message };
        codec::encode(some, &mut request).map_err(|error| refused(error.to_string()))?;
        match take(data, address, &request, known + some.len(), &mut pieces).await {
            // The part at which the answer stopped is missing. The others may be there.
            Err(DataError::Failed { message, .. } | DataError::Refused { message, .. }) => {
                pieces.push(Piece::Missing(message));
            }
            Ok(()) if pieces.len() == known => return Err(refused("its answer is empty".into())),
            other => other?,
        }
    }
    Ok(pieces)
}

/// Reads an answer and adds its pieces, until there are at most `most`.
async fn take(
    data: &DataClient,
    address: &str,
    request: &[u8],
    most: usize,
    pieces: &mut Vec<Piece>,
) -> Result<(), DataError> {
    let strange = |message: &str| DataError::Source { address: address.into(), message: message.into() };
    let mut stream = data.get(address, Role::Engine, request).await?;
    if stream.total() > MOST {
        return Err(strange("the answer claims to be longer than any answer may be"));
    }
    let mut open: Vec<u8> = Vec::new();
    while let Some(chunk) = stream.next_chunk().await? {
        open.extend_from_slice(&chunk);
        let mut rest = &open[..];
        while let Some((piece, behind)) = first_piece(rest).map_err(strange)? {
            if pieces.len() == most {
                return Err(strange("the answer has more pieces than were asked for"));
            }
            pieces.push(piece);
            rest = behind;
        }
        open = rest.to_vec();
    }
    if open.is_empty() { Ok(()) } else { Err(strange("the answer ends in the middle of a piece")) }
}

/// The first piece in `bytes` and the bytes after it, or `None` while the piece is incomplete.
fn first_piece(bytes: &[u8]) -> Result<Option<(Piece, &[u8])>, &'static str> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [kind, len @ ..] = *head;
    let Some((body, behind)) = rest.split_at_checked(u32::from_le_bytes(len) as usize) else { return Ok(None) };
    let piece = match kind {
        0 => Piece::Whole(body.to_vec()),
        1 => Piece::Table(body.to_vec()),
        2 => Piece::Range(body.to_vec()),
        3 => Piece::Missing(String::from_utf8_lossy(body).into_owned()),
        4 => Piece::Note(body.to_vec()),
        _ => return Err("the answer has a piece of an unknown kind"),
    };
    Ok(Some((piece, behind)))
}

/// The bytes of a piece that should be a range.
pub fn range(piece: Piece) -> Result<Bytes, String> {
    match piece {
        Piece::Range(bytes) => Ok(bytes.into()),
        Piece::Missing(why) => Err(why),
        _ => Err("the answer is not what was asked for".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes =
            [&head(Kind::Range, 3)[..], b"abc", &head(Kind::Missing, 2), b"no", &head(Kind::Whole, 0)].concat();
        for end in 0..HEAD + 3 {
            assert_eq!(first_piece(&bytes[..end]), Ok(None));
        }
        let (first, rest) = first_piece(&bytes).unwrap().unwrap();
        let (second, rest) = first_piece(rest).unwrap().unwrap();
        let (third, rest) = first_piece(rest).unwrap().unwrap();
        assert_eq!((first, second), (Piece::Range(b"abc".to_vec()), Piece::Missing("no".into())));
        assert_eq!((third, rest), (Piece::Whole(Vec::new()), &[][..]));
        bytes[0] = 9;
        assert!(first_piece(&bytes).is_err());
        assert_eq!(asked(b"\xff\xff\xff\xff\xff\xff"), None);
    }
}
