//! The event log: what happened, as JSON lines. The times of every job, stage and task can be read from it.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result, disk, outlet};

/// The version of the lines' format.
pub const VERSION: u32 = 1;

/// A line of the log. Times are microseconds since the context began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// The first line.
    Log {
        /// The version of the lines' format.
        version: u32,
        /// When the context began, in seconds since 1970.
        began: u64,
    },
    /// A job was submitted.
    JobStarted {
        /// When it was submitted.
        at: u64,
        /// Its number.
        job: u64,
        /// The action and the place of its call.
        label: String,
        /// How many stages its plan has.
        stages: u32,
    },
    /// A job ended.
    JobFinished {
        /// When it ended.
        at: u64,
        /// Its number.
        job: u64,
        /// `done`, or the error.
        outcome: String,
    },
    /// A stage began, for the first time or again.
    StageStarted {
        /// When it began.
        at: u64,
        /// Its job.
        job: u64,
        /// Its index in the plan.
        stage: u32,
        /// How many times it began before.
        stage_attempt: u32,
        /// How many tasks it has.
        tasks: u32,
    },
    /// A stage finished: everything that is wanted of it exists.
    StageFinished {
        /// When it finished.
        at: u64,
        /// Its job.
        job: u64,
        /// Its index in the plan.
        stage: u32,
        /// How many times it began before.
        stage_attempt: u32,
    },
    /// A task ended.
    Task {
        /// When it began.
        at: u64,
        /// When it ended.
        until: u64,
        /// Its job.
        job: u64,
        /// Its stage.
        stage: u32,
        /// The number of the attempt.
        attempt: u64,
        /// Its first partition.
        first: u32,
        /// How many partitions it has.
        partitions: u32,
        /// How many rows it made.
        rows: u64,
        /// How many bytes it made.
        bytes: u64,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// An event log that is being written.
pub struct EventLog {
    file: BufWriter<File>,
    path: PathBuf,
    broken: bool,
}

impl EventLog {
    /// Creates the file. An older file of that name is replaced.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = File::create(&path).map_err(|error| Error::storage("creating the event log", &path, &error))?;
        let mut log = EventLog { file: BufWriter::new(file), path, broken: false };
        let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        log.write(&Record::Log { version: VERSION, began });
        Ok(log)
    }

    /// Adds a line. If the log cannot be written it ends there, and one line on the error output says so: it never
    /// makes a job fail.
    pub fn write(&mut self, record: &Record) {
        if self.broken {
            return;
        }
        let mut line = || -> std::io::Result<()> {
            serde_json::to_writer(&mut self.file, record)?;
            self.file.write_all(b"\n")?;
            // A reader may look at the log as soon as a job has ended.
            if matches!(record, Record::JobFinished { .. }) { self.file.flush() } else { Ok(()) }
        };
        if let Err(error) = line() {
            self.end(&error);
        }
    }

    fn end(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.broken, true) {
            let path = self.path.display();
            let free = if disk::is_full(error) { disk::free(&self.path) } else { String::new() };
            let line = format!("tryworks: the event log {path} ends here: it cannot be written: {error}{free}\n");
            outlet::ERR.write(line.as_bytes());
        }
    }

    /// Reads a log. A last line that was cut off is ignored.
    ///
    /// # Errors
    /// If the file cannot be read, is not an event log, or is of a later version.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Record>> {
        let path = path.as_ref();
        let wrong = |line: usize, error: &dyn std::fmt::Display| {
            Error::input(path.display(), None, format!("line {line}: {error}"))
        };
        let file = File::open(path).map_err(|error| Error::storage("opening the event log", path, &error))?;
        let mut records = Vec::new();
        let mut torn = None::<(usize, serde_json::Error)>;
        // Split as bytes: a line may be cut off in the middle of a character.
        for (at, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.map_err(|error| Error::storage("reading the event log", path, &error))?;
            if let Some((at, error)) = torn.take() {
                return Err(wrong(at, &error));
            }
            match serde_json::from_slice::<Record>(&line) {
                Ok(record) => records.push(record),
                // Only the last line may be cut off.
                Err(error) if error.is_eof() => torn = Some((at + 1, error)),
                Err(error) => return Err(wrong(at + 1, &error)),
            }
        }
        match records.first() {
            Some(Record::Log { version, .. }) if *version <= VERSION => Ok(records),
            Some(Record::Log { version, .. }) => {
                Err(wrong(1, &format!("version {version} is later than {VERSION}, which this program reads")))
            }
            _ => Err(wrong(1, &"this is not an event log")),
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        if let Err(error) = self.file.flush() {
            self.end(&error);
        }
    }
}
