//! Where each frame of a spilled sequence or of a block is: a byte or two per frame, since there can be a million
//! frames.

/// The index states the position of every `STRIDE`th frame, so that a look-up adds up few lengths. With 16 it takes a
/// byte more per frame than with 64, and is four times as fast.
const STRIDE: usize = 16;

/// Appends a number in seven bits a byte, the low ones first. Every byte except the last has its top bit set.
pub(crate) fn put_number(mut rest: u64, out: &mut Vec<u8>) {
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Takes a number from the front of `bytes`; `None` if there is none, or if it needs more than 64 bits.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift > 63 || part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if *byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

/// For each frame, in order: twice its length, plus one if it is compressed.
#[derive(Default)]
pub(crate) struct Index {
    len: usize,
    bytes: Vec<u8>,
    /// For every [`STRIDE`]th frame: where its entry begins in `bytes`, and where the frame begins.
    marks: Vec<(u32, u64)>,
    /// Where the next frame begins.
    end: u64,
}

/// One frame's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) compressed: bool,
}

impl Index {
    /// Adds a frame of `len` bytes; false when the index is full.
    #[must_use]
    pub(crate) fn push(&mut self, len: u64, compressed: bool) -> bool {
        if self.len.is_multiple_of(STRIDE) {
            let Ok(at) = u32::try_from(self.bytes.len()) else { return false };
            self.marks.push((at, self.end));
        }
        put_number(len << 1 | u64::from(compressed), &mut self.bytes);
        self.end += len;
        self.len += 1;
        true
    }

    pub(crate) fn get(&self, index: usize) -> Option<Entry> {
        if index >= self.len {
            return None;
        }
        let (at, mut start) = *self.marks.get(index / STRIDE)?;
        let mut bytes = self.bytes.get(at as usize..)?;
        for _ in 0..index % STRIDE {
            start += take_number(&mut bytes)? >> 1;
        }
        let entry = take_number(&mut bytes)?;
        Some(Entry { start, len: entry >> 1, compressed: entry & 1 == 1 })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// Its size in memory.
    pub(crate) fn held(&self) -> u64 {
        (self.bytes.capacity() + self.marks.capacity() * size_of::<(u32, u64)>()) as u64
    }
}

/// Indexes of blocks, which go to other processes.
#[cfg(feature = "cluster")]
impl Index {
    /// Reads the entries of `frames` frames that another process wrote; they have to take all of `bytes`. `None` if
    /// they do not, or if the frames end beyond `capacity`.
    pub(crate) fn parse(mut bytes: &[u8], frames: usize, capacity: u64) -> Option<Index> {
        // An entry takes at least a byte, so the allocation is bounded by what was received.
        if frames > bytes.len() {
            return None;
        }
        let mut index = Index {
            bytes: Vec::with_capacity(bytes.len()),
            marks: Vec::with_capacity(frames.div_ceil(STRIDE)),
            ..Index::default()
        };
        for _ in 0..frames {
            let entry = take_number(&mut bytes)?;
            if index.end.checked_add(entry >> 1)? > capacity || !index.push(entry >> 1, entry & 1 == 1) {
                return None;
            }
        }
        bytes.is_empty().then_some(index)
    }

    /// All entries, from the first one on.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let (mut bytes, mut start) = (&self.bytes[..], 0);
        std::iter::from_fn(move || {
            let entry = take_number(&mut bytes)?;
            let entry = Entry { start, len: entry >> 1, compressed: entry & 1 == 1 };
            start += entry.len;
            Some(entry)
        })
    }

    /// Where the last frame ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The encoded entries, as [`parse`](Index::parse) reads them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_again() {
        let mut index = Index::default();
        let lens: Vec<u64> = (0..1000u64).map(|i| if i % 3 == 0 { 0 } else { i * i * i }).collect();
        for len in &lens {
            assert!(index.push(*len, len % 2 == 1));
        }
        let mut start = 0;
        for (i, len) in lens.iter().enumerate() {
            assert_eq!(index.get(i), Some(Entry { start, len: *len, compressed: len % 2 == 1 }));
            start += len;
        }
        assert!(index.entries().eq((0..lens.len()).filter_map(|i| index.get(i))));
        assert_eq!(index.get(1000), None);
        assert!(Index::default().get(0).is_none());
    }

    #[test]
    fn only_indexes_as_they_were_written_are_parsed() {
        let mut index = Index::default();
        let lens = [0, 1, 63, 64, 8191, 8192, 0, 1 << 40];
        assert!(lens.iter().all(|len| index.push(*len, false)));
        let bytes = index.as_bytes();
        let again = Index::parse(bytes, lens.len(), index.end()).unwrap();
        assert!((0..=lens.len()).all(|i| again.get(i) == index.get(i)));
        assert_eq!(again.end(), lens.iter().sum::<u64>());
        assert!(Index::parse(bytes, lens.len(), index.end() - 1).is_none(), "beyond the capacity");
        assert!(Index::parse(bytes, lens.len() - 1, u64::MAX).is_none(), "bytes are left over");
        assert!(Index::parse(bytes, lens.len() + 1, u64::MAX).is_none(), "one too few");
        assert!(Index::parse(&bytes[..bytes.len() - 1], lens.len(), u64::MAX).is_none(), "cut");
        assert!(Index::parse(bytes, usize::MAX, u64::MAX).is_none());
    }

    #[test]
    fn numbers_of_more_than_64_bits_and_sums_that_overflow_are_refused() {
        let mut largest = Vec::new();
        put_number(u64::MAX, &mut largest);
        assert_eq!(take_number(&mut &largest[..]), Some(u64::MAX));
        *largest.last_mut().unwrap() += 1;
        assert_eq!(take_number(&mut &largest[..]), None);
        assert_eq!(take_number(&mut &[0x80; 20][..]), None);
        assert_eq!(take_number(&mut &[][..]), None);
        let mut three = Vec::new();
        (0..3).for_each(|_| put_number(u64::MAX, &mut three));
        assert!(Index::parse(&three, 3, u64::MAX).is_none());
        assert_eq!(Index::parse(&three[..20], 2, u64::MAX).unwrap().end(), u64::MAX - 1);
    }

    #[test]
    fn a_thousand_frames_of_four_kilobytes_take_three() {
        let mut index = Index::default();
        (0..1024).for_each(|_| assert!(index.push(4096, true)));
        index.shrink();
        assert!(index.held() <= 3 * 1024, "{}", index.held());
    }
}
