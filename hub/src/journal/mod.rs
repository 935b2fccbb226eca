//! The journal: what a killed hub must remember, and what people ask about past jobs.
//!
//! It is one SQLite file, which only its owner may read. It survives the death of any process at any moment. After a
//! power cut, the last seconds may be missing. The hub [notes](Journal::note) what happens and continues; a thread
//! writes the notes, many to a transaction. Start here: [`Journal::open`] returns what is [`Recovered`], [`Entry`]
//! lists what can be noted, and [`Reader`] answers questions.
//!
//! # The tables
//!
//! Any SQLite client can read the file, also while the hub runs. Times are microseconds since 1970.
//!
//! | table | a row is |
//! |---|---|
//! | `hubs` | a hub that began: its `epoch`, the time, its process |
//! | `counters` | up to where numbers of jobs, sessions, engines and launches are reserved |
//! | `engines` | the name of an engine that is connected, or was when the hub died |
//! | `sessions` | a driver's session: a hash of its secret, its machine, and its program with the workers' environment while a detached job needs it |
//! | `jobs` | a job: label, name if detached, state, times, progress, error |
//! | `stage_attempts` | a stage of a job that began, for the first time or again, under the hub of an `epoch` |
//! | `stage_totals` | the sums over all tasks of a stage, also of those whose rows are gone |
//! | `tasks` | an attempt at a task: where, when, what it made, why it failed |
//! | `results` | a result of a detached job that no driver has collected yet |
//! | `checksums` | the checksum of a map task's partition, while its output is held: it detects different answers |
//! | `changes` | an output that came out different when it was recomputed, and when that was |
//!
//! The view `stages` has a row for each stage of a job. `job_overview` and `task_overview` are for people.
//!
//! ```sql
//! SELECT * FROM job_overview LIMIT 20;
//! SELECT engine, count(*), sum(ended - began) / 1e6 AS seconds FROM tasks WHERE job = 7 GROUP BY engine;
//! ```
//!
//! # How much is kept
//!
//! The latest 1,000 jobs that ended and the latest 200,000 rows of tasks. Jobs that have not ended are kept. Detached
//! jobs are kept until a driver collects them, or for 7 days after they ended.

mod apply;
mod entry;
mod history;
mod memory;
mod numbers;
mod queue;
mod reader;
mod recovered;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Detached, Entry, Proof, Ran, Submitted};
pub use memory::{InMemory, ToWrite};
pub use numbers::{Counter, Numbers};
pub use queue::Health;
pub use reader::{Held, Reader};
pub use recovered::{Recovered, Remembered, Resume, Session, Uncollected, Unfinished};

use queue::{Item, Queue};
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tryworks_base::{Error, Result};

/// Bounds on what is kept in the file and on what waits to be written.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The most jobs that ended.
    jobs: usize,
    /// The most rows of tasks.
    tasks: usize,
    /// The most rows of tasks that wait to be written.
    waiting: usize,
    /// How long results of detached jobs wait for a driver.
    uncollected: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { jobs: 1_000, tasks: 200_000, waiting: 100_000, uncollected: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// A journal that can be written. Dropping it first writes everything that was noted.
pub struct Journal {
    queue: Arc<Queue>,
    path: PathBuf,
    writer: Option<JoinHandle<()>>,
    /// Keeps other hubs from writing, until the last row is written.
    lock: File,
}

impl Journal {
    /// Opens the journal at `path`, or creates it, and begins another epoch.
    ///
    /// # Errors
    /// If another hub has it open, if the file is damaged, of another version or not a journal, or if the file system
    /// refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<(Journal, Recovered)> {
        Self::open_within(path.as_ref(), Bounds::default())
    }

    fn open_within(path: &Path, bounds: Bounds) -> Result<(Journal, Recovered)> {
        let lock = schema::lock(path)?;
        Self::begin(path.to_path_buf(), lock, schema::open(path)?, bounds)
    }

    fn begin(path: PathBuf, lock: File, mut file: Connection, bounds: Bounds) -> Result<(Journal, Recovered)> {
        let recovered = recovered::begin(&mut file).map_err(|error| schema::refused(&path, &error))?;
        let queue = Arc::new(Queue::new(bounds.waiting));
        let writer = writer::Writer::new(file, path.clone(), recovered.epoch, queue.clone(), bounds)?;
        let writer = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::storage("starting the thread that writes the journal", &path, &error))?;
        Ok((Journal { queue, path, writer: Some(writer), lock }, recovered))
    }

    /// Notes an entry and never waits: the entry is written a few milliseconds later. While 100,000 rows of tasks wait,
    /// further ones are dropped and counted.
    pub fn note(&self, entry: Entry) {
        self.queue.push(Item::Note(entry));
    }

    /// Notes an entry. Calls `then` once the entry and all earlier ones are committed, or with the reason why the entry
    /// is not and never will be. `then` runs on the thread that writes, and should not hold it up.
    pub fn note_then(&self, entry: Entry, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.queue.push(Item::Then(Box::new((Some(entry), Some(Box::new(then))))));
    }

    /// Calls `then` once all earlier notes are committed, as [`note_then`](Self::note_then) does.
    pub fn after(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.queue.push(Item::Then(Box::new((None, Some(Box::new(then))))));
    }

    /// Waits until all earlier notes are committed.
    ///
    /// # Errors
    /// If the journal cannot be written: the reason.
    pub fn sync(&self) -> Result<()> {
        self.queue.sync()
    }

    /// Whether the journal can be written, and how much waits.
    pub fn health(&self) -> Health {
        self.queue.health()
    }

    /// Whether the thread that writes is alive. Without it nothing is written any more, even if the disk is fine.
    pub fn lives(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
    }

    /// A connection for questions.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(&self.path)
    }

    /// Reserves numbers up to `end`. Calls `then` once that is committed, however long it takes, on the thread that
    /// writes.
    pub fn reserve(&self, counter: Counter, end: u64, then: impl FnOnce() + Send + 'static) {
        self.queue.push(Item::Reserve(counter, end));
        self.when_written(then);
    }

    /// Calls `then` once all earlier notes are committed, however long that takes.
    pub fn when_written(&self, then: impl FnOnce() + Send + 'static) {
        self.queue.push(Item::When(Some(Box::new(then))));
    }

    /// Releases the numbers that are reserved and were not given out. A hub does this last, when it stops in order.
    pub fn give_back(&self, numbers: &Numbers) {
        for counter in Counter::ALL {
            self.queue.push(Item::Reserve(counter, numbers.used(counter)));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the journal panicked: this is a bug in Tryworks");
        }
        // A child process that is just being started has this handle, too, so closing it here would not release the
        // lock. If unlocking fails, the lock ends when both handles are closed.
        drop(self.lock.unlock());
    }
}
