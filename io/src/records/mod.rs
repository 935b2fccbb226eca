//! Records: files of rows that all have the same number of bytes.
//!
//! `cursor` cuts the bytes of files into records; `save` writes them.

mod cursor;
mod save;

pub use cursor::RecordCursor;
pub use save::RecordBytes;

use crate::files::{Paths, SplitOptions, Splits};
use crate::input::Input;
use serde::{Deserialize, Serialize};
use tryworks_base::{Error, Result};
use tryworks_core::Record;
use tryworks_core::runner::Runner;
use tryworks_core::source::Source;
use tryworks_core::task::TaskContext;

/// Files of records of `N` bytes each to [`read`](crate::Sources::read), or a directory of them to
/// [`save`](tryworks_core::Dataset::save) to. Records follow one another without separators.
///
/// Files are read as they are. Any bytes may be a record, so no file is taken for a compressed one.
///
/// ```
/// # use tryworks::prelude::*;
/// # let cx = Context::local(2)?;
/// # let scratch = tempfile::tempdir().unwrap();
/// # let (path, dir) = (scratch.path().join("in"), scratch.path().join("out"));
/// std::fs::write(&path, b"c1a2b3").unwrap();
/// cx.read(records::<2>(&path)).sort_by(|record| *record).save(records(&dir))?;
/// assert_eq!(cx.read(records::<3>(&dir)).collect()?, [*b"a2b", *b"3c1"].map(Record));
/// # Ok::<(), Error>(())
/// ```
pub fn records<const N: usize>(paths: impl Into<Paths>) -> Records<N> {
    const { assert!(N > 0, "a record has at least one byte: call `records::<N>` with an `N` of 1 or more") }
    Records { paths: paths.into(), split_bytes: None, from_driver: false }
}

/// The value of [`records`]: files of records and how to read them, or a directory to save records to.
#[derive(Clone, Debug)]
pub struct Records<const N: usize> {
    paths: Paths,
    split_bytes: Option<u64>,
    from_driver: bool,
}

impl<const N: usize> Records<N> {
    /// The bytes of a split, instead of a number that follows from the size of the input. Splits are rounded up to
    /// whole records.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("in");
    /// std::fs::write(&path, [0; 120]).unwrap();
    /// assert_eq!(cx.read(records::<10>(&path).split_bytes(31)).partitions(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn split_bytes(self, bytes: u64) -> Self {
        Records { split_bytes: Some(bytes), ..self }
    }

    /// For files that exist only on the driver's machine: as for [`text`](crate::text::Text::from_driver).
    #[must_use]
    pub fn from_driver(self) -> Self {
        Records { from_driver: true, ..self }
    }
}

impl<const N: usize> Input for Records<N> {
    type Source = RecordFiles<N>;

    const NAME: &'static str = "records";

    fn list(&self, runner: &dyn Runner) -> Result<RecordFiles<N>> {
        let mut files = RecordFiles::of(self)?;
        if self.from_driver {
            files.splits.ship(runner)?;
        }
        Ok(files)
    }

    fn none(&self) -> RecordFiles<N> {
        RecordFiles { splits: Splits::none(&self.paths) }
    }
}

/// The records of files. Each partition is a range of whole records of one file.
///
/// A file must not change between being listed and being read: an action that finds a change fails.
///
/// ```
/// use tryworks_core::source::Source;
/// use tryworks_io::records::{RecordFiles, records};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a"), vec![7; 100_000])?;
/// assert_eq!(RecordFiles::of(&records::<100>(dir.path()))?.partitions(), 2);
/// std::fs::write(dir.path().join("a"), vec![7; 100_005])?;
/// let error = RecordFiles::of(&records::<100>(dir.path())).unwrap_err();
/// assert!(error.to_string().contains("1000 records of 100 bytes and 5 bytes more"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordFiles<const N: usize> {
    splits: Splits,
}

impl<const N: usize> RecordFiles<N> {
    /// Lists the files now: files that are added to a directory later are not read.
    ///
    /// # Errors
    /// If a path does not exist, cannot be read, or stands for no file at all; or if a file ends inside a record.
    pub fn of(records: &Records<N>) -> Result<Self> {
        let unit = N as u64;
        let splits =
            Splits::of(&records.paths, SplitOptions { unit, split_bytes: records.split_bytes, packed: false })?;
        for file in splits.files() {
            let (whole, more) = (file.bytes() / unit, file.bytes() % unit);
            if more > 0 {
                let message = format!(
                    "the file has {whole} records of {N} bytes and {more} bytes more; is it whole, and are its records of \
                     {N} bytes?"
                );
                return Err(Error::input(file.path().display(), Some(file.bytes() - more), message));
            }
        }
        Ok(RecordFiles { splits })
    }
}

impl<const N: usize> Source for RecordFiles<N> {
    type Item = Record<N>;
    type Cursor = RecordCursor<N>;

    fn partitions(&self) -> u32 {
        self.splits.partitions()
    }

    fn open(&self, partition: u32, task: &TaskContext) -> Result<RecordCursor<N>> {
        let (file, split) = self.splits.find(partition)?;
        RecordCursor::open(file, split, task)
    }

    fn describe(&self) -> String {
        format!("{}, of {N} bytes", self.splits.describe())
    }
}
