//! A task from inside: where it runs, and whether it was cancelled.

use crate::host::Host;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tryworks_base::lock::Lock;
use tryworks_base::{Error, Result, TaskSite};

/// What a pipe knows of the task that runs it.
#[derive(Clone)]
pub struct TaskContext {
    place: TaskSite,
    host: Arc<dyn Host>,
    cancelled: Arc<AtomicBool>,
    /// Set while a segment of a boxed chain is opened: what its root reads instead of its own source.
    feed: Option<Feed>,
    checks_rows: bool,
}

/// Where a segment of a boxed chain finds its next batch.
pub(crate) type Feed = Arc<Lock<Option<Box<dyn Any + Send>>>>;

impl TaskContext {
    /// A task at `place` in the process `host`, which stops when `cancelled` becomes true.
    pub fn new(place: TaskSite, host: Arc<dyn Host>, cancelled: Arc<AtomicBool>) -> Self {
        TaskContext { place, host, cancelled, feed: None, checks_rows: false }
    }

    /// The same, which encodes and decodes every row that it hands over, if that is asked for.
    #[must_use]
    pub fn checking_rows(self, checks_rows: bool) -> Self {
        TaskContext { checks_rows, ..self }
    }

    /// Whether every row that is handed over is to be encoded and decoded.
    pub fn checks_rows(&self) -> bool {
        self.checks_rows
    }

    /// Where it runs.
    pub fn place(&self) -> TaskSite {
        self.place
    }

    /// The process around it.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// An error if the task was cancelled. To be asked once a batch.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The same task as seen by a pipe that is fed from `feed`.
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
