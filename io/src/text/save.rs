//! Saves text: items as lines of part files in a directory.

use super::{Text, text};
use crate::places::{Directory, only_directory};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use tryworks_base::Result;
use tryworks_core::pipe::Pipe;
use tryworks_core::sink::{Buffer, Encoder, Format, OneFile, Sink};
use tryworks_core::task::TaskContext;
use tryworks_core::{Background, Dataset, Job, ToDriver};

/// Writes each item as a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Lines;

impl<T: Line> Format<T> for Lines {
    type Encoder = Lines;

    fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<Lines> {
        Ok(Lines)
    }
}

impl<T: Line> Encoder<T> for Lines {
    #[inline]
    fn write(&mut self, item: T, to: &mut Buffer) -> Result<()> {
        // Writing to memory cannot fail. A `Display` that returns an error has written what it could.
        let _ = writeln!(to.bytes(), "{item}");
        Ok(())
    }

    fn end(self, _: &mut Buffer) -> Result<()> {
        Ok(())
    }
}

impl<T: Line> Sink<T> for Text {
    type Layout = OneFile<Lines>;
    type Place = Directory;

    fn into_pair(self) -> Result<(OneFile<Lines>, Directory)> {
        let options =
            [("lossy", self.lossy), ("split_bytes", self.split_bytes.is_some()), ("from_driver", self.from_driver)];
        Ok((OneFile(Lines), only_directory(&self.paths, "lines", &options)?))
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

/// `save(text(dir))` by a name of its own.
pub trait SaveText {
    /// The items that are saved.
    type Item;
    /// The outcome: a result, or a job that has begun.
    type Saved;

    /// Writes each item as a line, and each partition into a file `part-00000` and so on of the directory `dir`. The
    /// job creates the directory, which must be empty if it exists. Same as `save(text(dir))`.
    ///
    /// # Errors
    /// Why the job failed. Then no part remains, and no directory that was created for it.
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
    #[track_caller]
    fn save_as_text_file(&self, dir: impl AsRef<Path>) -> Self::Saved
    where
        Self::Item: Line;
}

macro_rules! save_text {
    ($($dataset:ty => $saved:ty),*) => {$(
        impl<P: Pipe> SaveText for $dataset {
            type Item = P::Item;
            type Saved = $saved;

            #[track_caller]
            fn save_as_text_file(&self, dir: impl AsRef<Path>) -> $saved
            where
                P::Item: Line,
            {
                self.save(text(dir.as_ref()))
            }
        }
    )*};
}
save_text!(Dataset<P> => Result<()>, ToDriver<'_, P> => Result<()>, Background<'_, P> => Result<Job<()>>);
