//! Serves this engine's blocks; one request may ask for many parts. Engines on this machine ask through the workers'
//! socket, and other machines through the data port.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use tryworks_base::Result;
use tryworks_protocol::blocks::{ENOUGH, Kind, asked, head};
use tryworks_protocol::worker::{BlockPart, Piece, Wanted};
use tryworks_store::blocks::{BlockId, BlockStore, Held, MOST_AT_ONCE, Pin, Served};
use tryworks_transport::{DataHandler, Download, Role};

/// About how many bytes of a block are read before they are sent.
const STEP: u64 = 256 << 10;

/// Serves the blocks of this engine's store.
#[derive(Clone)]
pub(super) struct Giver(pub(super) BlockStore);

impl Giver {
    /// A part of a block, if the block is here.
    pub(super) fn give(&self, block: BlockId, part: BlockPart) -> Piece {
        match self.0.get(block) {
            Some(pin) => read(pin, part).unwrap_or_else(|error| Piece::Missing(error.to_string())),
            None => Piece::Missing(NONE.into()),
        }
    }

    /// The parts, if all are in memory. That is the usual case for other engines of this machine.
    pub(super) fn at_once(&self, wanted: &[Wanted]) -> Option<Vec<Piece>> {
        let piece = |wanted: &Wanted| match self.0.get(wanted.block) {
            Some(pin) => in_memory(&pin, wanted.part),
            None => Some(Piece::Missing(NONE.into())),
        };
        wanted.iter().map(piece).collect()
    }

    /// As [`Giver::give`], but a part is read only when it is sent.
    fn begin(&self, block: BlockId, part: BlockPart) -> Item {
        match (self.0.get(block), part) {
            (None, _) => Item::Missing(NONE),
            (Some(pin), BlockPart::Range { start, end }) if start <= end && end - start <= MOST_AT_ONCE => {
                Item::Range(pin, start..end)
            }
            (Some(_), BlockPart::Range { .. }) => Item::Missing("that range is too large for one answer"),
            (Some(pin), part) => Item::Whole(pin, part),
        }
    }
}

const NONE: &str = "there is no such block";

/// A part that can be served without reading a file.
fn in_memory(pin: &Pin, part: BlockPart) -> Option<Piece> {
    match (part, pin.held()) {
        (BlockPart::Note, _) => Some(Piece::Note(pin.note().to_vec())),
        (BlockPart::Contents, Held::Small(bytes)) => Some(Piece::Whole(bytes.to_vec())),
        _ => None,
    }
}

/// Reads a part of a block.
fn read(pin: Pin, part: BlockPart) -> Result<Piece> {
    if let Some(piece) = in_memory(&pin, part) {
        return Ok(piece);
    }
    let served = Served::new(pin)?;
    let BlockPart::Range { start, end } = part else { return Ok(Piece::Table(served.table()?)) };
    let mut bytes = Vec::new();
    served.read(start..end, &mut bytes)?;
    Ok(Piece::Range(bytes))
}

/// A piece of an answer.
enum Item {
    Missing(&'static str),
    /// A part other than a range, which is read at once.
    Whole(Pin, BlockPart),
    Range(Pin, Range<u64>),
}

impl Item {
    fn len(&self) -> u64 {
        match self {
            Item::Missing(why) => why.len() as u64,
            Item::Whole(pin, BlockPart::Note) => pin.note().len() as u64,
            Item::Whole(pin, _) => match pin.held() {
                Held::Small(bytes) => bytes.len() as u64,
                held => held.bytes() - pin.table_start(),
            },
            Item::Range(_, range) => range.end - range.start,
        }
    }
}

impl DataHandler for Giver {
    fn get(&self, _: Role, request: &[u8]) -> Result<Download, String> {
        let asked = asked(request).ok_or("the request cannot be read")?;
        let (mut items, mut len, mut longest) = (VecDeque::new(), 0, 0);
        for (block, part) in asked {
            let item = self.begin(block, part);
            let more = head(Kind::Missing, 0).len() as u64 + item.len();
            if len > 0 && len + more > ENOUGH {
                break;
            }
            len += more;
            if let Item::Whole(..) = item {
                longest = longest.max(more);
            }
            items.push_back(item);
        }
        // One step is sent while the next is read. Each may end with the longest part that is read as one piece.
        let held = usize::try_from(2 * (2 * STEP + longest)).unwrap_or(usize::MAX);
        Ok(Download { len, held, chunks: Box::new(Answer { items, reading: None }) })
    }
}

/// The bytes of an answer, which are read as they are sent.
struct Answer {
    items: VecDeque<Item>,
    /// The range that is being read, and what is left of it.
    reading: Option<(Served, Range<u64>)>,
}

impl Answer {
    /// Adds about one step to the bytes to send.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some((served, range)) = &mut self.reading {
            let mut bytes = Vec::new();
            let now = range.start..range.end.min(range.start + STEP);
            served.read(now.clone(), &mut bytes)?;
            out.append(&mut bytes);
            range.start = now.end;
            if range.is_empty() {
                self.reading = None;
            }
            return Ok(());
        }
        match self.items.pop_front() {
            Some(Item::Missing(why)) => {
                out.extend(head(Kind::Missing, why.len() as u64));
                out.extend(why.as_bytes());
            }
            Some(Item::Whole(pin, part)) => {
                let (kind, bytes) = match read(pin, part)? {
                    Piece::Whole(bytes) => (Kind::Whole, bytes),
                    Piece::Table(bytes) => (Kind::Table, bytes),
                    Piece::Range(bytes) => (Kind::Range, bytes),
                    Piece::Note(bytes) => (Kind::Note, bytes),
                    Piece::Missing(why) => (Kind::Missing, why.into_bytes()),
                };
                out.extend(head(kind, bytes.len() as u64));
                out.extend(bytes);
            }
            Some(Item::Range(pin, range)) => {
                out.extend(head(Kind::Range, range.end - range.start));
                self.reading = Some((Served::new(pin)?, range));
            }
            None => {}
        }
        Ok(())
    }
}

impl Iterator for Answer {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut out = Vec::new();
        while (out.len() as u64) < STEP && (self.reading.is_some() || !self.items.is_empty()) {
            if let Err(error) = self.step(&mut out) {
                self.items.clear();
                self.reading = None;
                return Some(Err(io::Error::other(error.to_string())));
            }
        }
        (!out.is_empty()).then(|| Ok(out.into()))
    }
}
