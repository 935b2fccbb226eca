//! Files that a task writes: items are encoded into a buffer, which is emptied into a part of a place.

use super::{Encoder, FileName, Format, Part, Place, Receipt};
use crate::task::TaskContext;
use std::marker::PhantomData;
use tryworks_base::Result;
use tryworks_base::memory::Reservation;

/// The buffer goes to the place when it has this many bytes.
const BUFFER: usize = 256 * 1024;

/// The bytes of a file that are encoded, but not given to the place yet.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes of the file came before them.
    before: u64,
}

impl Buffer {
    /// The bytes; encoders append to them.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The number of bytes that the file has so far, which is the position of the next one.
    pub fn position(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }
}

/// The files of one attempt at a partition.
pub struct Files<P> {
    place: P,
    task: TaskContext,
    /// How many files were begun.
    begun: u32,
}

impl<P: Place> Files<P> {
    pub(crate) fn new(place: P, task: TaskContext) -> Self {
        Files { place, task, begun: 0 }
    }

    /// Begins the next file, in this subdirectory of the output; `""` for none.
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

/// A file that is written to a place in a format.
pub struct FileWriter<T, F: Format<T>, P: Place> {
    encoder: F::Encoder,
    part: P::Part,
    buffer: Buffer,
    /// The reservation for the bytes that the part holds.
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

    /// How many bytes the file has so far, without those that the encoder holds back.
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
