//! One unlinked file that many sequences of frames share: which sequence has which range of it, and how ranges are
//! freed.

use rustix::fs::FallocateFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use tryworks_base::lock::{Held, Lock};

/// Ranges begin and end at multiples of this, so that a hole can be punched for each.
pub(super) const BLOCK: u64 = 4096;

/// A file without a name, cut into ranges.
pub(super) struct SharedFile {
    file: File,
    ranges: Lock<Ranges>,
}

/// The free ranges of a file below its end.
#[derive(Default)]
struct Ranges {
    /// Where the last range ends.
    end: u64,
    /// Free ranges below the end, start to length; none touches another one or the end.
    free: BTreeMap<u64, u64>,
}

impl Ranges {
    fn take(&mut self, len: u64) -> u64 {
        if let Some((start, available)) =
            self.free.iter().find(|(_, available)| **available >= len).map(|(start, available)| (*start, *available))
        {
            self.free.remove(&start);
            if available > len {
                self.free.insert(start + len, available - len);
            }
            return start;
        }
        let start = self.end;
        self.end += len;
        start
    }

    /// Frees a range; true if the end moved down.
    fn give(&mut self, range: Range<u64>) -> bool {
        let Range { mut start, mut end } = range;
        if let Some((before, len)) = self.free.range(..start).next_back().map(|(before, len)| (*before, *len))
            && before + len == start
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(len) = self.free.remove(&end) {
            end += len;
        }
        if end == self.end {
            self.end = start;
            return true;
        }
        self.free.insert(start, end - start);
        false
    }
}

impl SharedFile {
    pub(super) fn new(file: File) -> Self {
        SharedFile { file, ranges: Lock::default() }
    }

    fn ranges(&self) -> Held<'_, Ranges> {
        self.ranges.lock()
    }

    /// Takes a range of `len` bytes, a multiple of [`BLOCK`].
    pub(super) fn take(&self, len: u64) -> Range<u64> {
        let start = self.ranges().take(len);
        start..start + len
    }

    /// Frees a range: its disk space is free again when this returns.
    pub(super) fn give(&self, range: Range<u64>) {
        // This happens before another sequence may take the range. On a file system without holes, the range is only
        // reused.
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, hole, range.start, range.end - range.start);
        let mut ranges = self.ranges();
        if ranges.give(range) {
            // Under the lock, so that no range is cut off that was taken in between.
            let _ = self.file.set_len(ranges.end);
        }
    }

    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_used_again_and_the_end_comes_down() {
        let mut ranges = Ranges::default();
        let [a, b, c] = [ranges.take(8), ranges.take(4), ranges.take(8)];
        assert_eq!((a, b, c, ranges.end), (0, 8, 12, 20));
        assert!(!ranges.give(8..12));
        assert_eq!(ranges.take(2), 8);
        assert!(!ranges.give(0..8));
        assert!(!ranges.give(8..10), "10..12 is free and is joined with it");
        assert_eq!(ranges.free.iter().collect::<Vec<_>>(), [(&0, &12)]);
        assert!(ranges.give(12..20));
        assert!(ranges.end == 0 && ranges.free.is_empty());
    }
}
