//! Dropping long chains without recursion: values that are dropped during a drop are queued.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    static WAITING: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Drops `thing`; if a drop is already running on this thread, after that one. If each link of a chain drops its
/// neighbour in this way, the chain can have any length.
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
    // Only the outermost call empties the queue, so the stack does not grow with the chain.
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
