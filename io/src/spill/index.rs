//! Where each frame of a sequence is: a byte or two per frame, since there can be a million of them.

/// Every so many frames the index says outright where it is, so that a look-up adds up few lengths.
const STRIDE: usize = 64;

/// What is stored for each frame, in order: twice its length in the sequence plus one if it is compressed, in seven
/// bits a byte, the low ones first.
#[derive(Default)]
pub(super) struct Index {
    len: usize,
    bytes: Vec<u8>,
    /// For every [`STRIDE`]th frame: where its entry begins in `bytes`, and where the frame begins.
    marks: Vec<(u32, u64)>,
    /// Where the next frame begins.
    end: u64,
}

/// One frame's place in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) compressed: bool,
}

impl Index {
    /// Adds a frame that takes `len` bytes. False when the index is full.
    #[must_use]
    pub(super) fn push(&mut self, len: u64, compressed: bool) -> bool {
        if self.len.is_multiple_of(STRIDE) {
            let Ok(at) = u32::try_from(self.bytes.len()) else { return false };
            self.marks.push((at, self.end));
        }
        let mut rest = len << 1 | u64::from(compressed);
        while rest > 0x7f {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
        self.end += len;
        self.len += 1;
        true
    }

    pub(super) fn get(&self, index: usize) -> Option<Entry> {
        if index >= self.len {
            return None;
        }
        let (at, mut start) = *self.marks.get(index / STRIDE)?;
        let mut bytes = self.bytes.get(at as usize..)?.iter();
        let mut next = || {
            let (mut value, mut shift) = (0u64, 0);
            for byte in bytes.by_ref() {
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if *byte < 0x80 {
                    break;
                }
            }
            value
        };
        for _ in 0..index % STRIDE {
            start += next() >> 1;
        }
        let entry = next();
        Some(Entry { start, len: entry >> 1, compressed: entry & 1 == 1 })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// What it takes in memory.
    pub(super) fn held(&self) -> u64 {
        (self.bytes.capacity() + self.marks.capacity() * size_of::<(u32, u64)>()) as u64
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
        assert_eq!(index.get(1000), None);
        assert!(Index::default().get(0).is_none());
    }

    #[test]
    fn a_thousand_frames_of_four_kilobytes_take_three() {
        let mut index = Index::default();
        (0..1024).for_each(|_| assert!(index.push(4096, true)));
        index.shrink();
        assert!(index.held() < 3 * 1024, "{}", index.held());
    }
}
