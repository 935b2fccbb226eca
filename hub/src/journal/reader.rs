//! Questions to the journal, on a separate connection, so that reader and writer never wait for each other.

use super::apply::int;
use super::entry::Ran;
use super::schema;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::path::{Path, PathBuf};
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_base::{Error, Progress, Result, codec};
use tryworks_protocol as protocol;
use tryworks_protocol::admin::{JobDetail, JobRow, StageRow, TaskRow};
use tryworks_protocol::engine::ResultPart;

/// Reads a journal, also while a hub writes it, and after the hub is gone. An entry can be read once it is committed, a
/// few milliseconds after it was noted.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// A result that is kept until a driver collects the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its partition.
    pub partition: u32,
    /// The launch that made it.
    pub attempt: AttemptId,
    /// Its length in bytes.
    pub length: u64,
    /// Whether its bytes are in the journal. Otherwise the engine that ran the attempt has them.
    pub here: bool,
}

pub(super) const JOB_COLUMNS: &str = "job, label, detached, state, submitted, ended, stages, stages_done, partitions, partitions_done, running, failed, \
     error";

impl Reader {
    /// Opens the journal at `path`.
    ///
    /// # Errors
    /// If there is no journal, or if it is damaged or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        Ok(Reader { connection: schema::open_to_read(&path)?, path })
    }

    pub(super) fn on(connection: Connection, path: PathBuf) -> Self {
        Reader { connection, path }
    }

    /// The latest jobs, newest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn jobs(&self, limit: u32) -> Result<Vec<JobRow>> {
        self.rows(&format!("SELECT {JOB_COLUMNS} FROM jobs ORDER BY job DESC LIMIT ?"), [limit], job_row)
    }

    /// Finds a job by its number, by the name of a detached job, or by a label. The latest job with a label counts.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<JobId>> {
        let ask = |sql: &str, with: &dyn rusqlite::ToSql| {
            self.row(sql, [with], |row| row.get::<_, i64>(0)).map(|found| found.map(|job| JobId(job.cast_unsigned())))
        };
        if let Ok(number) = name.parse::<u64>()
            && let Some(job) = ask("SELECT job FROM jobs WHERE job = ?", &int(number))?
        {
            return Ok(Some(job));
        }
        // If several jobs had this name, the job that can still be collected comes first.
        let named = "SELECT job FROM jobs WHERE detached = ? ORDER BY collected IS NOT NULL, job DESC LIMIT 1";
        match ask(named, &name)? {
            Some(job) => Ok(Some(job)),
            None => ask("SELECT job FROM jobs WHERE label = ? ORDER BY job DESC LIMIT 1", &name),
        }
    }

    /// A job with its stages and its last `tasks` tasks, newest first. `name` is as for [`find`](Self::find).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn job(&self, name: &str, tasks: u32) -> Result<Option<JobDetail>> {
        // One transaction shows all tables at the same moment.
        let _moment = self.connection.unchecked_transaction().map_err(|error| self.refused(&error))?;
        let Some(job) = self.find(name)? else { return Ok(None) };
        let number = int(job.0);
        let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE job = ?");
        let Some(row) = self.row(&sql, [number], job_row)? else { return Ok(None) };
        let stages = self.rows(
            "SELECT stage, attempts, began, ended, tasks, failed, busy, rows, bytes FROM stages WHERE job = ?
             ORDER BY stage",
            [number],
            stage_row,
        )?;
        let tasks = self.rows(
            "SELECT stage, attempt, first, partitions, engine, began, ended, rows, bytes, error FROM tasks
             WHERE job = ? ORDER BY number DESC LIMIT ?",
            [number, tasks.into()],
            task_row,
        )?;
        Ok(Some(JobDetail { job: row, stages, tasks }))
    }

    /// When a job ran, and which session's workers ran it. `name` is as for [`find`](Self::find).
    pub(crate) fn ran(&self, name: &str) -> Result<Option<Ran>> {
        let Some(job) = self.find(name)? else { return Ok(None) };
        self.row("SELECT session, submitted, ended FROM jobs WHERE job = ?", [int(job.0)], |row| {
            let to = row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned);
            Ok(Ran { job, session: SessionId(row.get(0)?), from: number(row, 1)?, to })
        })
    }

    /// The detached job with this name that is not collected, whether or not it has finished.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn detached(&self, name: &str) -> Result<Option<JobRow>> {
        let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE detached = ? AND collected IS NULL");
        self.row(&sql, [name], job_row)
    }

    /// How a job ended, if it is known and has ended.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn end(&self, job: JobId) -> Result<Option<Result<()>>> {
        ended(&self.connection, job).map_err(|error| self.refused(&error))
    }

    /// The results that are kept of a detached job, without their bytes, by partition.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn held(&self, job: JobId) -> Result<Vec<Held>> {
        held(&self.connection, job).map_err(|error| self.refused(&error))
    }

    /// The results that are kept of a detached job, by partition. Only one of them is in memory at a time.
    pub fn results(&self, job: JobId) -> impl Iterator<Item = Result<(u32, AttemptId, ResultPart)>> + '_ {
        let mut next = Some(0u32);
        std::iter::from_fn(move || {
            let found = self.row(
                "SELECT partition, attempt, length, bytes FROM results WHERE job = ? AND partition >= ?
                 ORDER BY partition LIMIT 1",
                [int(job.0), next?.into()],
                |row| {
                    let part = match row.get::<_, Option<Vec<u8>>>(3)? {
                        Some(bytes) => ResultPart::Here(bytes),
                        None => ResultPart::Kept(number(row, 2)?),
                    };
                    Ok((row.get::<_, u32>(0)?, AttemptId(number(row, 1)?), part))
                },
            );
            next = match &found {
                Ok(Some((partition, _, _))) => partition.checked_add(1),
                _ => None,
            };
            found.transpose()
        })
    }

    fn row<T>(
        &self,
        sql: &str,
        with: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(with, read).optional())
            .map_err(|error| self.refused(&error))
    }

    fn rows<T>(
        &self,
        sql: &str,
        with: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        rows(&self.connection, sql, with, read).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &rusqlite::Error) -> Error {
        schema::refused(&self.path, error)
    }
}

pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    with: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(with, read)?.collect()
}

pub(super) fn held(connection: &Connection, job: JobId) -> rusqlite::Result<Vec<Held>> {
    let sql = "SELECT partition, attempt, length, bytes IS NOT NULL FROM results WHERE job = ? ORDER BY partition";
    rows(connection, sql, [int(job.0)], |row| {
        Ok(Held {
            partition: row.get(0)?,
            attempt: AttemptId(number(row, 1)?),
            length: number(row, 2)?,
            here: row.get(3)?,
        })
    })
}

pub(super) fn ended(connection: &Connection, job: JobId) -> rusqlite::Result<Option<Result<()>>> {
    let read = |row: &Row<'_>| {
        let state: String = row.get(0)?;
        let error: Option<String> = row.get(1)?;
        let whole = of_this_version::<Result<()>>(row.get_ref(2)?.as_blob_or_null()?, row.get(3)?);
        Ok(match (state.as_str(), whole) {
            ("running", _) => None,
            (_, Ok(end)) => Some(end),
            // Another version wrote the row. Its state and its error text can be read by every version.
            ("done", _) => Some(Ok(())),
            ("cancelled", _) => Some(Err(Error::Cancelled)),
            _ => Some(Err(Error::Lost { what: error.unwrap_or_default(), details: String::new() })),
        })
    };
    let sql = "SELECT state, error, ending, schema FROM jobs WHERE job = ?";
    connection.prepare_cached(sql)?.query_row([int(job.0)], read).optional().map(Option::flatten)
}

/// Decodes a value that a hub with the same protocol wrote.
pub(super) fn of_this_version<T: serde::de::DeserializeOwned>(bytes: Option<&[u8]>, version: Option<i64>) -> Result<T> {
    match (bytes, version) {
        (Some(bytes), Some(version)) if version == i64::from(protocol::PROTOCOL) => {
            codec::decode(bytes).map(|(value, _)| value)
        }
        _ => Err(Error::cluster(
            "it was submitted to a hub of another version, which this hub has replaced",
            "submit it again, from a program built with this version",
        )),
    }
}

pub(super) fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::cast_unsigned)
}

fn maybe(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(at).map(|value| value.map(i64::cast_unsigned))
}

pub(super) fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    Ok(JobRow {
        job: JobId(number(row, 0)?),
        label: row.get(1)?,
        detached: row.get(2)?,
        state: row.get(3)?,
        submitted: number(row, 4)?,
        ended: maybe(row, 5)?,
        progress: Progress {
            stages: row.get(6)?,
            stages_done: row.get(7)?,
            partitions: number(row, 8)?,
            partitions_done: number(row, 9)?,
            running: row.get(10)?,
            failed: row.get(11)?,
        },
        error: row.get(12)?,
    })
}

fn stage_row(row: &Row<'_>) -> rusqlite::Result<StageRow> {
    Ok(StageRow {
        stage: row.get(0)?,
        attempts: row.get(1)?,
        began: maybe(row, 2)?,
        ended: maybe(row, 3)?,
        tasks: row.get(4)?,
        failed: row.get(5)?,
        busy: number(row, 6)?,
        rows: number(row, 7)?,
        bytes: number(row, 8)?,
    })
}

fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        stage: row.get(0)?,
        attempt: number(row, 1)?,
        first: row.get(2)?,
        partitions: row.get(3)?,
        engine: EngineId(row.get(4)?),
        span: (number(row, 5)?, number(row, 6)?),
        rows: number(row, 7)?,
        bytes: number(row, 8)?,
        error: row.get(9)?,
    })
}
