//! What a starting hub finds in the journal.

use super::apply::int;
use super::entry::Proof;
use super::numbers::{self, Numbers};
use super::reader::{Held, JOB_COLUMNS, ended, held, job_row, number, of_this_version, rows};
use rusqlite::{Connection, Row, Transaction};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use tryworks_base::ids::{ExchangeId, OutputId, SessionId};
use tryworks_base::{Action, Result};
use tryworks_protocol::admin::JobRow;
use tryworks_protocol::driver::NewJob;
use tryworks_protocol::program::Program;
use tryworks_scheduler::Change;

/// What existed when the last hub ended or was killed.
#[derive(Debug)]
pub struct Recovered {
    /// How many hubs have begun on this journal, including this one.
    pub epoch: u64,
    /// The numbers that may have been given out. Smaller numbers belong to earlier hubs.
    pub numbers: Numbers,
    /// The names of the engines that were connected.
    pub engines: Vec<String>,
    /// Sessions that were not over.
    pub sessions: Vec<Session>,
    /// Jobs that had not ended, in the order of their numbers.
    pub unfinished: Vec<Unfinished>,
    /// Detached jobs that have ended and that no driver has collected, in the order of their numbers.
    pub uncollected: Vec<Uncollected>,
    /// What the journal knows of outputs that may still be needed.
    pub outputs: BTreeMap<OutputId, Remembered>,
}

impl Recovered {
    /// What the first hub on a journal finds.
    #[must_use]
    pub fn nothing() -> Self {
        Recovered {
            epoch: 1,
            numbers: Numbers::after([0; 4]),
            engines: Vec::new(),
            sessions: Vec::new(),
            unfinished: Vec::new(),
            uncollected: Vec::new(),
            outputs: BTreeMap::new(),
        }
    }
}

/// What the journal remembers of an output, whether or not any block of it still exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// All partitions that were ever made, each with its latest checksum.
    pub made: Vec<(u32, u64)>,
    /// Set if recomputing the output once gave another one.
    pub changed: Option<Change>,
}

/// A detached job that has ended and that no driver has collected. [`Reader`](super::Reader) has its results.
#[derive(Debug)]
pub struct Uncollected {
    /// The job as a list shows it.
    pub row: JobRow,
    /// The session whose workers ran it.
    pub session: SessionId,
    /// How it ended.
    pub end: Result<()>,
    /// Its results.
    pub held: Vec<Held>,
    /// Its action, and the token of its place. `None` if another version wrote them.
    pub action: Option<(Action, String)>,
}

/// A session that was not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its number.
    pub session: SessionId,
    /// What its driver's secret is compared with.
    pub proof: Proof,
    /// The machine of its driver.
    pub host: String,
    /// The program that its workers run, if it has unfinished detached jobs.
    pub program: Option<Program>,
}

/// A job that had not ended.
#[derive(Debug)]
pub struct Unfinished {
    /// The job as a list shows it.
    pub row: JobRow,
    /// The session that submitted it.
    pub session: SessionId,
    /// The driver's ticket for it.
    pub ticket: u64,
    /// If the job is detached: what is needed to continue it without the driver, or why that is impossible.
    pub detached: Option<Result<Resume>>,
}

/// What is needed to continue a detached job.
#[derive(Debug)]
pub struct Resume {
    /// The job as it was submitted, with all of its codes.
    pub submission: NewJob,
    /// The results that were already accepted: their partitions do not run again.
    pub held: Vec<Held>,
}

/// Begins another epoch and reads what is in the journal.
pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Recovered> {
    let opening = connection.transaction()?;
    let numbers = numbers::reserve(&opening)?;
    let epoch = opening.query_row("SELECT coalesce(max(epoch), 0) + 1 FROM hubs", [], |row| number(row, 0))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let began = int(u64::try_from(now).unwrap_or(u64::MAX));
    opening.execute("INSERT INTO hubs VALUES (?, ?, ?)", (int(epoch), began, std::process::id()))?;
    let recovered = Recovered {
        epoch,
        numbers,
        engines: rows(&opening, "SELECT name FROM engines", [], |row| row.get(0))?,
        sessions: sessions(&opening)?,
        unfinished: unfinished(&opening)?,
        uncollected: uncollected(&opening)?,
        outputs: outputs(&opening)?,
    };
    opening.commit()?;
    Ok(recovered)
}

fn sessions(from: &Transaction<'_>) -> rusqlite::Result<Vec<Session>> {
    let sql = "SELECT session, proof, host, program, schema FROM sessions WHERE ended IS NULL ORDER BY session";
    rows(from, sql, [], |row| {
        Ok(Session {
            session: SessionId(row.get(0)?),
            proof: Proof(row.get(1)?),
            host: row.get(2)?,
            // If the program cannot be decoded, the jobs that need it fail with the reason.
            program: of_this_version(row.get_ref(3)?.as_blob_or_null()?, row.get(4)?).ok(),
        })
    })
}

fn uncollected(from: &Transaction<'_>) -> rusqlite::Result<Vec<Uncollected>> {
    let sql = format!(
        "SELECT {JOB_COLUMNS}, session, action, schema FROM jobs
         WHERE detached IS NOT NULL AND collected IS NULL AND state <> 'running'
         ORDER BY job"
    );
    rows(from, &sql, [], |row| {
        let job = job_row(row)?;
        let end = ended(from, job.job)?.unwrap_or(Ok(()));
        let action = of_this_version(row.get_ref(14)?.as_blob_or_null()?, row.get(15)?).ok();
        Ok(Uncollected { held: held(from, job.job)?, session: SessionId(row.get(13)?), end, action, row: job })
    })
}

fn unfinished(from: &Transaction<'_>) -> rusqlite::Result<Vec<Unfinished>> {
    let sql = format!(
        "SELECT {JOB_COLUMNS}, session, ticket, submission, schema FROM jobs WHERE state = 'running' ORDER BY job"
    );
    rows(from, &sql, [], |row| {
        let job = job_row(row)?;
        let detached = match job.detached {
            None => None,
            Some(_) => Some(match of_this_version(row.get_ref(15)?.as_blob_or_null()?, row.get(16)?) {
                Ok(submission) => Ok(Resume { submission, held: held(from, job.job)? }),
                Err(error) => Err(error),
            }),
        };
        Ok(Unfinished { session: SessionId(row.get(13)?), ticket: number(row, 14)?, row: job, detached })
    })
}

fn outputs(from: &Transaction<'_>) -> rusqlite::Result<BTreeMap<OutputId, Remembered>> {
    let mut found = BTreeMap::<_, Remembered>::new();
    let sql = "SELECT session, exchange, partition, checksum FROM checksums ORDER BY session, exchange, partition";
    for (output, partition) in rows(from, sql, [], |row| Ok((output(row)?, (row.get(2)?, number(row, 3)?))))? {
        found.entry(output).or_default().made.push(partition);
    }
    let sql = "SELECT session, exchange, partition, launched FROM changes";
    for (output, partition, launched) in rows(from, sql, [], |row| Ok((output(row)?, row.get(2)?, number(row, 3)?)))? {
        found.entry(output).or_default().changed = Some(Change { partition, launched });
    }
    Ok(found)
}

fn output(row: &Row<'_>) -> rusqlite::Result<OutputId> {
    Ok(SessionId(row.get(0)?).output(ExchangeId(number(row, 1)?)))
}
