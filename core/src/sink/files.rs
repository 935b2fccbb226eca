//! Files being written by a task: items are encoded into a buffer, which is emptied into a part of a place.

use super::{Encoder, FileName, Format, Part, Place, Receipt};
use crate::task::TaskContext;
use std::marker::PhantomData;
use tryworks_base::Result;
use tryworks_base::memory::Reservation;

/// How many bytes are gathered before they are given to the place.
const BUFFER: usize = 256 * 1024;

/// The bytes of a file that were encoded and not given to the place yet.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes were before them.
    before: u64,
}

impl Buffer {
    /// The bytes, to append to.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes the file has so far: where the next one goes.
    pub fn position(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }
}

/// The files of one attempt at a partition.
pub struct Files<P> {
    place: P,
    task: TaskContext,
    /// How many were begun.
    begun: u32,
}

impl<P: Place> Files<P> {
    pub(crate) fn new(place: P, task: TaskContext) -> Self {
        Files { place, task, begun: 0 }
    }

    /// Begins the next file, in a directory below that of the output; `""` for none.
    ///
    /// # Errors
    /// If the format or the place refuses.
    pub fn create<T, F: Format<T>>(&mut self, format: &F, directory: String) -> Result<FileWriter<T, F, P>> {
        let site = self.task.place();
        let name = FileName { partition: site.partition, number: self.begun, directory };
        self.begun += 1;
        let part = self.place.open(name, site.attempt)?;
        let mut buffer = Buffer::default();
        let encoder = format.begin(&self.task, &mut buffer)?;
        let held = self.task.host().memory().reservation();
        Ok(FileWriter { encoder, part, buffer, held, item: PhantomData })
    }
}

/// A file of a place, being written in a format.
pub struct FileWriter<T, F: Format<T>, P: Place> {
    encoder: F::Encoder,
    part: P::Part,
    buffer: Buffer,
    /// The share of the budget of what the part holds.
    held: Reservation,
    item: PhantomData<fn(T)>,
}

impl<T, F: Format<T>, P: Place> FileWriter<T, F, P> {
    /// Adds an item.
    ///
    /// # Errors
    /// What the format or the place said.
    #[inline]
    pub fn write(&mut self, item: T) -> Result<()> {
        self.encoder.write(item, &mut self.buffer)?;
        if self.buffer.bytes.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// How many bytes the file has so far, without what the encoder holds back.
    pub fn position(&self) -> u64 {
        self.buffer.position()
    }

    /// Ends and commits the file.
    ///
    /// # Errors
    /// What the format or the place said.
    pub fn end(mut self) -> Result<Receipt<P>> {
        self.encoder.end(&mut self.buffer)?;
        if !self.buffer.bytes.is_empty() {
            self.part.write(&self.buffer.bytes)?;
        }
        self.part.commit()
    }

    fn flush(&mut self) -> Result<()> {
        self.part.write(&self.buffer.bytes)?;
        self.buffer.before += self.buffer.bytes.len() as u64;
        self.buffer.bytes.clear();
        self.held.insist(self.part.held_bytes().saturating_sub(self.held.bytes()));
        Ok(())
    }
}
