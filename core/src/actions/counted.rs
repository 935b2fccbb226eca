//! What an action gathers in a task, counted in the memory budget.

use crate::task::TaskContext;
use tryworks_base::memory::Reservation;

/// The most bytes of small items that are counted together.
const TOGETHER: u64 = 64 << 10;
/// The most items that are counted together, if their type owns memory: later ones may be larger.
const MOST: usize = 16;

/// Counts the items that an action gathers. The budget does not refuse them, because an action cannot return less;
/// `max_result_bytes` bounds what a job returns. But all operators see that less memory is left.
pub(super) struct Counted {
    held: Reservation,
    /// How many items were counted, and at how many to count again.
    items: usize,
    count_at: usize,
}

impl Counted {
    pub(super) fn new(task: &TaskContext) -> Self {
        Counted { held: task.host().memory().reservation(), items: 0, count_at: 1 }
    }

    /// To be called with all items after each one, and after some have left. `heap` returns the bytes that one points to.
    #[inline]
    pub(super) fn count<T>(&mut self, items: &[T], heap: impl Fn(&T) -> u64) {
        if items.len() >= self.count_at {
            let owns = const { std::mem::needs_drop::<T>() };
            let heap = || items.last().filter(|_| owns).map_or(0, &heap);
            self.more(items.len(), size_of::<T>() as u64, if owns { MOST } else { usize::MAX }, &heap);
        } else if items.len() < self.items {
            self.fewer(items.len());
        }
    }

    /// `heap` returns the bytes that the last item points to.
    #[cold]
    fn more(&mut self, items: usize, size: u64, most: usize, heap: &dyn Fn() -> u64) {
        let each = (size + heap()).max(1);
        self.held.insist(each * (items - self.items) as u64);
        self.items = items;
        self.count_at = items + usize::try_from(TOGETHER / each).unwrap_or(most).clamp(1, most);
    }

    #[cold]
    fn fewer(&mut self, items: usize) {
        // Less is never refused.
        let _ = self.held.resize(self.held.bytes() / self.items as u64 * items as u64);
        self.items = items;
        self.count_at = items + 1;
    }
}
