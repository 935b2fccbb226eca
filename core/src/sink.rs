//! Where items go: the contract of a sink.

use crate::runner::Tie;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Place, Result};

/// A partitioned output. A partition appears whole or not at all: what a task writes is seen when it commits, and
/// however often a partition is tried, it is committed once.
///
/// A sink is a serde value, because it is sent to where it is written. What only the driver needs of it may be a field with
/// `#[serde(skip)]`.
pub trait Sink<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// One partition being written. Dropped without a commit, it leaves nothing behind.
    type Writer: SinkWriter<T>;

    /// Is called on the driver before anything runs, with the number of partitions. What it changes goes to the tasks.
    /// `tie` says whether the job goes on without the program: one that does may have been prepared before, by a run
    /// of the program that has ended. Tells whether it was not.
    ///
    /// # Errors
    /// If the place cannot be written to, or another job writes to it.
    fn prepare(&mut self, partitions: u32, tie: &Tie) -> Result<bool>;

    /// Begins a partition.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn open(&self, place: Place) -> Result<Self::Writer>;

    /// Is called on the driver when all partitions are committed.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn finish(&self) -> Result<()>;

    /// Is called on the driver when the job failed or was given up: takes back the partitions that were committed.
    fn abandon(&self);
}

/// One partition being written.
pub trait SinkWriter<T>: Send {
    /// Adds an item.
    ///
    /// # Errors
    /// What the file system said.
    fn write(&mut self, item: T) -> Result<()>;

    /// Makes the partition appear.
    ///
    /// # Errors
    /// What the file system said; the partition has not appeared then.
    fn commit(self) -> Result<()>;
}

/// A partitioned output on the driver's machine: tasks make text of their partitions wherever they run, which comes to
/// the driver with their results and is written there. What is accepted of a partition is that of one attempt.
///
/// A sink is a serde value, because it is sent to where the text is made. What only the driver needs of it may be a field
/// with `#[serde(skip)]`.
pub trait DriverSink<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Adds the text of an item, where the task runs.
    fn text(&self, item: T, to: &mut String);

    /// Is called on the driver before anything runs, with the number of partitions.
    ///
    /// # Errors
    /// If the place cannot be written to, or another job writes to it.
    fn prepare(&mut self, partitions: u32) -> Result<()>;

    /// Is called on the driver for each partition once, as it comes in: makes it appear, whole or not at all.
    ///
    /// # Errors
    /// What the file system said.
    fn write(&self, partition: u32, text: &str) -> Result<()>;

    /// Is called on the driver when all partitions are written.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn finish(&self) -> Result<()>;

    /// Is called on the driver when the job failed or was given up: takes back what was written.
    fn abandon(&self);
}
