//! Keeping the first items in an order, with little memory for the others.

use super::counted::Counted;
use crate::gather::Gathered;
use crate::heap::heap_bytes;
use crate::sort::in_order;
use crate::task::TaskContext;
use serde::Serialize;
use std::cmp::Ordering;
use tryworks_base::{Op, Result};

/// An item in an order.
pub(super) trait Ranked {
    /// What the order compares.
    type Order;

    fn compare(&self, other: &Self) -> Ordering;

    /// About how many bytes it points to.
    fn heap(&self) -> u64;
}

/// An item in the order of a key.
impl<O: Ord, T: Serialize> Ranked for (O, T) {
    type Order = O;

    #[inline(always)]
    fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn heap(&self) -> u64 {
        // Keys cannot be measured. They may be as large as their items.
        let parts = if const { std::mem::needs_drop::<O>() } { 2 } else { 1 };
        parts * heap_bytes(&self.1)
    }
}

/// The least number of items that are gathered before they are sorted, unless they take many bytes. It keeps the cost of
/// each item small.
const LEAST: usize = 1024;
/// The most bytes of items that are gathered beyond twice the number that is wanted.
const GATHERED_BYTES: u64 = 1 << 20;

/// The first `n` items in order; of items that are equal in it, the earlier ones.
pub(super) struct FirstFew<'a, R> {
    op: &'a Op,
    n: usize,
    items: Vec<R>,
    gathered: Gathered,
    /// In a task, its memory budget counts them.
    counted: Option<Counted>,
    /// Whether the first `n` items are sorted, and the later ones come before the last of these.
    full: bool,
}

impl<'a, R: Ranked> FirstFew<'a, R> {
    pub(super) fn new(op: &'a Op, n: usize, task: Option<&TaskContext>) -> Self {
        let gathered = Gathered::new(n.saturating_mul(2).max(LEAST), GATHERED_BYTES);
        FirstFew { op, n, items: Vec::new(), gathered, counted: task.map(Counted::new), full: false }
    }

    #[inline]
    pub(super) fn push(&mut self, item: R) -> Result<()> {
        // Once there are `n` sorted items, a new item counts only if it comes before the last one.
        if self.n == 0 || self.full && self.op.call(|| self.items[self.n - 1].compare(&item)).is_le() {
            return Ok(());
        }
        self.items.push(item);
        if let Some(counted) = &mut self.counted {
            counted.count(&self.items, R::heap);
        }
        if self.items.len() >= self.n.saturating_mul(2) && self.gathered.is_full(&self.items, R::heap) {
            self.full = true;
            return self.sort();
        }
        Ok(())
    }

    fn sort(&mut self) -> Result<()> {
        in_order::<R::Order>(self.op, || self.items.sort_by(R::compare))?;
        self.items.truncate(self.n);
        self.gathered.begin(self.n);
        if let Some(counted) = &mut self.counted {
            counted.count(&self.items, R::heap);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<R>> {
        self.sort()?;
        Ok(self.items)
    }
}
