//! A hash table that remembers the order in which its keys arrived.

use super::hash::hash_of;
use hashbrown::HashTable;
use prefetch_index::prefetch_index;
use std::hash::Hash;

/// The position of a key that is not there.
const NOWHERE: u32 = u32::MAX;
/// Entries of at most this many bytes lie in one cache line.
const LINE_PART: usize = 16;

/// Keys with their states, in order of first arrival.
pub(crate) struct Table<K, S> {
    /// Positions in `entries`, by the hashes of keys: four bytes each, so that much of the index stays in the CPU's
    /// caches.
    index: HashTable<u32>,
    entries: Vec<(K, S)>,
    /// The number of entries, from the first on, that have no spare capacity.
    shrunk: usize,
}

impl<K: Hash + Eq, S> Table<K, S> {
    pub(crate) fn new() -> Self {
        Table { index: HashTable::new(), entries: Vec::new(), shrunk: 0 }
    }

    /// A table that reuses the memory of `entries`, with the same capacity in its index.
    pub(crate) fn reusing(mut entries: Vec<(K, S)>) -> Self {
        entries.clear();
        // A vector of zero-sized entries has unlimited capacity, but all of these entries are equal.
        let keys = if size_of::<(K, S)>() == 0 { 0 } else { entries.capacity() };
        Table { index: HashTable::with_capacity(keys), entries, shrunk: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.index.find(hash, |&at| self.entries[at as usize].0 == *key).map(|&at| at as usize)
    }

    /// The state of `key`, whose hash is `hash`.
    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut S> {
        self.find(hash, key).map(|at| &mut self.entries[at].1)
    }

    /// As [`get_mut`](Table::get_mut), without the right to change.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&S> {
        self.find(hash, key).map(|at| &self.entries[at].1)
    }

    /// Likely positions of keys with these hashes: for each, the first entry of the index that matches seven bits of
    /// the hash; [`NOWHERE`] if there is none. Looking up a key misses the caches, first in the index and then in the
    /// entries. Here many keys are looked up at a time, and no branch depends on what is read, so the misses in the
    /// index overlap. The entries are prefetched.
    #[inline]
    pub(crate) fn find_all(&self, hashes: &[u64], likely: &mut Vec<u32>) {
        likely.clear();
        likely.extend(hashes.iter().map(|&hash| {
            let at = self.index.find(hash, |_| true).map_or(NOWHERE, |&at| at);
            prefetch_index(&self.entries, at as usize);
            if const { size_of::<(K, S)>() > LINE_PART } {
                // The entry may end in the next cache line, where the next entry begins.
                prefetch_index(&self.entries, at as usize + 1);
            }
            at
        }));
    }

    /// As [`get_mut`](Table::get_mut), with what [`find_all`](Table::find_all) found for the key. Other keys may have
    /// been added since.
    #[inline(always)]
    pub(crate) fn get_likely(&mut self, likely: u32, hash: u64, key: &K) -> Option<&mut S> {
        let at = match self.entries.get(likely as usize) {
            Some(entry) if entry.0 == *key => likely as usize,
            _ => self.find_apart(hash, key)?,
        };
        self.entries.get_mut(at).map(|entry| &mut entry.1)
    }

    /// Not inlined, because few keys need it.
    #[inline(never)]
    fn find_apart(&self, hash: u64, key: &K) -> Option<usize> {
        self.find(hash, key)
    }

    /// Adds a key. It must not be there yet.
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: u64, key: K, state: S) {
        let at = self.entries.len() as u32;
        self.entries.push((key, state));
        self.index.insert_unique(hash, at, |&at| hash_of(&self.entries[at as usize].0));
    }

    /// Takes all entries out, in order, and keeps the capacity.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, (K, S)> {
        self.index.clear();
        self.shrunk = 0;
        self.entries.drain(..)
    }

    /// Takes all entries out, in order.
    pub(crate) fn take(&mut self) -> Vec<(K, S)> {
        self.index.clear();
        self.shrunk = 0;
        let capacity = self.entries.len();
        std::mem::replace(&mut self.entries, Vec::with_capacity(capacity))
    }

    /// The entries, in order, as a vector with the table's capacity.
    pub(crate) fn into_entries(self) -> Vec<(K, S)> {
        self.entries
    }

    /// Takes out all entries but the first `keep`, in order.
    pub(crate) fn split_off(&mut self, keep: usize) -> Vec<(K, S)> {
        self.index.retain(|&mut at| (at as usize) < keep);
        self.index.shrink_to_fit(|&at| hash_of(&self.entries[at as usize].0));
        self.shrunk = self.shrunk.min(keep);
        let tail = self.entries.split_off(keep);
        self.entries.shrink_to_fit();
        tail
    }

    /// Replaces the entries that are new since the last call by clones. A clone of a string or a vector has no spare
    /// capacity, which may be most of its memory.
    pub(crate) fn shrink(&mut self)
    where
        K: Clone,
        S: Clone,
    {
        for entry in &mut self.entries[self.shrunk..] {
            *entry = entry.clone();
        }
        self.shrunk = self.entries.len();
    }

    /// How many entries are new since [`shrink`](Table::shrink) was called last.
    pub(crate) fn unshrunk(&self) -> usize {
        self.entries.len() - self.shrunk
    }

    /// The entries in order.
    pub(crate) fn entries(&self) -> &[(K, S)] {
        &self.entries
    }

    /// The bytes of the table itself, without what its entries point to.
    pub(crate) fn bytes(&self) -> u64 {
        (self.entries.capacity() * size_of::<(K, S)>() + self.index.capacity() * 6) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::hash_of;

    #[test]
    fn keeps_arrival_order_and_splits_by_it() {
        let mut table = Table::new();
        for key in (0..1000u64).map(|i| i * 7 % 501) {
            match table.get_mut(hash_of(&key), &key) {
                Some(n) => *n += 1,
                None => table.insert(hash_of(&key), key, 1),
            }
        }
        let expected: Vec<(u64, i32)> = (0..501).map(|i| (i * 7 % 501, if i < 499 { 2 } else { 1 })).collect();
        assert_eq!(table.entries(), expected);
        assert_eq!(table.split_off(100), expected[100..]);
        assert_eq!(table.get(hash_of(&expected[100].0), &expected[100].0), None);
        assert_eq!(table.get(hash_of(&expected[99].0), &expected[99].0), Some(&2));
        assert_eq!(table.take(), expected[..100]);
    }
}
