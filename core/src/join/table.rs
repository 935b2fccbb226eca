//! The table of a join: the rows of the right side by key. Rows of one key are in the order in which they arrived.

use crate::exchange::{Table, hash_of};
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use tryworks_base::memory::Reservation;

/// The right side of a sub-partition: for each key, a chain of its rows.
pub(super) struct Built<K, W> {
    table: Table<K, Chain>,
    rows: Vec<(W, u32)>,
    working: Reservation,
}

/// The first and last row of a chain. `u32` suffices, because the rows have to fit into memory.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    first: u32,
    last: u32,
}

/// The place of a value in the chain of a key, or the chain's end.
pub(super) struct Place(u32);

const END: u32 = u32::MAX;

impl<K: Key, W: Row> Built<K, W> {
    pub(super) fn new(task: &TaskContext) -> Self {
        Built { table: Table::new(), rows: Vec::new(), working: task.host().memory().reservation() }
    }

    pub(super) fn add(&mut self, hash: u64, key: &K, value: &W) {
        let at = self.rows.len() as u32;
        self.rows.push((value.clone(), END));
        match self.table.get_mut(hash, key) {
            Some(chain) => {
                self.rows[chain.last as usize].1 = at;
                chain.last = at;
            }
            None => self.table.insert(hash, key.clone(), Chain { first: at, last: at }),
        }
    }

    /// Whether there is a key whose hash is `hash`.
    pub(super) fn has(&self, hash: u64, key: &K) -> bool {
        self.table.get(hash, key).is_some()
    }

    /// The place of the first value of a key.
    #[inline]
    pub(super) fn first(&self, key: &K) -> Place {
        Place(self.table.get(hash_of(key), key).map_or(END, |chain| chain.first))
    }

    /// The value at a place, which then is that of the next value of the same key. Values come in the order in which
    /// they arrived.
    #[inline]
    pub(super) fn next(&self, place: &mut Place) -> Option<&W> {
        let (value, next) = self.rows.get(place.0 as usize)?;
        place.0 = *next;
        Some(value)
    }

    pub(super) fn chain(&self, chain: Chain) -> impl Iterator<Item = &W> {
        let mut place = Place(chain.first);
        std::iter::from_fn(move || self.next(&mut place))
    }

    /// The keys with their chains, in the order in which keys arrived.
    pub(super) fn entries(&self) -> &[(K, Chain)] {
        self.table.entries()
    }

    /// Reserves memory for the table. Returns whether it fits.
    pub(super) fn fits(&mut self, size: &RowSize<(K, W)>, floor: u64) -> bool {
        let bytes =
            self.table.bytes() + (self.rows.capacity() * size_of::<(W, u32)>()) as u64 + size.of(self.rows.len())
                - (self.rows.len() * size_of::<(K, W)>()) as u64;
        if bytes <= self.working.bytes() || self.working.resize(bytes) {
            return true;
        }
        if bytes <= floor {
            self.working.insist(bytes - self.working.bytes());
        }
        bytes <= floor
    }
}
