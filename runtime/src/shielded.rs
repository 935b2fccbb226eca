//! Values of the program's types that are dropped where no task catches panics: a `Drop` that panics ends no thread.

use crate::panics;
use std::ops::Deref;

/// A value that holds the program's types and may be dropped outside a task. If its `Drop` panicked unseen, it would end
/// a thread that others wait for.
#[derive(Clone, Default)]
pub(crate) struct Shielded<T>(Option<T>);

impl<T> Shielded<T> {
    pub(crate) fn new(value: T) -> Self {
        Shielded(Some(value))
    }

    /// The value, for a caller that drops it where panics are caught.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().unwrap_or_else(|| unreachable!("it is empty only when it is dropped"))
    }
}

impl<T> Deref for Shielded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("it is empty only when it is dropped"))
    }
}

impl<T> Drop for Shielded<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            panics::catch_drop(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::panic_any;

    /// Panics when it is dropped, with a value that panics when it is dropped.
    struct Bad<'a>(&'a Cell<u32>);

    struct Worse;

    impl Drop for Worse {
        fn drop(&mut self) {
            panic!("the payload too");
        }
    }

    impl Drop for Bad<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic_any(Worse);
        }
    }

    #[test]
    fn each_of_many_may_panic_when_it_is_dropped() {
        let dropped = Cell::new(0);
        // The second panic while the first one unwinds would end the process.
        let many: Vec<_> = (0..3).map(|_| Shielded::new(Bad(&dropped))).collect();
        drop(many);
        assert_eq!(dropped.get(), 3);
        // A thread that unwinds already is not ended either.
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _bad = Shielded::new(Bad(&dropped));
            panic!("first");
        }));
        assert_eq!((panic.is_err(), dropped.get()), (true, 4));
    }
}
