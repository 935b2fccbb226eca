//! A journal in memory with the same tables, for a simulated hub. It writes only when its owner asks for it.

use super::queue::{Batch, Item, Queue};
use super::writer::Writer;
use super::{Bounds, Counter, Entry, Reader, Recovered, recovered, schema};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tryworks_base::{Error, Result};

/// Something to write.
#[derive(Clone, Debug)]
pub enum ToWrite {
    /// An entry.
    Entry(Entry),
    /// Numbers up to here may be in use.
    Reserve(Counter, u64),
}

/// A journal in memory. A restarted hub finds in it what was written. Its owner simulates the hub's deaths and the
/// disk's failures.
///
/// ```
/// use tryworks_hub::journal::{Counter, Entry, InMemory, ToWrite};
///
/// let mut journal = InMemory::new().unwrap();
/// assert_eq!(journal.begin().unwrap().epoch, 1);
/// let joined = ToWrite::Entry(Entry::EngineJoined { name: "one".into() });
/// assert!(journal.write(vec![joined, ToWrite::Reserve(Counter::Jobs, 900)]).unwrap().is_empty());
/// let found = journal.begin().unwrap();
/// assert_eq!((found.epoch, &found.engines[..], found.numbers.used(Counter::Jobs)), (2, &["one".to_string()][..], 900));
/// ```
pub struct InMemory {
    name: PathBuf,
    /// Keeps the tables alive while there is no writer.
    reader: Reader,
    writer: Option<Writer>,
}

impl InMemory {
    /// An empty journal.
    ///
    /// # Errors
    /// If SQLite has no memory for it.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = PathBuf::from(format!("journal-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let reader = Reader::on(schema::open_in_memory(&name)?, name.clone());
        Ok(InMemory { name, reader, writer: None })
    }

    /// Begins another hub on what was written.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn begin(&mut self) -> Result<Recovered> {
        self.writer = None;
        let mut connection = schema::make_ready(schema::open_in_memory(&self.name)?, &self.name)?;
        let recovered = recovered::begin(&mut connection).map_err(|error| schema::refused(&self.name, &error))?;
        let queue = Arc::new(Queue::new(usize::MAX));
        let bounds = Bounds::default();
        self.writer = Some(Writer::new(connection, self.name.clone(), recovered.epoch, queue, bounds)?);
        Ok(recovered)
    }

    /// Writes, in one transaction, what the latest hub wants written. Returns the items that were refused for their
    /// content, by their index.
    ///
    /// # Errors
    /// If no hub has begun, or the journal cannot be written.
    pub fn write(&mut self, items: Vec<ToWrite>) -> Result<Vec<(usize, Error)>> {
        let Some(writer) = &mut self.writer else { return Err(Error::Bug("no hub has begun".into())) };
        let item = |item| match item {
            ToWrite::Entry(entry) => Item::Note(entry),
            ToWrite::Reserve(counter, end) => Item::Reserve(counter, end),
        };
        let batch = Batch { items: items.into_iter().map(item).collect(), ..Batch::default() };
        writer.write(&batch).map_err(|error| schema::refused(&self.name, &error))
    }

    /// A reader of what was written.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
