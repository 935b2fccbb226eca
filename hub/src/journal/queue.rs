//! The queue in front of the journal: the hub pushes entries and continues, and the writer takes batches.

use super::entry::Entry;
use super::numbers::Counter;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, mpsc};
use std::time::{Duration, Instant};
use tryworks_base::ids::JobId;
use tryworks_base::lock::{Held, Lock, none_held};
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::TaskRow;

/// How long an entry waits for others to share its transaction, unless a caller waits for the outcome.
const GATHER: Duration = Duration::from_millis(5);

/// The most entries in one transaction.
const BATCH: usize = 4_096;

/// A callback that gets the outcome, on the writer's thread.
pub(super) type Then = Box<dyn FnOnce(Result<()>) + Send>;

/// Something for the writer.
pub(super) enum Item {
    Note(Entry),
    /// An entry, if any, and a callback. It is called when this and all earlier items are committed. If that fails, it
    /// is called with the reason, and the entry is dropped.
    Then(Box<(Option<Entry>, Option<Then>)>),
    /// Numbers up to this one may be in use.
    Reserve(Counter, u64),
    /// A callback for when all earlier items are committed. It is not called earlier, even if writing fails.
    When(Option<Box<dyn FnOnce() + Send>>),
}

/// Takes the callback of an item, so that its caller can be told that the entry was not written. Drops the entry: the
/// next hub must not find what this one refused.
pub(super) fn give_up(item: &mut Item) -> Option<Then> {
    let Item::Then(waiter) = item else { return None };
    let (entry, then) = &mut **waiter;
    *entry = None;
    then.take()
}

/// The totals of a stage's tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub tasks: u64,
    pub failed: u64,
    pub busy: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Totals by job and stage.
pub(super) type StageTotals = BTreeMap<(JobId, u32), Totals>;

impl Totals {
    pub fn add(&mut self, row: &TaskRow) {
        self.tasks += u64::from(row.error.is_none());
        self.failed += u64::from(row.has_failed());
        self.busy = self.busy.saturating_add(row.span.1.saturating_sub(row.span.0));
        self.rows = self.rows.saturating_add(row.rows);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }
}

/// The content of one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub items: Vec<Item>,
    /// The totals of the tasks whose rows were dropped. They still count in the totals of their stages.
    pub dropped: StageTotals,
}

/// The state of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why the last attempt to write failed, if it did: perhaps the disk is full. Entries wait and are written later.
    pub error: Option<Error>,
    /// The last entry that was refused for its content, such as a detached job whose name is taken.
    pub refused: Option<Error>,
    /// How many entries wait.
    pub waiting: usize,
    /// How many rows of tasks were dropped since the hub began because too many waited. The totals of their stages are
    /// still right.
    pub dropped_tasks: u64,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    tasks: usize,
    dropped: StageTotals,
    health: Health,
    /// A caller waits for the outcome.
    urgent: bool,
    /// The writer waits for the first entry.
    idle: bool,
    closing: bool,
    /// The writer is gone.
    dead: bool,
}

/// The queue between the hub and the writer.
pub(super) struct Queue {
    state: Lock<State>,
    wake: Condvar,
    /// The most rows of tasks that wait.
    bound: usize,
}

impl Queue {
    pub fn new(bound: usize) -> Self {
        Queue { state: Lock::default(), wake: Condvar::new(), bound }
    }

    fn state(&self) -> Held<'_, State> {
        self.state.lock()
    }

    pub fn push(&self, item: Item) {
        let mut state = self.state();
        if state.dead {
            drop(state);
            if let Item::Then(mut waiter) = item
                && let Some(then) = waiter.1.take()
            {
                then(Err(ended()));
            }
            return;
        }
        if let Item::Note(Entry::Task { job, row }) = &item {
            if state.tasks >= self.bound {
                state.health.dropped_tasks += 1;
                state.dropped.entry((*job, row.stage)).or_default().add(row);
                return;
            }
            state.tasks += 1;
        }
        let urgent = matches!(item, Item::Then(_) | Item::When(_));
        state.items.push_back(item);
        state.urgent |= urgent;
        // Waking the writer costs far more than pushing. A writer that is not idle looks into the queue within a few
        // milliseconds.
        if urgent || state.idle {
            state.idle = false;
            self.wake.notify_one();
        }
    }

    /// Waits until all earlier items are committed.
    pub fn sync(&self) -> Result<()> {
        let (sender, outcome) = mpsc::channel();
        let then: Then = Box::new(move |result| drop(sender.send(result)));
        self.push(Item::Then(Box::new((None, Some(then)))));
        none_held("waiting for the disk");
        outcome.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// The next batch, or `None` when the queue is closed and empty.
    pub fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        while state.items.is_empty() && !state.closing {
            state.idle = true;
            state = state.wait(&self.wake);
        }
        state.idle = false;
        let due = Instant::now() + GATHER;
        while !state.urgent && !state.closing && state.items.len() < BATCH {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = state.wait_for(&self.wake, left);
        }
        if state.items.is_empty() {
            return None;
        }
        let count = state.items.len().min(BATCH);
        let items: Vec<Item> = state.items.drain(..count).collect();
        state.tasks -= items.iter().filter(|item| matches!(item, Item::Note(Entry::Task { .. }))).count();
        // Another item with a waiting caller may still be in the queue.
        state.urgent &= !state.items.is_empty();
        Some(Batch { items, dropped: std::mem::take(&mut state.dropped) })
    }

    /// Drops the entries whose callers wait for the outcome, and returns the callers' callbacks.
    pub fn give_up(&self) -> Vec<Then> {
        self.state().items.iter_mut().filter_map(give_up).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.state().items.is_empty()
    }

    /// Waits before the next attempt. Returns false at once if the journal is being closed.
    pub fn pause(&self, time: Duration) -> bool {
        let due = Instant::now() + time;
        let mut state = self.state();
        while !state.closing {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = state.wait_for(&self.wake, left);
        }
        false
    }

    /// Makes the writer end, after it has written what is queued.
    pub fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    /// The writer is gone: all waiting callers get an error.
    pub fn die(&self) {
        {
            let mut state = self.state();
            state.dead = true;
            state.health.error.get_or_insert_with(ended);
        }
        for then in self.give_up() {
            then(Err(ended()));
        }
        self.state().items.clear();
    }

    pub fn health(&self) -> Health {
        let state = self.state();
        Health { waiting: state.items.len(), ..state.health.clone() }
    }

    /// Sets why writing fails, or that it works again.
    pub fn set_error(&self, error: Option<Error>) {
        self.state().health.error = error;
    }

    pub fn set_refused(&self, error: Error) {
        self.state().health.refused = Some(error);
    }
}

fn ended() -> Error {
    Error::Bug("the journal is no longer written".into())
}
