//! Text: reads lines of plain, gzip and zstd files, and writes lines.
//!
//! `cursor` cuts the bytes of files into lines.

mod cursor;
mod save;

pub use cursor::TextCursor;
pub use save::{Line, Lines, SaveText};

use crate::files::{Paths, SplitOptions, Splits};
use crate::input::Input;
use serde::{Deserialize, Serialize};
use tryworks_base::Result;
use tryworks_core::runner::Runner;
use tryworks_core::source::Source;
use tryworks_core::task::TaskContext;

/// Files of text to [`read`](crate::Sources::read), or a directory of them to [`save`](tryworks_core::Dataset::save) to.
///
/// ```
/// # use tryworks::prelude::*;
/// # let cx = Context::local(2)?;
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path().join("notes.txt");
/// std::fs::write(&path, b"caf\xe9\n").unwrap();
/// assert!(cx.read(text(&path)).collect().is_err(), "this is not UTF-8");
/// assert_eq!(cx.read(text(&path).lossy()).collect()?, ["caf\u{fffd}"]);
/// # Ok::<(), Error>(())
/// ```
pub fn text(paths: impl Into<Paths>) -> Text {
    Text { paths: paths.into(), lossy: false, split_bytes: None, from_driver: false }
}

/// The value of [`text`]: files of text and how to read them, or a directory to save text to.
///
/// Saving writes a line for each item, and a file `part-00000` and so on for each partition. It creates the directory,
/// which must be empty if it exists. A partition appears complete or not at all; `_SUCCESS` appears when all have. The
/// names of parts sort as their numbers do: from 100,000 partitions on they have more digits.
///
/// The job claims the directory: until it is over, another job that saves there fails with an error. The path is one of
/// the machines that tasks run on. On a cluster, all of them and the driver must share it.
/// [`to_driver`](tryworks_core::Dataset::to_driver) writes on the driver's machine alone.
#[derive(Clone, Debug)]
pub struct Text {
    paths: Paths,
    lossy: bool,
    split_bytes: Option<u64>,
    from_driver: bool,
}

impl Text {
    /// Bytes that are not UTF-8 become U+FFFD, instead of causing an error.
    #[must_use]
    pub fn lossy(self) -> Self {
        Text { lossy: true, ..self }
    }

    /// The bytes of a split, instead of a number that follows from the size of the input.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("notes.txt");
    /// std::fs::write(&path, "call\nme\nIshmael\n").unwrap();
    /// assert_eq!(cx.read(text(&path).split_bytes(4)).partitions(), 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn split_bytes(self, bytes: u64) -> Self {
        Text { split_bytes: Some(bytes), ..self }
    }

    /// For files that exist only on the driver's machine. Each engine on another machine gets whole copies of the files
    /// of which it reads a part. It has them until the driver's session ends. If tasks run on the driver's machine,
    /// nothing is copied.
    ///
    /// The call that reads the files sends them, so this is for input that is small enough to travel.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("notes.txt");
    /// # std::fs::write(&path, "call\nme\n").unwrap();
    /// assert_eq!(cx.read(text(&path).from_driver()).count()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn from_driver(self) -> Self {
        Text { from_driver: true, ..self }
    }
}

impl Input for Text {
    type Source = TextFiles;

    const NAME: &'static str = "text";

    fn list(&self, runner: &dyn Runner) -> Result<TextFiles> {
        let mut files = TextFiles::of(self)?;
        if self.from_driver {
            files.splits.ship(runner)?;
        }
        Ok(files)
    }

    fn none(&self) -> TextFiles {
        TextFiles { splits: Splits::none(&self.paths), lossy: self.lossy }
    }
}

/// The lines of text files. Each partition is a range of bytes of one file, and has the lines that begin in that range.
///
/// Files compressed with gzip or zstd are recognised by their content. Each of them is one partition.
///
/// A file must not change between being listed and being read: an action that finds a change fails.
///
/// ```
/// use tryworks_core::source::Source;
/// use tryworks_io::text::{TextFiles, text};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a.txt"), "x\n".repeat(50_000))?;
/// std::fs::write(dir.path().join("b.txt"), "")?;
/// assert_eq!(TextFiles::of(&text(dir.path()))?.partitions(), 3);
/// assert!(TextFiles::of(&text("no/such/file")).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextFiles {
    splits: Splits,
    lossy: bool,
}

impl TextFiles {
    /// Lists the files now: files that are added to a directory later are not read.
    ///
    /// # Errors
    /// If a path does not exist, cannot be read, or stands for no file at all.
    pub fn of(text: &Text) -> Result<Self> {
        let options = SplitOptions { unit: 1, split_bytes: text.split_bytes, packed: true };
        Ok(TextFiles { splits: Splits::of(&text.paths, options)?, lossy: text.lossy })
    }
}

impl Source for TextFiles {
    type Item = String;
    type Cursor = TextCursor;

    fn partitions(&self) -> u32 {
        self.splits.partitions()
    }

    fn open(&self, partition: u32, task: &TaskContext) -> Result<TextCursor> {
        let (file, split) = self.splits.find(partition)?;
        TextCursor::open(file, split, self.lossy, task)
    }

    fn describe(&self) -> String {
        self.splits.describe()
    }
}
