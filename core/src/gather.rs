//! How many items are gathered before they are passed on: they are bounded by their number and by their bytes.

use crate::pipe::{BATCH, CONTINUE, Cursor, STOP, Step};
use crate::task::TaskContext;
use std::mem::needs_drop;
use tryworks_base::{Error, Result};

/// Tells when items that are gathered in a vector are as many as wanted, or take as many bytes. It looks at a few items
/// only. Items of a type that owns nothing are counted, not looked at.
#[derive(Debug)]
pub(crate) struct Gathered {
    most_items: usize,
    most_bytes: u64,
    /// The most items between two looks. Items that suddenly are large are noticed after this many.
    between: u64,
    /// At how many items to look again.
    look_at: usize,
    /// How many items there were at the beginning, and at the last look.
    begun: usize,
    looked: usize,
    /// About how many bytes those between point to.
    bytes: u64,
}

impl Gathered {
    pub(crate) fn new(most_items: usize, most_bytes: u64) -> Self {
        Gathered { most_items, most_bytes, between: 16, look_at: 0, begun: 0, looked: 0, bytes: 0 }
    }

    /// Whether there are enough items. To be asked after each item, or from some item on. `heap` returns how many bytes
    /// an item points to.
    #[inline]
    pub(crate) fn is_full<T>(&mut self, items: &[T], heap: impl Fn(&T) -> u64) -> bool {
        if const { needs_drop::<T>() } {
            let heap = || items.last().map_or(0, &heap);
            items.len() >= self.look_at && self.look(items.len(), &heap)
        } else {
            items.len() >= self.most_items
        }
    }

    /// Looks at the last item. `heap` returns how many bytes it points to.
    #[cold]
    fn look(&mut self, items: usize, heap: &dyn Fn() -> u64) -> bool {
        if items >= self.most_items {
            return true;
        }
        let each = heap().max(1);
        self.bytes = self.bytes.saturating_add(each.saturating_mul((items - self.looked) as u64));
        self.looked = items;
        // Of few items, the next ones are as many again at most: large items are noticed early.
        let apart = self.between.min((items - self.begun) as u64).max(1);
        let more = (self.most_bytes.saturating_sub(self.bytes) / each).clamp(1, apart);
        self.look_at = self.most_items.min(items + more as usize);
        self.bytes >= self.most_bytes
    }

    /// Starts over. The first `items` items do not count.
    pub(crate) fn begin(&mut self, items: usize) {
        (self.look_at, self.begun, self.looked, self.bytes) = (0, items, items, 0);
    }
}

/// The most bytes that the items of one call of [`gather`] point to, about.
const BYTES: u64 = 1 << 20;
/// How many items are enough if the memory of the process is used up: so few that they matter little, enough to keep the
/// cost of each small.
const FEW: u64 = 16;

/// Appends the next items of `cursor` to `items`: what about `budget` source items yield, but hardly more than
/// [`BATCH`] items, fewer if they are large, and few if the memory of the process is used up. `heap` returns how many
/// bytes an item points to, or 0 if that is not known. With one call a batch, an operator that has to hold items before
/// it can pass them on holds only so many. It also checks whether the task was cancelled.
///
/// # Errors
/// An error of the cursor, or [`Error::Cancelled`].
pub(crate) fn gather<C: Cursor>(
    cursor: &mut C,
    budget: usize,
    task: &TaskContext,
    items: &mut Vec<C::Item>,
    heap: impl Fn(&C::Item) -> u64,
) -> Result<Step> {
    task.check()?;
    // Items that own nothing take what their type says. If there are few of them, nothing is left to watch.
    if const { !C::EXPANDS && !needs_drop::<C::Item>() } {
        return cursor.advance(budget, &mut |item| {
            items.push(item);
            CONTINUE
        });
    }
    let memory = task.host().memory();
    // While nothing is reserved, all that the process holds passes for memory that the allocator keeps.
    let mut held = memory.reservation();
    held.insist(1);
    let weight = |item: &C::Item| heap(item).max(if memory.is_over() { BYTES / FEW } else { 0 });
    // A step that yields one item for each source item ends by itself: it needs no stop.
    let mut gathered = Gathered { between: 64, ..Gathered::new(items.len() + BATCH + 1, BYTES) };
    gathered.begin(items.len());
    let mut stopped = false;
    let mut sink = |item| {
        items.push(item);
        if gathered.is_full(items, weight) {
            stopped = true;
            return STOP;
        }
        CONTINUE
    };
    if cursor.rest(&mut sink)?.is_break() {
        return Ok(Step::More);
    }
    let step = cursor.advance(budget, &mut sink)?;
    if stopped && step == Step::Done {
        return Err(Error::Bug("a cursor that was stopped by its sink has said that it has no more items".into()));
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::heap_bytes;
    use serde::Serialize;

    /// With how many items it is full.
    fn full<T: Serialize>(items: &[T], most_items: usize, most_bytes: u64) -> usize {
        let mut gathered = Gathered::new(most_items, most_bytes);
        let find =
            |gathered: &mut Gathered| (1..=items.len()).find(|&at| gathered.is_full(&items[..at], heap_bytes)).unwrap();
        let first = find(&mut gathered);
        gathered.begin(0);
        assert_eq!(find(&mut gathered), first);
        first
    }

    #[test]
    fn items_are_bounded_by_their_number_and_by_their_bytes() {
        let long = |bytes: usize| "x".repeat(bytes);
        assert_eq!(full(&vec![7u64; 300], 256, 100), 256);
        assert_eq!(full(&vec![long(10); 300], 256, 1 << 20), 256);
        assert_eq!(full(&vec![long(1 << 20); 300], 256, 1 << 20), 1);
        assert_eq!(full(&vec![long(100 << 10); 300], 256, 1 << 20), 11);
        let mixed = [vec![long(10); 100], vec![long(1 << 20); 200]].concat();
        assert!((101..=117).contains(&full(&mixed, 256, 1 << 20)));
    }
}
