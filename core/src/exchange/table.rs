//! A hash table that remembers the order in which its keys arrived.

use super::index::Index;
use std::hash::Hash;

/// Keys with a state each, in order of first arrival.
pub(crate) struct Table<K, S> {
    index: Index,
    entries: Vec<(K, S)>,
}

/// In the place of the number of an entry, for a key that is not there.
const NOWHERE: u64 = u64::MAX;

impl<K: Hash + Eq, S> Table<K, S> {
    pub(crate) fn new() -> Self {
        Table::with_room(0)
    }

    /// A table with room for so many keys.
    pub(crate) fn with_room(keys: usize) -> Self {
        Table { index: Index::with_room(keys), entries: Vec::with_capacity(keys) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The state of `key`, whose hash is `hash`.
    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut S> {
        let at = self.index.find(hash, |at| self.entries[at as usize].0 == *key)?;
        Some(&mut self.entries[at as usize].1)
    }

    /// As [`get_mut`](Table::get_mut), to look only.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&S> {
        let at = self.index.find(hash, |at| self.entries[at as usize].0 == *key)?;
        Some(&self.entries[at as usize].1)
    }

    /// Where many keys are, [`NOWHERE`] for those that are not there. Looking a key up misses the caches, in the index
    /// and then among the entries: done in sweeps over many keys, the misses of each sweep overlap.
    #[inline]
    pub(crate) fn find_all<'a>(&self, hashes: &[u64], keys: impl Iterator<Item = &'a K>, found: &mut Vec<u64>)
    where
        K: 'a,
    {
        self.index.first_slots(hashes, found);
        for (found, hash) in found.iter_mut().zip(hashes) {
            // The key itself is not looked at yet: two keys rarely have the same tag.
            *found = self.index.found(*hash, *found).map_or(NOWHERE, u64::from);
        }
        for (at, key) in found.iter_mut().zip(keys) {
            if self.entries.get(*at as usize).is_none_or(|entry| entry.0 != *key) {
                *at = NOWHERE;
            }
        }
    }

    /// The state of a key that was looked for before; it may have been added since.
    #[inline]
    pub(crate) fn get_found(&mut self, found: u64, hash: u64, key: &K) -> Option<&mut S> {
        if found == NOWHERE {
            return self.get_mut(hash, key);
        }
        self.entries.get_mut(found as usize).map(|entry| &mut entry.1)
    }

    /// Adds a key that is not there.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, key: K, state: S) {
        self.index.insert(hash, self.entries.len() as u32);
        self.entries.push((key, state));
    }

    /// Takes all entries out, in order, and keeps the room.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, (K, S)> {
        self.index.clear();
        self.entries.drain(..)
    }

    /// Takes all entries out, in order.
    pub(crate) fn take(&mut self) -> Vec<(K, S)> {
        self.index.clear();
        let room = self.entries.len();
        std::mem::replace(&mut self.entries, Vec::with_capacity(room))
    }

    /// Takes out the entries that arrived from number `keep` on, in order.
    pub(crate) fn split_off(&mut self, keep: usize) -> Vec<(K, S)> {
        self.index.truncate(keep as u32);
        let tail = self.entries.split_off(keep);
        self.entries.shrink_to_fit();
        tail
    }

    /// The entries in order.
    pub(crate) fn entries(&self) -> &[(K, S)] {
        &self.entries
    }

    /// The bytes of the table itself, without what its entries point to.
    pub(crate) fn bytes(&self) -> u64 {
        (self.entries.capacity() * size_of::<(K, S)>() + self.index.bytes()) as u64
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
