//! `save_as_text_file`: items as lines of part files in a directory.

use crate::places::{OutputDir, PartFile};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write};
use std::path::Path;
use tryworks_base::{Op, Place, Result};
use tryworks_core::pipe::Pipe;
use tryworks_core::runner::Tie;
use tryworks_core::sink::{DriverSink, Sink, SinkWriter};
use tryworks_core::{Background, Dataset, Job, ToDriver};

/// A directory of text files, one for each partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextDirectory(OutputDir);

impl<T: Display> Sink<T> for TextDirectory {
    type Writer = TextPart;

    fn prepare(&mut self, partitions: u32, tie: &Tie) -> Result<bool> {
        self.0.claim(partitions, tie)
    }

    fn open(&self, place: Place) -> Result<TextPart> {
        Ok(TextPart { file: self.0.part(place.partition, place.attempt)? })
    }

    fn finish(&self) -> Result<()> {
        self.0.finish()
    }

    fn abandon(&self) {
        self.0.abandon();
    }
}

impl<T: Display> DriverSink<T> for TextDirectory {
    fn text(&self, item: T, to: &mut String) {
        // Writing to memory cannot fail, and a `Display` that says it did has written what it could.
        let _ = writeln!(to, "{item}");
    }

    fn prepare(&mut self, partitions: u32) -> Result<()> {
        self.0.claim(partitions, &Tie::Bound).map(drop)
    }

    fn write(&self, partition: u32, text: &str) -> Result<()> {
        let mut part = self.0.part(partition, 0)?;
        part.write(text.as_bytes())?;
        part.commit().map(drop)
    }

    fn finish(&self) -> Result<()> {
        self.0.finish()
    }

    fn abandon(&self) {
        self.0.abandon();
    }
}

/// One part file being written.
pub struct TextPart {
    file: PartFile,
}

impl<T: Display> SinkWriter<T> for TextPart {
    fn write(&mut self, item: T) -> Result<()> {
        self.file.line(item)
    }

    fn commit(self) -> Result<()> {
        self.file.commit().map(drop)
    }
}

/// An item that can be written as a line of text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as a line of text",
    label = "the items have to have `Display`",
    note = "make lines of them first, such as tab-separated ones of pairs: \
            `.map(|(key, value)| format!(\"{{key}}\\t{{value}}\"))`"
)]
pub trait Line: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display> Line for T {}

/// The text sinks of a dataset.
pub trait SaveText {
    /// What is saved.
    type Item;

    /// Writes each item as a line, each partition into a file `part-00000` and so on of the directory `dir`, which
    /// is made and must be empty. A partition appears whole or not at all; `_SUCCESS` appears when all have. The names of
    /// parts sort as their numbers do: from 100,000 partitions on they have more digits.
    ///
    /// The directory is claimed for the job: until it is over, another job that saves there is told so.
    ///
    /// The path is one of the machines that tasks run on: on a cluster it has to be one that all of them and the driver
    /// share. [`to_driver`](Dataset::to_driver) before this writes on the driver's machine alone.
    ///
    /// # Errors
    /// Why the job failed; then no part stays, and no directory that was made for it.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let dir = scratch.path().join("numbers");
    /// cx.range(0..100).save_as_text_file(&dir)?;
    /// assert_eq!(cx.text_file(&dir).try_map(|line| Ok(line.parse::<u64>()?)).sum()?, 4950);
    /// # Ok::<(), Error>(())
    /// ```
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Result<()>
    where
        Self::Item: Line;
}

/// The text sinks of a dataset in the background.
pub trait SaveTextInBackground {
    /// What is saved.
    type Item;

    /// [`SaveText::save_as_text_file`] in the background. The output is complete when the job was waited for.
    ///
    /// # Errors
    /// If the plan has a mistake, or the directory cannot be written to.
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Result<Job<()>>
    where
        Self::Item: Line;
}

impl<P: Pipe> SaveText for Dataset<P> {
    type Item = P::Item;

    #[track_caller]
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Result<()>
    where
        P::Item: Line,
    {
        self.save(Op::here("save_as_text_file"), TextDirectory(OutputDir::new(dir)?))
    }
}

impl<P: Pipe> SaveText for ToDriver<'_, P> {
    type Item = P::Item;

    #[track_caller]
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Result<()>
    where
        P::Item: Line,
    {
        self.save(Op::here("save_as_text_file"), TextDirectory(OutputDir::new(dir)?))
    }
}

impl<P: Pipe> SaveTextInBackground for Background<'_, P> {
    type Item = P::Item;

    #[track_caller]
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Result<Job<()>>
    where
        P::Item: Line,
    {
        self.save(Op::here("save_as_text_file"), TextDirectory(OutputDir::new(dir)?))
    }
}
