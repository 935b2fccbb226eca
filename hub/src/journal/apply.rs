//! Writes one entry, as SQL statements in the transaction of its batch.

use super::entry::{Entry, Proof, Submitted};
use super::queue::StageTotals;
use rusqlite::{CachedStatement, OptionalExtension, Params, Transaction, params};
use tryworks_base::ids::{ExchangeId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Progress, codec};
use tryworks_protocol::PROTOCOL;
use tryworks_protocol::admin::TaskRow;
use tryworks_protocol::engine::ResultPart;

/// Why an entry was not written.
pub(super) enum Fault {
    /// The file could not be written.
    File(rusqlite::Error),
    /// The entry cannot be encoded.
    Entry(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::File(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Entry(error)
    }
}

type Outcome = Result<(), Fault>;

/// A transaction that is being filled.
pub(super) struct Filling<'t> {
    to: &'t Transaction<'t>,
    epoch: i64,
    /// The number of the next row in `tasks`.
    pub next_task: i64,
    insert_task: CachedStatement<'t>,
    totals: StageTotals,
    /// How many jobs ended.
    pub ended: usize,
    /// Whether a program and its environment were deleted.
    pub forgot: bool,
}

impl<'t> Filling<'t> {
    pub fn new(to: &'t Transaction<'t>, epoch: u64, next_task: i64, totals: StageTotals) -> rusqlite::Result<Self> {
        let insert_task = to.prepare_cached("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        Ok(Filling { to, epoch: int(epoch), next_task, insert_task, totals, ended: 0, forgot: false })
    }

    /// Writes the totals of the tasks.
    pub fn finish(mut self) -> rusqlite::Result<()> {
        for ((job, stage), sum) in std::mem::take(&mut self.totals) {
            let numbers = [sum.tasks, sum.failed, sum.busy, sum.rows, sum.bytes].map(int);
            self.run(
                "INSERT INTO stage_totals SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                    WHERE EXISTS (SELECT 1 FROM jobs WHERE job = ?1)
                 ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks, failed = failed + excluded.failed,
                    busy = busy + excluded.busy, rows = rows + excluded.rows, bytes = bytes + excluded.bytes",
                params![int(job.0), stage, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]],
            )?;
        }
        Ok(())
    }

    fn run(&self, sql: &str, with: impl Params) -> rusqlite::Result<usize> {
        self.to.prepare_cached(sql)?.execute(with)
    }

    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        match entry {
            Entry::Task { job, row } => self.task(*job, row)?,
            Entry::EngineJoined { name } => drop(self.run("INSERT OR IGNORE INTO engines VALUES (?)", [name])?),
            Entry::EngineLost { name } => drop(self.run("DELETE FROM engines WHERE name = ?", [name])?),
            Entry::Session { session, proof: Proof(proof), host, at } => {
                self.run(
                    "INSERT INTO sessions (session, proof, host, began) VALUES (?, ?, ?, ?)
                     ON CONFLICT DO UPDATE SET proof = excluded.proof, host = excluded.host, ended = NULL",
                    params![session.0, proof, host, int(*at)],
                )?;
            }
            Entry::SessionEnded { session, at } => {
                self.run("UPDATE sessions SET ended = ?2 WHERE session = ?1", params![session.0, int(*at)])?;
                self.run("DELETE FROM checksums WHERE session = ?", [session.0])?;
                self.run("DELETE FROM changes WHERE session = ?", [session.0])?;
            }
            Entry::Job(submitted) => self.submitted(submitted)?,
            Entry::Progress { job, progress } => self.progress(*job, progress)?,
            Entry::JobEnded { job, at, progress, end } => {
                self.progress(*job, progress)?;
                self.ended(*job, *at, end)?;
            }
            Entry::Collected { job, at } => {
                self.run("UPDATE jobs SET collected = ?2 WHERE job = ?1", params![int(job.0), int(*at)])?;
                self.run("DELETE FROM results WHERE job = ?", [int(job.0)])?;
            }
            Entry::StageBegan { job, stage, attempt, at, tasks } => {
                self.run(
                    "INSERT OR REPLACE INTO stage_attempts (job, stage, epoch, attempt, began, tasks)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM jobs WHERE job = ?1)",
                    params![int(job.0), stage, self.epoch, attempt, int(*at), tasks],
                )?;
            }
            Entry::StageEnded { job, stage, attempt, at } => {
                self.run(
                    "UPDATE stage_attempts SET ended = ?5 WHERE job = ?1 AND stage = ?2 AND epoch = ?3 AND attempt = ?4",
                    params![int(job.0), stage, self.epoch, attempt, int(*at)],
                )?;
            }
            Entry::Result { job, partition, attempt, part } => {
                let (length, bytes) = match part {
                    ResultPart::Here(bytes) => (bytes.len() as u64, Some(bytes)),
                    ResultPart::Kept(length) => (*length, None),
                };
                self.run(
                    "INSERT INTO results SELECT ?1, ?2, ?3, ?4, ?5
                     WHERE EXISTS (SELECT 1 FROM jobs WHERE job = ?1 AND detached IS NOT NULL AND collected IS NULL)
                     ON CONFLICT DO UPDATE SET attempt = excluded.attempt, length = excluded.length,
                        bytes = excluded.bytes WHERE results.bytes IS NULL",
                    params![int(job.0), partition, int(attempt.0), int(length), bytes],
                )?;
            }
            Entry::Made { output, partitions } => {
                let (SessionId(session), ExchangeId(exchange)) = (output.session(), output.exchange());
                let mut insert = self.to.prepare_cached("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?)")?;
                for (partition, checksum) in partitions {
                    insert.execute(params![session, int(exchange), partition, int(*checksum)])?;
                }
            }
            Entry::Changed { output, change, recomputed } => {
                let (SessionId(session), ExchangeId(exchange)) = (output.session(), output.exchange());
                self.run(
                    "INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?)",
                    params![session, int(exchange), change.partition, int(change.launched)],
                )?;
                recomputed.iter().try_for_each(|output| self.forget("checksums", *output))?;
            }
            Entry::Forgotten { output } => {
                self.forget("checksums", *output)?;
                self.forget("changes", *output)?;
            }
        }
        Ok(())
    }

    fn forget(&self, table: &str, output: OutputId) -> rusqlite::Result<()> {
        let (SessionId(session), ExchangeId(exchange)) = (output.session(), output.exchange());
        self.run(&format!("DELETE FROM {table} WHERE session = ? AND exchange = ?"), params![session, int(exchange)])
            .map(drop)
    }

    fn task(&mut self, job: JobId, row: &TaskRow) -> rusqlite::Result<()> {
        self.insert_task.execute(params![
            self.next_task,
            int(job.0),
            row.stage,
            int(row.attempt),
            row.first,
            row.partitions,
            row.engine.0,
            int(row.span.0),
            int(row.span.1),
            int(row.rows),
            int(row.bytes),
            row.error
        ])?;
        self.next_task += 1;
        self.totals.entry((job, row.stage)).or_default().add(row);
        Ok(())
    }

    fn submitted(&self, new: &Submitted) -> Outcome {
        let mut submission = None;
        let (mut program, mut action) = (None, None);
        if let Some(detached) = &new.detached {
            codec::encode(&detached.submission, submission.insert(Vec::new()))?;
            codec::encode(&*detached.program, program.insert(Vec::new()))?;
            let of = (&detached.submission.action, &detached.submission.token);
            codec::encode(&of, action.insert(Vec::new()))?;
        }
        let name = new.detached.as_ref().map(|detached| &detached.name);
        let version = submission.is_some().then(|| i64::from(PROTOCOL));
        // A job that is submitted again after a restart keeps its number. Its row starts over.
        self.run(
            "INSERT INTO jobs (job, session, ticket, label, detached, state, submitted, action, submission, schema)
             VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?)
             ON CONFLICT (job) DO UPDATE SET session = excluded.session, ticket = excluded.ticket,
                label = excluded.label, detached = excluded.detached, state = 'running', ended = NULL, error = NULL,
                collected = NULL,
                action = excluded.action, submission = excluded.submission, schema = excluded.schema",
            params![
                int(new.job.0),
                new.session.0,
                int(new.ticket),
                new.label,
                name,
                int(new.at),
                action,
                submission,
                version
            ],
        )?;
        if program.is_some() {
            self.run(
                "UPDATE sessions SET program = ?2, schema = ?3 WHERE session = ?1 AND program IS NULL",
                params![new.session.0, program, version],
            )?;
        }
        Ok(())
    }

    fn progress(&self, job: JobId, progress: &Progress) -> rusqlite::Result<()> {
        self.run(
            "UPDATE jobs SET stages = ?2, stages_done = ?3, partitions = ?4, partitions_done = ?5, running = ?6,
                failed = ?7 WHERE job = ?1",
            params![
                int(job.0),
                progress.stages,
                progress.stages_done,
                int(progress.partitions),
                int(progress.partitions_done),
                progress.running,
                progress.failed
            ],
        )
        .map(drop)
    }

    fn ended(&mut self, job: JobId, at: u64, end: &Result<(), Box<Error>>) -> Outcome {
        let (state, error) = match end {
            Ok(()) => ("done", None),
            Err(error) if **error == Error::Cancelled => ("cancelled", None),
            Err(error) => ("failed", Some(error.to_string())),
        };
        let mut ending = Vec::new();
        codec::encode(end, &mut ending)?;
        let session = self
            .to
            .prepare_cached(
                "UPDATE jobs SET state = ?2, ended = ?3, error = ?4, submission = NULL, ending = ?5, schema = ?6
                 WHERE job = ?1 AND state = 'running' RETURNING session",
            )?
            .query_row(params![int(job.0), state, int(at), error, ending, i64::from(PROTOCOL)], |row| {
                row.get::<_, u32>(0)
            })
            .optional()?;
        // Stages that a failed or cancelled job had begun end when the job ends.
        self.run(
            "UPDATE stage_attempts SET ended = ?2 WHERE job = ?1 AND ended IS NULL",
            params![int(job.0), int(at)],
        )?;
        // The environment of a program may hold secrets: it is deleted when no unfinished detached job needs it.
        let forgotten = self.run(
            "UPDATE sessions SET program = NULL WHERE session = ?1 AND program IS NOT NULL AND NOT EXISTS
                (SELECT 1 FROM jobs WHERE session = ?1 AND detached IS NOT NULL AND state = 'running')",
            [session],
        )?;
        self.forgot |= forgotten > 0;
        self.ended += usize::from(session.is_some());
        Ok(())
    }
}

/// SQLite's integers are signed. The bits of an unsigned number are stored, and read back, as they are.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}
