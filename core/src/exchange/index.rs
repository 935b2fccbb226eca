//! Where the entries of a table are, by the hashes of their keys: open addressing with linear probing (Knuth, The Art of
//! Computer Programming, volume 3, 6.4), one machine word for each entry.

/// The fewest slots.
const LEAST: usize = 8;

/// Slots that are empty (zero) or hold the number of an entry and, below it, its tag: at most every second one is taken,
/// so most keys are in the first slot that is looked at.
pub(crate) struct Index {
    slots: Vec<u64>,
    taken: usize,
}

/// What is kept of a hash: enough to pass over nearly all other keys, and to move a slot without a look at its key. It is
/// never zero.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32 | 1
}

impl Index {
    /// An index with room for so many entries.
    pub(crate) fn with_room(entries: usize) -> Self {
        Index { slots: vec![0; (entries * 2).next_power_of_two().max(LEAST)], taken: 0 }
    }

    /// The slot where the search for a tag begins: the highest bits count, since of the lowest one is given away.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    /// Puts what is in the first slot of each hash into `first`, to be given to [`found`](Self::found). There is no
    /// branch that could be guessed wrong, so the reads overlap, and the misses of the caches with them.
    #[inline]
    pub(crate) fn first_slots(&self, hashes: &[u64], first: &mut Vec<u64>) {
        first.clear();
        first.extend(hashes.iter().map(|hash| self.slots[self.home(tag(*hash))]));
    }

    /// The first entry with this hash, by what was in its first slot.
    #[inline]
    pub(crate) fn found(&self, hash: u64, first: u64) -> Option<u32> {
        if first as u32 == tag(hash) { Some((first >> 32) as u32) } else { self.find(hash, |_| true) }
    }

    /// The entry with this hash that is the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot as u32 == tag && is((slot >> 32) as u32) {
                return Some((slot >> 32) as u32);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds an entry.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) {
        if self.taken * 2 >= self.slots.len() {
            self.grow();
        }
        self.place(u64::from(entry) << 32 | u64::from(tag(hash)));
    }

    #[inline]
    fn place(&mut self, slot: u64) {
        let mut at = self.home(slot as u32);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
        self.taken += 1;
    }

    #[cold]
    fn grow(&mut self) {
        let double = self.slots.len() * 2;
        let slots = std::mem::replace(&mut self.slots, vec![0; double]);
        self.taken = 0;
        slots.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.place(slot));
    }

    /// Keeps the entries with smaller numbers than this, of which there are as many.
    pub(crate) fn truncate(&mut self, entries: u32) {
        let slots = std::mem::take(&mut self.slots);
        *self = Index::with_room(entries as usize);
        slots.into_iter().filter(|slot| *slot != 0 && (slot >> 32) < entries.into()).for_each(|slot| self.place(slot));
    }

    /// Forgets all entries, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.taken = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_one_hash_are_told_apart() {
        let mut index = Index::with_room(0);
        (0..100).for_each(|entry| index.insert(7, entry));
        assert_eq!(index.find(7, |entry| entry == 63), Some(63));
        assert_eq!((index.find(7, |_| false), index.find(8 << 32 | 5, |_| true)), (None, None));
        index.truncate(50);
        assert_eq!((index.find(7, |entry| entry == 63), index.find(7, |entry| entry == 49)), (None, Some(49)));
        index.clear();
        assert_eq!(index.find(7, |_| true), None);
    }

    #[test]
    fn what_runs_over_the_end_goes_on_at_the_beginning() {
        let mut index = Index::with_room(0);
        let last = |n: u64| u64::from(u32::MAX) - n * 2;
        (0..4).for_each(|n| index.insert(last(n), n as u32));
        (0..4).for_each(|n| assert_eq!(index.find(last(n), |_| true), Some(n as u32)));
        let mut first = Vec::new();
        index.first_slots(&[last(2), last(9)], &mut first);
        assert_eq!((index.found(last(2), first[0]), index.found(last(9), first[1])), (Some(2), None));
    }
}
