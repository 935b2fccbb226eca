//! The journal: what the hub remembers when it is killed, and what people ask about jobs that ran.
//!
//! One SQLite file, which only its owner may read. It survives the death of any process at any moment. It does not
//! promise to survive a power cut: the last seconds may be missing then. The hub [notes](Journal::note) what happens
//! and goes on; a thread writes it, many entries to a transaction. To begin: [`Journal::open`] gives what is
//! [`Recovered`], [`Entry`] says what is noted, [`Reader`] answers.
//!
//! # The tables
//!
//! The file can be read with any SQLite client, also while the hub runs. Times are microseconds since 1970.
//!
//! | table | a row is |
//! |---|---|
//! | `hubs` | a hub that began: its `epoch`, when, its process |
//! | `counters` | up to where numbers of jobs, sessions, engines and launches are reserved |
//! | `engines` | the name of an engine that is there, or was when the hub died |
//! | `sessions` | a driver's stay: a hash of its secret, its machine, its program with what workers get of its environment, as long as a detached job needs it |
//! | `jobs` | a job: label, name if detached, state, times, progress, error |
//! | `stage_attempts` | a stage that began, or began anew, of a job, under the hub of an `epoch` |
//! | `stage_totals` | the sums over all tasks of a stage, also of those whose rows are gone |
//! | `tasks` | an attempt at a task: where, when, what it made, why it failed |
//! | `results` | a result of a detached job that nobody has collected yet |
//! | `checksums` | what a map task's partition came to, as long as its output is held: other answers are found out |
//! | `changes` | an output that answered differently when it was made again, and when that was |
//!
//! The view `stages` has a row for each stage of a job, `job_overview` and `task_overview` are for reading.
//!
//! ```sql
//! SELECT * FROM job_overview LIMIT 20;
//! SELECT engine, count(*), sum(ended - began) / 1e6 AS seconds FROM tasks WHERE job = 7 GROUP BY engine;
//! ```
//!
//! # How much is kept
//!
//! The latest 1,000 jobs that ended and the latest 200,000 rows of tasks. Jobs that have not ended are kept, and so are
//! detached jobs until a driver collects them, or for 7 days.

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

pub use entry::{Detached, Entry, Proof, Submitted};
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

/// How much is kept, in the file and waiting for it.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Jobs that ended.
    jobs: usize,
    /// Rows of tasks.
    tasks: usize,
    /// Rows of tasks that wait to be written.
    waiting: usize,
    /// For how long results of detached jobs wait for a driver.
    uncollected: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { jobs: 1_000, tasks: 200_000, waiting: 100_000, uncollected: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// A journal that is being written. When it is dropped, what was noted is written first.
pub struct Journal {
    queue: Arc<Queue>,
    path: PathBuf,
    writer: Option<JoinHandle<()>>,
    /// Held until the last row is written.
    lock: File,
}

impl Journal {
    /// Opens the journal at `path`, or makes it, and begins another epoch.
    ///
    /// # Errors
    /// If another hub has it, if the file is damaged, of another version or none of ours, or if the file system
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

    /// Notes something, and never waits: it is written a few milliseconds later. Rows of tasks are dropped, and
    /// counted, while 100,000 of them wait.
    pub fn note(&self, entry: Entry) {
        self.queue.push(Item::Note(entry));
    }

    /// Notes something, and calls `then` when it, and all that was noted before, is committed, or with why it is not.
    /// It is called on the thread that writes, which it should not hold up. What could not be written because of the
    /// disk is tried again all the same.
    pub fn note_then(&self, entry: Entry, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.queue.push(Item::Then(Box::new((Some(entry), Some(Box::new(then))))));
    }

    /// Calls `then` when all that was noted before is committed, as [`note_then`](Self::note_then) does.
    pub fn after(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.queue.push(Item::Then(Box::new((None, Some(Box::new(then))))));
    }

    /// Waits until all that was noted before is committed.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn sync(&self) -> Result<()> {
        self.queue.sync()
    }

    /// Whether it can be written, and what waits.
    pub fn health(&self) -> Health {
        self.queue.health()
    }

    /// Whether there is still somebody who writes it. Without one it is of no use any more, whatever the disk does.
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

    /// Reserves numbers up to `end`, and calls `then` when that is committed, however long that takes. It is called on the
    /// thread that writes.
    pub fn reserve(&self, counter: Counter, end: u64, then: impl FnOnce() + Send + 'static) {
        self.queue.push(Item::Reserve(counter, end));
        self.when_written(then);
    }

    /// Calls `then` when all that was noted before is committed, however long that takes.
    pub fn when_written(&self, then: impl FnOnce() + Send + 'static) {
        self.queue.push(Item::When(Some(Box::new(then))));
    }

    /// Gives back what is reserved and was not given out: a hub that ends in order does so last.
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
            tracing::error!("the thread that writes the journal panicked: a bug of ours");
        }
        // A child that is just being started has this handle, too: closing ours alone would not let go of the lock.
        // Should the system refuse, it goes when both are closed.
        drop(self.lock.unlock());
    }
}
