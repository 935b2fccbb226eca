//! Giving out our own blocks: to engines of this machine by the socket of our workers, to other machines by the data
//! port, many parts for one request.

use crate::protocol::blocks::{ENOUGH, Kind, asked, head};
use crate::protocol::worker::{BlockPart, Piece, Wanted};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use tryworks_core::Result;
use tryworks_io::blocks::{BlockId, BlockStore, Held, MOST_AT_ONCE, Pin, Served};
use tryworks_transport::{DataHandler, Download, Role};

/// About how much is read of a block before it is sent.
const STEP: u64 = 256 << 10;

/// Gives out blocks of the own store.
#[derive(Clone)]
pub(super) struct Giver(pub(super) BlockStore);

impl Giver {
    /// A part of a block, if it is here.
    pub(super) fn give(&self, block: BlockId, part: BlockPart) -> Piece {
        let pin = match self.look(block, part) {
            Ok(piece) => return piece,
            Err(pin) => pin,
        };
        let read = || -> Result<Piece> {
            Ok(match part {
                BlockPart::Note => Piece::Note(pin.note().to_vec()),
                BlockPart::Contents => Piece::Table(Served::new(pin)?.table()?),
                BlockPart::Range { start, end } => {
                    let mut bytes = Vec::new();
                    Served::new(pin)?.read(start..end, &mut bytes)?;
                    Piece::Range(bytes)
                }
            })
        };
        read().unwrap_or_else(|error| Piece::Missing(error.to_string()))
    }

    /// A part for which no file has to be read; else the block.
    fn look(&self, block: BlockId, part: BlockPart) -> std::result::Result<Piece, Pin> {
        let Some(pin) = self.0.get(block) else { return Ok(missing()) };
        match (part, pin.held()) {
            (BlockPart::Note, _) => Ok(Piece::Note(pin.note().to_vec())),
            (BlockPart::Contents, Held::Small(bytes)) => Ok(Piece::Whole(bytes.to_vec())),
            _ => Err(pin),
        }
    }

    /// Parts that are all in memory, as most that are asked for by other engines of this machine.
    pub(super) fn at_once(&self, wanted: &[Wanted]) -> Option<Vec<Piece>> {
        wanted.iter().map(|wanted| self.look(wanted.block, wanted.part).ok()).collect()
    }

    /// The same, but of a range only what is to be read: that is done when it is sent.
    fn begin(&self, block: BlockId, part: BlockPart) -> Item {
        let BlockPart::Range { start, end } = part else { return ready(self.give(block, part)) };
        match self.0.get(block) {
            Some(pin) if start <= end && end - start <= MOST_AT_ONCE => Item::Range(pin, start..end),
            Some(_) => ready(Piece::Missing("that range cannot be read at once".into())),
            None => ready(missing()),
        }
    }
}

fn missing() -> Piece {
    Piece::Missing("there is no such block".into())
}

fn ready(piece: Piece) -> Item {
    match piece {
        Piece::Whole(bytes) => Item::Ready(Kind::Whole, bytes),
        Piece::Table(bytes) => Item::Ready(Kind::Table, bytes),
        Piece::Range(bytes) => Item::Ready(Kind::Range, bytes),
        Piece::Note(bytes) => Item::Ready(Kind::Note, bytes),
        Piece::Missing(why) => Item::Ready(Kind::Missing, why.into_bytes()),
    }
}

/// A piece of an answer.
enum Item {
    Ready(Kind, Vec<u8>),
    Range(Pin, Range<u64>),
}

impl Item {
    fn len(&self) -> u64 {
        match self {
            Item::Ready(_, bytes) => bytes.len() as u64,
            Item::Range(_, range) => range.end - range.start,
        }
    }
}

impl DataHandler for Giver {
    fn get(&self, _: Role, request: &[u8]) -> Result<Download, String> {
        let asked = asked(request).ok_or("the request cannot be read")?;
        let (mut items, mut len) = (VecDeque::new(), 0);
        for (block, part) in asked {
            let item = self.begin(block, part);
            let more = head(Kind::Missing, 0).len() as u64 + item.len();
            if len > 0 && len + more > ENOUGH {
                break;
            }
            len += more;
            items.push_back(item);
        }
        Ok(Download { len, chunks: Box::new(Answer { items, reading: None }) })
    }
}

/// The bytes of an answer, as they are sent.
struct Answer {
    items: VecDeque<Item>,
    /// The range that is being read, and what is to come of it.
    reading: Option<(Served, Range<u64>)>,
}

impl Answer {
    /// Adds about a step to what is sent.
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
            Some(Item::Ready(kind, bytes)) => {
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
