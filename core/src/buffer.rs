//! A buffer of items that are passed on, and that is filled again.

use crate::pipe::{CONTINUE, Flow, STOP};

/// Items that are passed on. If the sink stops among them, it keeps the others.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    /// This keeps its capacity.
    pub(crate) items: Vec<T>,
    /// What is left of the items at which the sink stopped.
    rest: std::vec::IntoIter<T>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { items: Vec::new(), rest: Vec::new().into_iter() }
    }
}

impl<T> Buffer<T> {
    /// Pushes all items into `sink`, and keeps those after a stop for [`rest`](Buffer::rest).
    #[inline(always)]
    pub(crate) fn pour(&mut self, sink: &mut impl FnMut(T) -> Flow) -> Flow {
        debug_assert!(self.rest.as_slice().is_empty(), "items are left from a stop");
        let mut items = self.items.drain(..);
        while let Some(item) = items.next() {
            if sink(item).is_break() {
                self.rest = items.collect::<Vec<_>>().into_iter();
                return STOP;
            }
        }
        CONTINUE
    }

    /// Pushes the items that are left from a stop into `sink`.
    pub(crate) fn rest(&mut self, sink: &mut impl FnMut(T) -> Flow) -> Flow {
        self.rest.try_for_each(sink)
    }
}
