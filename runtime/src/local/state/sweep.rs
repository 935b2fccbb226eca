//! Deleting what nobody holds any more, of which the thread that let go of it can be sure.

use super::Shared;
use crate::pool;
use std::cell::Cell;
use std::sync::Condvar;
use tryworks_base::ids::OutputId;
use tryworks_base::lock::Lock;
use tryworks_core::runner::Releasable;
use tryworks_scheduler::Event;

/// What was released and is to be deleted. It may have been released where the state is locked already.
#[derive(Default)]
pub(super) struct Released {
    queue: Lock<Queue>,
    /// Told when some of it was deleted.
    deleted: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Releasable>,
    /// How many were released so far, and how many of those are gone.
    released: u64,
    gone: u64,
    /// Whether a thread is at work on it.
    taken: bool,
}

impl Released {
    /// Whether there is anything that waits for being deleted.
    pub(super) fn any(&self) -> bool {
        !self.queue.lock().waiting.is_empty()
    }
}

thread_local! {
    /// How often this thread has the state, or deletes blocks: then it cannot wait for who does so.
    static BUSY: Cell<u32> = const { Cell::new(0) };
}

/// This thread is busy for as long as this is there.
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

/// Drops blocks or partitions, with all cores where there are many: each may be millions of strings.
pub(super) fn drop_all<T: Send>(garbage: Vec<T>) {
    if garbage.len() < 8 {
        return drop(garbage);
    }
    // Those who help are as busy as who waits for them.
    let busy = Busy::is();
    pool::for_each(garbage, |block| {
        let _busy = busy.then(Busy::new);
        drop(block);
    });
}

/// The turn of the one thread that deletes. A panic of a user's type, which ends it as well, is of no concern to others.
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

    /// Deletes what was released. What this thread released before is gone when this returns, whoever deletes it: a
    /// program that drops a dataset can count on its memory. A thread that has the state, or deletes blocks already,
    /// leaves it to itself for later.
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

    /// Deletes what was released until there is no more of it, unless somebody is about it.
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
                        self.handle(&mut state, [Event::OutputReleased { output: OutputId(id) }])
                    }
                    Releasable::Cache(id) => state.garbage.cached.extend(self.host.forget(id)),
                }
            }
        }
    }
}
