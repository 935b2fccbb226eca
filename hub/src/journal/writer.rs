//! The thread that writes the journal: one transaction for each batch.

use super::apply::{Fault, Filling};
use super::history::History;
use super::queue::{Batch, Item, Queue, StageTotals, Then, give_up};
use super::{Bounds, numbers, schema};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tryworks_base::{Error, Result};

/// How long the writer waits after a failure: the first time, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    epoch: u64,
    queue: Arc<Queue>,
    history: History,
    /// SQLite's write-ahead log may still have deleted secrets.
    lingers: bool,
}

/// The outcome of a batch: the entries that were refused, by their index.
type Refused = Vec<(usize, Error)>;

impl Writer {
    pub fn new(connection: Connection, path: PathBuf, epoch: u64, queue: Arc<Queue>, bounds: Bounds) -> Result<Self> {
        let history = History::new(&connection, bounds).map_err(|error| schema::refused(&path, &error))?;
        // A hub that was killed may have left deleted secrets in the log.
        Ok(Writer { connection, path, epoch, queue, history, lingers: true })
    }

    pub fn run(mut self) {
        /// Whatever ends the writer, no caller may wait for it forever.
        struct Last(Arc<Queue>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.die();
            }
        }
        let _last = Last(self.queue.clone());
        self.wipe();
        self.tidy();
        while let Some(batch) = self.queue.take() {
            self.commit(batch);
            self.tidy();
        }
    }

    /// Writes a batch, and retries while the file cannot be written.
    fn commit(&mut self, mut batch: Batch) {
        let mut pause = PAUSE.0;
        loop {
            match self.write(&batch) {
                Ok(refused) => {
                    self.queue.set_error(None);
                    return self.committed(&mut batch, refused);
                }
                Err(error) => {
                    let error = schema::refused(&self.path, &error);
                    if pause == PAUSE.0 {
                        tracing::error!(%error, "the journal cannot be written: entries wait in memory");
                    }
                    self.queue.set_error(Some(error.clone()));
                    // Callers of this batch, and those that wait behind it, get the error now. Their entries are
                    // dropped, so that no later attempt writes what a caller believes is not written.
                    let mut given_up: Vec<Then> = batch.items.iter_mut().filter_map(give_up).collect();
                    given_up.extend(self.queue.give_up());
                    for then in given_up {
                        then(Err(error.clone()));
                    }
                }
            }
            if !self.queue.pause(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    pub fn write(&mut self, batch: &Batch) -> rusqlite::Result<Refused> {
        let mut refused = Vec::new();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let totals: StageTotals = batch.dropped.clone();
        let mut filling = Filling::new(&transaction, self.epoch, self.history.next_task, totals)?;
        for (at, item) in batch.items.iter().enumerate() {
            let entry = match item {
                Item::Note(entry) => entry,
                Item::Reserve(counter, end) => {
                    numbers::write(&transaction, *counter, *end)?;
                    continue;
                }
                Item::When(_) => continue,
                Item::Then(waiter) => match &waiter.0 {
                    Some(entry) => entry,
                    None => continue,
                },
            };
            // A refused entry undoes only its own statement. A failure of the file undoes the whole batch, which is
            // retried.
            match filling.apply(entry) {
                Ok(()) => {}
                Err(Fault::Entry(error)) => refused.push((at, error)),
                Err(Fault::File(error)) if of_the_entry(&error) => {
                    refused.push((at, schema::refused(&self.path, &error)));
                }
                Err(Fault::File(error)) => return Err(error),
            }
        }
        let (next_task, ended, forgot) = (filling.next_task, filling.ended, filling.forgot);
        filling.finish()?;
        transaction.commit()?;
        self.history.grew(next_task, ended);
        self.lingers |= forgot;
        self.wipe();
        Ok(refused)
    }

    /// Empties SQLite's write-ahead log if it may contain deleted secrets. The pages of the file were zeroed already.
    /// While another program reads the log, it cannot be emptied; a later batch tries again.
    fn wipe(&mut self) {
        if !self.lingers {
            return;
        }
        let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy {
            Ok(busy) => self.lingers = busy != 0,
            // All entries are written all the same.
            Err(error) => tracing::warn!(%error, "the journal's log cannot be emptied now; a later batch tries again"),
        }
    }

    fn committed(&self, batch: &mut Batch, refused: Refused) {
        for item in &mut batch.items {
            if let Item::When(then) = item
                && let Some(then) = then.take()
            {
                then();
            }
        }
        if let Some((_, error)) = refused.last() {
            tracing::error!(%error, "the journal refused an entry");
            self.queue.set_refused(error.clone());
        }
        answer(batch, &|at| match refused.iter().find(|(place, _)| *place == at) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        });
    }

    /// Deletes old history a little at a time, while no batch waits.
    fn tidy(&mut self) {
        loop {
            match self.history.step(&mut self.connection) {
                Ok(true) if self.queue.is_empty() => {}
                Ok(_) => return,
                Err(error) => {
                    let error = schema::refused(&self.path, &error);
                    tracing::warn!(%error, "old history cannot be deleted");
                    return self.queue.set_error(Some(error));
                }
            }
        }
    }
}

fn answer(batch: &mut Batch, outcome: &dyn Fn(usize) -> Result<()>) {
    for (at, item) in batch.items.iter_mut().enumerate() {
        if let Item::Then(waiter) = item
            && let Some(then) = waiter.1.take()
        {
            then(outcome(at));
        }
    }
}

/// Whether only the entry is at fault: then SQLite undid the statement, not the transaction.
fn of_the_entry(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}
