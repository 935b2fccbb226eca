//! Which bytes of a block on another machine have arrived.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use tryworks_base::lock::{ReadLock, Reading, Writing};

/// Pieces of a block by where they begin. They never overlap and are never empty.
#[derive(Default)]
pub(super) struct Segments(ReadLock<BTreeMap<u64, Bytes>>);

type Pieces = BTreeMap<u64, Bytes>;

impl Segments {
    fn read(&self) -> Reading<'_, Pieces> {
        self.0.read()
    }

    fn write(&self) -> Writing<'_, Pieces> {
        self.0.write()
    }

    /// The parts of `range` that have not arrived.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        gaps(&self.read(), range)
    }

    /// Adds the bytes that begin at `start`. Bytes that were here before stay.
    pub(super) fn supply(&self, start: u64, data: &Bytes) {
        let mut pieces = self.write();
        for gap in gaps(&pieces, start..start + data.len() as u64) {
            let piece = data.slice((gap.start - start) as usize..(gap.end - start) as usize);
            pieces.insert(gap.start, piece);
        }
    }

    /// Drops the bytes of `range`.
    pub(super) fn forget(&self, range: Range<u64>) {
        let mut pieces = self.write();
        let touched: Vec<u64> = overlapping(&pieces, &range).map(|(start, _)| *start).collect();
        for start in touched {
            let Some(piece) = pieces.remove(&start) else { continue };
            let end = start + piece.len() as u64;
            if start < range.start {
                pieces.insert(start, piece.slice(..(range.start - start) as usize));
            }
            if range.end < end {
                pieces.insert(range.end, piece.slice((range.end - start) as usize..));
            }
        }
    }

    /// Replaces the content of `out` by the bytes of `range`; false if some have not arrived.
    pub(super) fn copy(&self, range: Range<u64>, out: &mut Vec<u8>) -> bool {
        out.clear();
        let pieces = self.read();
        // This check comes first: the length of the range was stated by a stranger.
        if !gaps(&pieces, range.clone()).is_empty() {
            return false;
        }
        for (start, piece) in overlapping(&pieces, &range) {
            let end = start + piece.len() as u64;
            let here = range.start.max(*start)..range.end.min(end);
            out.extend_from_slice(&piece[(here.start - start) as usize..(here.end - start) as usize]);
        }
        true
    }
}

/// The pieces that have bytes of `range`, in order.
fn overlapping<'a>(pieces: &'a Pieces, range: &Range<u64>) -> impl Iterator<Item = (&'a u64, &'a Bytes)> {
    let Range { start, end } = *range;
    let before = pieces.range(..start).next_back().filter(move |(at, piece)| **at + piece.len() as u64 > start);
    before.into_iter().chain(pieces.range(start..end.max(start))).filter(move |_| start < end)
}

fn gaps(pieces: &Pieces, range: Range<u64>) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = range.start;
    for (start, piece) in overlapping(pieces, &range) {
        if at < *start {
            gaps.push(at..*start);
        }
        at = start + piece.len() as u64;
    }
    if at < range.end {
        gaps.push(at..range.end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn segments_know_what_a_map_of_bytes_knows(steps in prop::collection::vec((0..3, 0..64u64, 0..24u64), 0..40)) {
            let segments = Segments::default();
            let mut known: Vec<Option<u8>> = vec![None; 100];
            for (n, (kind, start, len)) in steps.into_iter().enumerate() {
                let range = start..start + len;
                let places = start as usize..(start + len) as usize;
                match kind {
                    0 => {
                        let data: Vec<u8> = (0..len as u8).map(|i| i.wrapping_add(n as u8)).collect();
                        known[places].iter_mut().zip(&data).for_each(|(at, byte)| { at.get_or_insert(*byte); });
                        segments.supply(start, &data.into());
                    }
                    1 => {
                        known[places].fill(None);
                        segments.forget(range);
                    }
                    _ => {
                        let mut out = vec![1, 2, 3];
                        let all: Option<Vec<u8>> = known[places.clone()].iter().copied().collect();
                        prop_assert_eq!(segments.copy(range.clone(), &mut out), all.is_some());
                        prop_assert_eq!(out, all.unwrap_or_default());
                        let missing: Vec<u64> = segments.missing(range).into_iter().flatten().collect();
                        let unknown = places.filter(|at| known[*at].is_none()).map(|at| at as u64);
                        prop_assert_eq!(missing, unknown.collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}
