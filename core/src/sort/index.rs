//! The sparse index of a sorted run in frames: the first keys of some frames, few enough to stay in memory.

use crate::heap::bytes_of;
use crate::row::Row;
use tryworks_base::Result;

/// Keys up to this many bytes, on average, are kept for every frame.
const SMALL_KEY: u64 = 256;
/// Larger keys may take one of this many bytes of the run together. Readers find the others in the frames.
const SHARE: u64 = 256;

/// The first key of every frame, or of every few frames if keys are large.
pub(crate) struct Index<K> {
    /// `keys[i]` is the first key of frame `i * every`. If this is 0, there are no keys.
    every: usize,
    keys: Vec<K>,
    /// The bytes of the largest frame.
    largest: u64,
    frames: usize,
    /// The bytes that the keys take, and may take if they are large.
    bytes: u64,
    most: u64,
}

/// An index as it is written. It has no type of its own, which would have to be compiled for each type of keys.
pub(crate) type Written<K> = (u64, u64, Vec<K>);

impl<K: Row + Ord> Index<K> {
    /// The empty index of a run of about this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Index { every: 1, keys: Vec::new(), largest: 0, frames: 0, bytes: 0, most: bytes / SHARE }
    }

    /// Adds a frame of some bytes, and its first key.
    pub(crate) fn add(&mut self, key: &K, bytes: usize) {
        self.largest = self.largest.max(bytes as u64);
        if self.every > 0 && self.frames.is_multiple_of(self.every) {
            self.bytes += bytes_of(key);
            self.keys.push(key.clone());
            while self.bytes > self.most.max(SMALL_KEY * self.keys.len() as u64) {
                self.thin();
            }
        }
        self.frames += 1;
    }

    /// Drops every second key.
    fn thin(&mut self) {
        self.every = if self.keys.len() == 1 { 0 } else { 2 * self.every };
        let (every, mut at) = (self.every, 0);
        self.keys.retain(|_| {
            at += 1;
            every > 0 && at % 2 == 1
        });
        self.keys.shrink_to_fit();
        self.bytes = self.keys.iter().map(bytes_of).sum();
    }

    /// The bytes of the keys.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes of the largest frame.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    pub(crate) fn written(self) -> Written<K> {
        (self.every as u64, self.largest, self.keys)
    }

    /// The index of a run of `frames` frames, as it was written.
    pub(crate) fn read((every, largest, keys): Written<K>, frames: usize) -> Self {
        let bytes = keys.iter().map(bytes_of).sum();
        Index { every: every as usize, keys, largest, frames, bytes, most: bytes }
    }

    /// The least and the greatest number of frames that may begin below `bound`, as far as the keys tell. `None` if
    /// `Ord` contradicts itself.
    pub(crate) fn below(&self, bound: &K) -> Option<(usize, usize)> {
        if self.every == 0 {
            return Some((0, self.frames));
        }
        Some(match cut_at(bound, self.keys.len(), |at| &self.keys[at])? {
            0 => (0, 0),
            keys => ((keys - 1) * self.every + 1, self.frames.min(keys * self.every)),
        })
    }
}

/// How often the keys on both sides of a cut are compared again.
const ASKED_AGAIN: usize = 3;

/// Whether `key` is below `bound`, asked again: other answers would cut a run at other positions.
fn said<K: Ord>(key: &K, bound: &K, below: bool) -> bool {
    (0..ASKED_AGAIN).all(|_| key.cmp(bound).is_lt() == below)
}

/// How many of the sorted keys are below `bound`. `None` if the keys on both sides of the cut give other answers when
/// they are compared again, since readers in other processes would then cut at other positions.
pub(crate) fn cut_at<'a, K: Ord + 'a>(bound: &K, len: usize, key: impl Fn(usize) -> &'a K) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        (low, high) = if key(middle).cmp(bound).is_lt() { (middle + 1, high) } else { (low, middle) };
    }
    let is_low = low == 0 || said(key(low - 1), bound, true);
    (is_low && (low == len || said(key(low), bound, false))).then_some(low)
}

/// As [`cut_at`], for the keys from `low` to before `high`, which `key` has to read.
pub(crate) fn cut_between<K: Ord>(
    bound: &K,
    (mut low, mut high): (usize, usize),
    mut key: impl FnMut(usize) -> Result<K>,
) -> Result<Option<usize>> {
    let (mut below, mut above) = (None, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let key = key(middle)?;
        if key.cmp(bound).is_lt() {
            (low, below) = (middle + 1, Some(key));
        } else {
            (high, above) = (middle, Some(key));
        }
    }
    let agrees = |key: Option<K>, is_below| key.is_none_or(|key| said(&key, bound, is_below));
    Ok((agrees(below, true) && agrees(above, false)).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_any_density_and_the_frames_find_the_same_cut() {
        let long = |key: usize| format!("{key:0600}");
        for (frames, run) in [(1, 1 << 10), (1, 1 << 20), (50, 1 << 18), (1000, 1 << 20), (1000, 1 << 18)] {
            let mut index = Index::new(run);
            for frame in 0..frames {
                index.add(&long(10 * frame), 100 + frame);
            }
            assert!(index.bytes() <= run / SHARE, "{} of {run}", index.bytes());
            assert_eq!(index.largest(), 99 + frames as u64);
            let index = Index::read(index.written(), frames);
            for bound in (0..=frames).flat_map(|frame| [10 * frame, 10 * frame + 1]) {
                let between = index.below(&long(bound)).unwrap();
                let found = cut_between(&long(bound), between, |at| Ok(long(10 * at))).unwrap();
                assert_eq!(found, Some(frames.min(bound.div_ceil(10))), "{bound} of {frames}");
            }
        }
    }

    #[test]
    fn small_keys_are_all_kept() {
        let mut index = Index::new(1);
        (0..1000u64).for_each(|frame| index.add(&frame, 1));
        assert_eq!(index.written(), (1, 1, (0..1000).collect()));
    }
}
