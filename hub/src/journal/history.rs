//! The bounds on history: old rows are deleted a few at a time, and their space is returned to the file system.

use super::Bounds;
use super::apply::int;
use rusqlite::{Connection, Transaction, params};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most rows of tasks that one step deletes.
const STEP: i64 = 20_000;

/// The number of free pages that one step returns, and the number that may stay free because they are soon used again.
const PAGES: (i64, i64) = (2_000, 4_000);

/// The lengths of the tables, kept up to date without counting rows.
pub(super) struct History {
    bounds: Bounds,
    pub next_task: i64,
    oldest_task: i64,
    finished: usize,
    /// How many jobs have ended since the last search for old jobs.
    ended: usize,
}

impl History {
    pub fn new(connection: &Connection, bounds: Bounds) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let next_task = number("SELECT coalesce(max(number), 0) + 1 FROM tasks")?;
        let oldest_task = number("SELECT coalesce(min(number), 1) FROM tasks")?;
        let finished = number("SELECT count(*) FROM jobs WHERE state <> 'running'")?.cast_unsigned() as usize;
        // `usize::MAX` makes the first step search at once: time has passed since the last hub.
        Ok(History { bounds, next_task, oldest_task, finished, ended: usize::MAX })
    }

    /// Notes that a batch was committed.
    pub fn grew(&mut self, next_task: i64, ended: usize) {
        self.next_task = next_task;
        self.finished += ended;
        self.ended = self.ended.saturating_add(ended);
    }

    /// Deletes some rows if there are too many. Returns whether there may be more to delete.
    pub fn step(&mut self, connection: &mut Connection) -> rusqlite::Result<bool> {
        let kept = i64::try_from(self.bounds.tasks).unwrap_or(i64::MAX);
        // Deleting starts only above the bound plus a sixteenth. Otherwise each batch would be followed by a small
        // deletion.
        let tasks = self.next_task - self.oldest_task > kept + kept / 16;
        let jobs = self.ended > self.bounds.jobs / 16;
        if tasks || jobs {
            let transaction = connection.transaction()?;
            if tasks {
                let oldest = (self.next_task - kept).min(self.oldest_task + STEP);
                transaction.execute("DELETE FROM tasks WHERE number < ?", [oldest])?;
                self.oldest_task = oldest;
            }
            if jobs {
                self.finished -= self.old_jobs(&transaction)?;
                self.ended = 0;
            }
            transaction.commit()?;
            return Ok(true);
        }
        give_back(connection)
    }

    /// Gives up detached jobs that were not collected in time, which frees their names. Deletes the oldest jobs beyond
    /// the bound, then sessions and hubs that no remaining row needs.
    fn old_jobs(&self, to: &Transaction<'_>) -> rusqlite::Result<usize> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let given_up = now.saturating_sub(self.bounds.uncollected).as_micros();
        let given_up = int(u64::try_from(given_up).unwrap_or(u64::MAX));
        let now = int(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        to.execute(
            "DELETE FROM results WHERE job IN (SELECT job FROM jobs WHERE state <> 'running' AND detached IS NOT NULL
                AND collected IS NULL AND ended < ?)",
            [given_up],
        )?;
        to.execute(
            "UPDATE jobs SET collected = ?2 WHERE state <> 'running' AND detached IS NOT NULL AND collected IS NULL
                AND ended < ?1",
            [given_up, now],
        )?;
        let spare = self.finished.saturating_sub(self.bounds.jobs);
        if spare == 0 {
            return Ok(0);
        }
        let old: Vec<i64> = to
            .prepare_cached(
                "SELECT job FROM jobs WHERE state <> 'running' AND (detached IS NULL OR collected IS NOT NULL)
                 ORDER BY job LIMIT ?",
            )?
            .query_map([spare as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for table in ["tasks", "stage_attempts", "stage_totals", "results", "jobs"] {
            let mut delete = to.prepare_cached(&format!("DELETE FROM {table} WHERE job = ?"))?;
            for job in &old {
                delete.execute([job])?;
            }
        }
        let kept = self.bounds.jobs as i64;
        to.execute(
            "DELETE FROM sessions WHERE ended IS NOT NULL AND session <= (SELECT max(session) - ?1 FROM sessions)
                AND session NOT IN (SELECT session FROM jobs)",
            [kept],
        )?;
        to.execute("DELETE FROM hubs WHERE epoch <= (SELECT max(epoch) - ?1 FROM hubs)", params![kept])?;
        Ok(old.len())
    }
}

/// Shortens the file if much of it is free. Returns whether there may be more to return.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let free = connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0))?;
    if free <= PAGES.1 {
        return Ok(false);
    }
    // Each page is one step of the statement.
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({})", PAGES.0))?;
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    Ok(true)
}
