//! The index of a hash table whose entries lie elsewhere. It holds numbers only, so it is compiled once for all types of
//! keys.

use prefetch_index::prefetch_index;

/// Positions of entries by the hashes of their keys: open addressing with linear probing, at most half full. A slot takes
/// four bytes, so that much of the index stays in the CPU's caches: the position, and above it as many bits of the hash
/// as there is room for. So a search seldom looks at an entry in vain.
#[derive(Default)]
pub(crate) struct Index {
    /// A power of two of them, or none.
    slots: Vec<u32>,
    filled: usize,
}

/// The slot of no entry.
const EMPTY: u32 = u32::MAX;
/// The fewest slots.
const FEWEST: usize = 8;

impl Index {
    /// With room for `entries` entries.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Index { slots: vec![EMPTY; if entries == 0 { 0 } else { slots_for(entries) }], filled: 0 }
    }

    /// Where the search for a hash begins. The lowest bits decide, because all keys of a bucket have the same middle
    /// bits.
    #[inline(always)]
    fn begin(&self, hash: u64) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    /// The bits of a slot that are the position. All of them set is no position, because the index is less than half
    /// full.
    #[inline(always)]
    fn position_bits(&self) -> u32 {
        (self.slots.len() as u32 / 2).wrapping_sub(1)
    }

    /// Asks for the memory that a search for this hash reads first.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch_index(&self.slots, self.begin(hash));
    }

    /// The first entry that seems to have this hash and that `is_it` accepts.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut slot, position) = (self.begin(hash), self.position_bits());
        let wanted = (hash >> 32) as u32 & !position;
        loop {
            // The index is never full, so a search ends at a free slot.
            let found = *self.slots.get(slot)?;
            if found == EMPTY {
                return None;
            }
            if found & !position == wanted && is_it((found & position) as usize) {
                return Some((found & position) as usize);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds an entry. `hash_of` returns the hash of an entry that is there.
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: u64, at: usize, hash_of: &mut dyn FnMut(usize) -> u64) {
        if slots_for(self.filled + 1) > self.slots.len() {
            self.rebuild(self.filled, self.filled + 1, hash_of);
        }
        self.put(hash, at);
    }

    #[inline(always)]
    fn put(&mut self, hash: u64, at: usize) {
        let mut slot = self.begin(hash);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = (hash >> 32) as u32 & !self.position_bits() | at as u32;
        self.filled += 1;
    }

    /// Makes the index of the first `entries` entries, with room for `capacity` entries.
    #[cold]
    #[inline(never)]
    pub(crate) fn rebuild(&mut self, entries: usize, capacity: usize, hash_of: &mut dyn FnMut(usize) -> u64) {
        *self = Index::with_capacity(capacity);
        for at in 0..entries {
            self.put(hash_of(at), at);
        }
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(EMPTY);
        self.filled = 0;
    }

    /// The bytes that the index takes.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }
}

/// The number of slots for so many entries: less than half of them are filled.
#[inline(always)]
fn slots_for(entries: usize) -> usize {
    (entries * 2 + 1).next_power_of_two().max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Hashes that collide in many ways.
    fn hash_of(key: u64) -> u64 {
        key % 7 + (key << 3) + ((key % 3) << 60)
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        for capacity in [0, 1, 100, 3000] {
            let (mut index, mut keys, mut known) = (Index::with_capacity(capacity), Vec::new(), HashMap::new());
            for step in 0..2000u64 {
                let key = step * step % 1013;
                let found = index.find(hash_of(key), |at| keys[at] == key);
                assert_eq!(found, known.get(&key).copied());
                if found.is_none() {
                    let at = keys.len();
                    index.insert(hash_of(key), at, &mut |at| hash_of(keys[at]));
                    keys.push(key);
                    known.insert(key, at);
                }
            }
            index.rebuild(10, 10, &mut |at| hash_of(keys[at]));
            for (at, key) in keys.iter().enumerate() {
                let found = index.find(hash_of(*key), |at| keys[at] == *key);
                assert_eq!(found, Some(at).filter(|&at| at < 10));
            }
            index.clear();
            assert_eq!(index.find(hash_of(keys[0]), |_| true), None);
        }
    }
}
