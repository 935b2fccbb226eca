//! Deletes released exchanges and caches. A thread that releases one can rely on its deletion.

use super::Shared;
use crate::pool;
use std::cell::Cell;
use std::sync::Condvar;
use tryworks_base::ids::OutputId;
use tryworks_base::lock::Lock;
use tryworks_core::runner::Releasable;
use tryworks_scheduler::Event;

/// What was released and is to be deleted. The releasing thread may hold the lock on the state.
#[derive(Default)]
pub(super) struct Released {
    queue: Lock<Queue>,
    /// Notified when some of it was deleted.
    deleted: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Releasable>,
    /// How many were released so far, and how many of those are deleted.
    released: u64,
    gone: u64,
    /// Whether a thread is deleting.
    taken: bool,
}

impl Released {
    /// Whether anything waits to be deleted.
    pub(super) fn any(&self) -> bool {
        !self.queue.lock().waiting.is_empty()
    }
}

thread_local! {
    /// How many times this thread holds the state or deletes blocks. If it does, it cannot wait for another thread that
    /// does so.
    static BUSY: Cell<u32> = const { Cell::new(0) };
}

/// Marks this thread as busy while it exists.
pub(super) struct Busy(());

impl Busy {
    pub(super) fn new() -> Self {
        BUSY.set(BUSY.get() + 1);
        Busy(())
    }

    fn is() -> bool {
        BUSY.get() > 0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(BUSY.get() - 1);
    }
}

/// Drops blocks or partitions, on all cores if there are many: each may have millions of strings.
pub(super) fn drop_all<T: Send>(garbage: Vec<T>) {
    if garbage.len() < 8 {
        return drop(garbage);
    }
    // The helping threads are as busy as the thread that waits for them.
    let busy = Busy::is();
    pool::for_each(garbage, |block| {
        let _busy = busy.then(Busy::new);
        drop(block);
    });
}

/// The turn of the one thread that deletes. It ends even if that thread panics, and other threads go on.
struct Turn<'a> {
    released: &'a Released,
    until: u64,
    _busy: Busy,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.released.queue.lock();
        queue.gone = self.until;
        queue.taken = false;
        self.released.deleted.notify_all();
    }
}

impl Shared {
    pub(in super::super) fn release(&self, what: Releasable) {
        let mut queue = self.released.queue.lock();
        queue.waiting.push(what);
        queue.released += 1;
        drop(queue);
        self.sweep();
    }

    /// Deletes what was released. Whatever this thread released before is deleted when this returns, whichever thread
    /// deletes it. So a program that drops a dataset can count on its memory. A thread that holds the state, or is
    /// already deleting, leaves the work for later.
    pub(super) fn sweep(&self) {
        if Busy::is() {
            return;
        }
        let released = self.released.queue.lock().released;
        loop {
            self.sweep_if_nobody_does();
            let queue = self.released.queue.lock();
            if queue.gone >= released {
                return;
            }
            if queue.taken {
                drop(queue.wait(&self.released.deleted));
            }
        }
    }

    /// Deletes what was released until there is no more, unless another thread is doing so.
    pub(super) fn sweep_if_nobody_does(&self) {
        loop {
            let mut queue = self.released.queue.lock();
            if queue.taken || queue.waiting.is_empty() {
                return;
            }
            queue.taken = true;
            let released = std::mem::take(&mut queue.waiting);
            let _turn = Turn { released: &self.released, until: queue.released, _busy: Busy::new() };
            drop(queue);
            let mut state = self.lock();
            for what in released {
                match what {
                    Releasable::Exchange(id) => {
                        self.handle(&mut state, [Event::OutputReleased { output: OutputId(id.0) }])
                    }
                    Releasable::Cache(id) => state.garbage.cached.extend(self.host.caches.forget(id)),
                }
            }
        }
    }
}
