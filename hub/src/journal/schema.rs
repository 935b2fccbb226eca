//! The file: its permissions, its tables, and which files are refused.

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tryworks_base::{Error, Result};

/// The version of the tables.
const VERSION: i64 = 3;

/// `TWJL`, which marks an SQLite file as a journal.
const APPLICATION: i64 = 0x5457_4a4c;

/// The tables that recovery reads; a starting hub checks them. `results` may be very large, so its rows are checked
/// when they are read.
const CHECKED: [&str; 10] = [
    "hubs",
    "counters",
    "engines",
    "sessions",
    "jobs",
    "stage_attempts",
    "stage_totals",
    "tasks",
    "checksums",
    "changes",
];

const TABLES: &str = "
CREATE TABLE hubs (epoch INTEGER PRIMARY KEY, began INTEGER NOT NULL, process INTEGER NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, reserved INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE engines (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sessions (
    session INTEGER PRIMARY KEY, proof BLOB NOT NULL, host TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER,
    program BLOB, schema INTEGER);
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY, session INTEGER NOT NULL, ticket INTEGER NOT NULL, label TEXT NOT NULL, detached TEXT,
    state TEXT NOT NULL, submitted INTEGER NOT NULL, ended INTEGER, error TEXT,
    stages INTEGER NOT NULL DEFAULT 0, stages_done INTEGER NOT NULL DEFAULT 0,
    partitions INTEGER NOT NULL DEFAULT 0, partitions_done INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    collected INTEGER, action BLOB, submission BLOB, ending BLOB, schema INTEGER);
CREATE INDEX jobs_by_label ON jobs (label);
CREATE INDEX jobs_by_session ON jobs (session);
CREATE INDEX jobs_unfinished ON jobs (job) WHERE state = 'running';
CREATE UNIQUE INDEX jobs_by_name ON jobs (detached) WHERE detached IS NOT NULL AND collected IS NULL;
CREATE TABLE stage_attempts (
    job INTEGER NOT NULL, stage INTEGER NOT NULL, epoch INTEGER NOT NULL, attempt INTEGER NOT NULL,
    began INTEGER NOT NULL, ended INTEGER, tasks INTEGER NOT NULL,
    PRIMARY KEY (job, stage, epoch, attempt)) WITHOUT ROWID;
CREATE TABLE stage_totals (
    job INTEGER NOT NULL, stage INTEGER NOT NULL, tasks INTEGER NOT NULL, failed INTEGER NOT NULL,
    busy INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (job, stage)) WITHOUT ROWID;
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY, job INTEGER NOT NULL, stage INTEGER NOT NULL, attempt INTEGER NOT NULL,
    first INTEGER NOT NULL, partitions INTEGER NOT NULL, engine INTEGER NOT NULL, began INTEGER NOT NULL,
    ended INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, error TEXT);
CREATE INDEX tasks_by_job ON tasks (job);
CREATE TABLE results (
    job INTEGER NOT NULL, partition INTEGER NOT NULL, attempt INTEGER NOT NULL, length INTEGER NOT NULL, bytes BLOB,
    PRIMARY KEY (job, partition));
CREATE TABLE checksums (
    session INTEGER NOT NULL, exchange INTEGER NOT NULL, partition INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (session, exchange, partition)) WITHOUT ROWID;
CREATE TABLE changes (
    session INTEGER NOT NULL, exchange INTEGER NOT NULL, partition INTEGER NOT NULL, launched INTEGER NOT NULL,
    PRIMARY KEY (session, exchange)) WITHOUT ROWID;
";

/// Views have no data, so a journal that is opened gets those of this version. A stage may run again after a loss: then
/// its end is that of its last run, and it has none while that goes on.
const VIEWS: &str = "
DROP VIEW IF EXISTS stages;
DROP VIEW IF EXISTS job_overview;
DROP VIEW IF EXISTS task_overview;
CREATE VIEW stages AS
    SELECT job, stage, count(began) AS attempts, min(began) AS began,
        (SELECT ended FROM stage_attempts AS last WHERE last.job = every.job AND last.stage = every.stage
            ORDER BY epoch DESC, attempt DESC LIMIT 1) AS ended,
        max(done) AS tasks, max(failed) AS failed, max(busy) AS busy, max(rows) AS rows, max(bytes) AS bytes
    FROM (
        SELECT job, stage, began, 0 AS done, 0 AS failed, 0 AS busy, 0 AS rows, 0 AS bytes FROM stage_attempts
        UNION ALL SELECT job, stage, NULL, tasks, failed, busy, rows, bytes FROM stage_totals) AS every
    GROUP BY job, stage;
CREATE VIEW job_overview AS
    SELECT job, label, detached, state, datetime(submitted / 1000000, 'unixepoch') AS submitted_utc,
        round((ended - submitted) / 1e6, 3) AS seconds, partitions_done, partitions, failed AS failed_attempts, error
    FROM jobs ORDER BY job DESC;
CREATE VIEW task_overview AS
    SELECT job, stage, attempt, first, partitions, engine, datetime(began / 1000000, 'unixepoch') AS began_utc,
        round((ended - began) / 1e6, 6) AS seconds, rows, bytes, error
    FROM tasks ORDER BY number DESC;
";

/// Makes sure that no other hub writes to the journal at `path` while the returned file is open.
pub(super) fn lock(path: &Path) -> Result<File> {
    // A separate file: closing any handle of the database file would release SQLite's own locks.
    let mut name = path.as_os_str().to_os_string();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |error: &std::io::Error| Error::storage("locking the journal", &name, error);
    let file = private(&name).map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::cluster(
            format!("another hub writes to the journal {}", path.display()),
            "stop that hub, or give this one another directory",
        )),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Opens the journal for writing, and creates its tables if it is new. The caller holds the lock.
pub(super) fn open(path: &Path) -> Result<Connection> {
    drop(private(path).map_err(|error| Error::storage("opening the journal", path, &error))?);
    let opened = || -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        // Another program may read the file, and may even lock it for a moment.
        connection.busy_timeout(Duration::from_secs(1))?;
        Ok(connection)
    };
    make_ready(opened().map_err(|error| refused(path, &error))?, path)
}

/// Opens a journal in memory, which lives as long as it has connections.
pub(super) fn open_in_memory(name: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(format!("file:{}?mode=memory&cache=shared", name.display()), flags);
    opened.map_err(|error| refused(name, &error))
}

/// Prepares a connection, and creates the tables if the journal is new.
pub(super) fn make_ready(mut connection: Connection, path: &Path) -> Result<Connection> {
    let fresh = check(&connection, path)?;
    let ready = |connection: &mut Connection| -> rusqlite::Result<()> {
        if fresh {
            // SQLite wants this setting before there are tables.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        // A program's environment may hold secrets, so SQLite must overwrite deleted rows with zeros.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        connection.pragma_update(None, "journal_size_limit", 32 << 20)?;
        connection.set_prepared_statement_cache_capacity(64);
        if fresh {
            let making = connection.transaction()?;
            making.execute_batch(TABLES)?;
            making.pragma_update(None, "application_id", APPLICATION)?;
            making.pragma_update(None, "user_version", VERSION)?;
            making.commit()?;
        }
        let making = connection.transaction()?;
        making.execute_batch(VIEWS)?;
        making.commit()
    };
    ready(&mut connection).map_err(|error| refused(path, &error))?;
    if !fresh {
        CHECKED.iter().try_for_each(|table| whole(&connection, path, table))?;
    }
    Ok(connection)
}

/// Opens the journal for reading only.
pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let opened = || -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    };
    let connection = opened().map_err(|error| refused(path, &error))?;
    match check(&connection, path)? {
        false => Ok(connection),
        true => Err(unreadable(path, "it is empty", "start a hub on it first")),
    }
}

/// Whether the file is new. Returns an error if it is not a journal.
fn check(connection: &Connection, path: &Path) -> Result<bool> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let asked = || -> rusqlite::Result<(i64, i64, i64)> {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((tables, number("PRAGMA application_id")?, number("PRAGMA user_version")?))
    };
    match asked().map_err(|error| refused(path, &error))? {
        (0, 0, 0) => Ok(true),
        (_, APPLICATION, VERSION) => Ok(false),
        (_, APPLICATION, version) => Err(unreadable(
            path,
            &format!("its version is {version}, and this hub reads version {VERSION}"),
            "start the hub that wrote it, or move the file away: this hub then starts with an empty journal",
        )),
        _ => Err(unreadable(path, "it is an SQLite file of another program", "name another file")),
    }
}

fn whole(connection: &Connection, path: &Path, table: &str) -> Result<()> {
    let found = connection
        .query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get::<_, String>(0))
        .optional()
        .map_err(|error| refused(path, &error))?;
    match found.as_deref() {
        None | Some("ok") => Ok(()),
        Some(found) => Err(damaged(path, found)),
    }
}

/// The error of Tryworks for an error of SQLite.
pub(super) fn refused(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, &error.to_string()),
        _ => Error::Storage {
            doing: "using the journal".into(),
            path: path.display().to_string(),
            message: error.to_string(),
        },
    }
}

/// The error for a file that is not a valid journal.
pub(super) fn damaged(path: &Path, found: &str) -> Error {
    unreadable(
        path,
        &format!("it is damaged or not a journal: {found}"),
        "move it away, together with the files of its name that end with -wal and -shm: the hub then starts with an \
         empty journal",
    )
}

fn unreadable(path: &Path, what: &str, advice: &str) -> Error {
    Error::cluster(format!("the journal {} cannot be used: {what}", path.display()), advice)
}

/// Opens or creates a file that only its owner may read.
fn private(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
