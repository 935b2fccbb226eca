//! A task as its code sees it: where it runs, and whether it was cancelled.

use crate::host::Host;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tryworks_base::lock::Lock;
use tryworks_base::{Error, Result, TaskSite};

/// What a pipe knows about the task that runs it.
#[derive(Clone)]
pub struct TaskContext {
    place: TaskSite,
    host: Arc<dyn Host>,
    cancelled: Arc<AtomicBool>,
    /// Set while a segment of a boxed pipe is opened: its root reads from here instead of its own source.
    feed: Option<Feed>,
    checks_rows: bool,
}

/// Where a segment of a boxed pipe finds its next batch.
pub(crate) type Feed = Arc<Lock<Option<Box<dyn Any + Send>>>>;

impl TaskContext {
    /// A task at `place` in the process `host`. It stops when `cancelled` becomes true.
    pub fn new(place: TaskSite, host: Arc<dyn Host>, cancelled: Arc<AtomicBool>) -> Self {
        TaskContext { place, host, cancelled, feed: None, checks_rows: false }
    }

    /// The same task, with the choice whether it encodes and decodes every row that it hands over.
    #[must_use]
    pub fn checking_rows(self, checks_rows: bool) -> Self {
        TaskContext { checks_rows, ..self }
    }

    /// Whether the task encodes and decodes every row that it hands over.
    pub fn checks_rows(&self) -> bool {
        self.checks_rows
    }

    /// Where the task runs.
    pub fn place(&self) -> TaskSite {
        self.place
    }

    /// The process around the task.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// An error if the task was cancelled. Call it once a batch.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The same task, for a pipe that reads from `feed`.
    pub(crate) fn fed(&self, feed: Option<Feed>) -> Self {
        TaskContext { feed, ..self.clone() }
    }

    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// The same task at another partition.
    pub(crate) fn at(&self, partition: u32) -> Self {
        TaskContext { place: TaskSite { partition, ..self.place }, ..self.clone() }
    }
}
