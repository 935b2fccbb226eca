//! Dropping long chains without recursion: what is dropped while something is being dropped waits its turn.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    static WAITING: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Drops `thing`, after what is being dropped on this thread already. A link of a chain that drops its neighbour
/// this way can be part of a chain of any length.
pub(crate) fn drop_flat<T: 'static>(thing: T) {
    let mut thing = Some(thing);
    let outermost = WAITING.try_with(|waiting| match &mut *waiting.borrow_mut() {
        Some(queue) => {
            queue.push(Box::new(thing.take()));
            false
        }
        idle => {
            *idle = Some(Vec::new());
            true
        }
    });
    drop(thing);
    if outermost == Ok(true) {
        while let Some(next) = WAITING.with(|waiting| waiting.borrow_mut().as_mut().and_then(Vec::pop)) {
            drop(next);
        }
        WAITING.with(|waiting| *waiting.borrow_mut() = None);
    }
}

#[cfg(test)]
mod tests {
    use super::drop_flat;

    #[test]
    fn a_chain_of_a_million_is_dropped_on_a_small_stack() {
        struct Link(Option<Box<Link>>);
        impl Drop for Link {
            fn drop(&mut self) {
                drop_flat(self.0.take());
            }
        }
        let run = || {
            let mut chain = Link(None);
            for _ in 0..1_000_000 {
                chain = Link(Some(Box::new(chain)));
            }
            drop(chain);
        };
        std::thread::Builder::new().stack_size(64 * 1024).spawn(run).unwrap().join().unwrap();
    }
}
