//! Where items go: formats make bytes of items, and places make files of bytes. A sink is a pair of them.
//!
//! ```text
//! items of a partition -> FileLayout -> Format -> Buffer -> Part of a Place -> receipt -> Place on the driver
//! ```
//!
//! A [`Format`] says what the bytes of a file are, and knows nothing of where they go. A [`Place`] keeps files, and
//! knows nothing of what is in them. Between them a [`FileLayout`] says which items go to which file; mostly a
//! partition is [`OneFile`].

mod driver;
mod files;
mod layout;

pub(crate) use driver::AtDriver;
pub use files::{Buffer, FileWriter, Files};
pub use layout::{FileLayout, LayoutWriter, OneFile, OneFileWriter};

use crate::runner::Tie;
use crate::task::TaskContext;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tryworks_base::{Op, Result};

/// How items become the bytes of a file: lines of text, rows of a table with a header, column chunks with a footer.
///
/// A format is a serde value, because it is sent to where it is used.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tryworks::places::Directory;
/// use tryworks::prelude::*;
/// use tryworks::sink::{Buffer, Encoder, Format};
/// use tryworks::task::TaskContext;
///
/// /// Numbers of eight bytes each, and behind them how many there are.
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Numbers;
///
/// impl Format<u64> for Numbers {
///     type Encoder = Count;
///
///     fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<Count> {
///         Ok(Count(0))
///     }
/// }
///
/// struct Count(u64);
///
/// impl Encoder<u64> for Count {
///     fn write(&mut self, number: u64, to: &mut Buffer) -> Result<()> {
///         self.0 += 1;
///         to.bytes().extend_from_slice(&number.to_le_bytes());
///         Ok(())
///     }
///
///     fn end(self, to: &mut Buffer) -> Result<()> {
///         to.bytes().extend_from_slice(&self.0.to_le_bytes());
///         Ok(())
///     }
/// }
///
/// # let cx = Context::local(2)?;
/// # let scratch = tempfile::tempdir().unwrap();
/// let dir = scratch.path().join("numbers");
/// cx.range_in(5..8, 1).save((Numbers, Directory::new(&dir)?))?;
/// let bytes = [5u64, 6, 7, 3].map(u64::to_le_bytes).concat();
/// assert_eq!(std::fs::read(dir.join("part-00000")).unwrap(), bytes);
/// # Ok::<(), Error>(())
/// ```
pub trait Format<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// One file while its items are encoded.
    type Encoder: Encoder<T>;

    /// Begins a file, in a task. What an encoder holds beyond a few kilobytes it reserves from the memory of the task's
    /// host, by [`insist`](tryworks_base::memory::Reservation::insist): what is written must not depend on memory.
    ///
    /// # Errors
    /// If the file cannot begin so.
    fn begin(&self, task: &TaskContext, to: &mut Buffer) -> Result<Self::Encoder>;

    /// What the names of its files end in, such as `.csv`.
    fn extension(&self) -> &str {
        ""
    }
}

/// One file while its items are encoded.
pub trait Encoder<T>: Send {
    /// Adds an item. Its bytes may come later, with those of other items.
    ///
    /// # Errors
    /// If the item has no form in this format.
    fn write(&mut self, item: T, to: &mut Buffer) -> Result<()>;

    /// Adds what is left, and what belongs at the end of a file.
    ///
    /// # Errors
    /// If the file cannot end so.
    fn end(self, to: &mut Buffer) -> Result<()>;
}

/// Where files go: a directory, an object store, ranges of one large file.
///
/// **A partition appears whole or not at all, once.** Several attempts at a partition may write at the same time, each
/// to a [`Part`] of its own; the [receipts](Part::Receipt) of one of them come to the driver, which
/// [accepts](Place::accept) them. What other attempts wrote must never be seen.
///
/// A place is a serde value, because it is sent to where it is written to. What only the driver needs of it may be a
/// field with `#[serde(skip)]`.
pub trait Place: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// A file being written.
    type Part: Part;

    /// Is called on the driver before anything runs. What it changes goes to the tasks. A job that goes on without the
    /// program may have been prepared before, by a run of the program that has ended. Tells whether it was not.
    ///
    /// # Errors
    /// If the place cannot be written to, or another job writes to it.
    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool>;

    /// Begins a file, for one attempt at a partition.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn open(&self, name: FileName, attempt: u64) -> Result<Self::Part>;

    /// Is called on the driver for each partition once, as its task is done: these are its files.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn accept(&mut self, partition: u32, files: Vec<Receipt<Self>>) -> Result<()>;

    /// Is called on the driver when all partitions were accepted.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn finish(&mut self) -> Result<()>;

    /// Is called on the driver when the job failed or was given up: takes back what was written.
    fn abandon(&mut self);
}

/// What a place gives for a file that was committed.
pub type Receipt<P> = <<P as Place>::Part as Part>::Receipt;

/// A file being written. Dropped without a commit, it leaves nothing behind.
pub trait Part: Send {
    /// What the driver has to know of the file: nothing, a name, the numbers of uploaded pieces. It travels with the
    /// result of the task, and only that of one attempt at a partition is accepted.
    type Receipt: Serialize + DeserializeOwned + Send + 'static;

    /// Appends bytes, mostly about 256 KiB at a time.
    ///
    /// # Errors
    /// What the file system or the store said.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The bytes that it holds in memory, which are counted against the budget.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// Gives the file into the keeping of the place. It may appear now if it is all of its partition.
    ///
    /// # Errors
    /// What the file system or the store said; the file has not appeared then.
    fn commit(self) -> Result<Self::Receipt>;
}

/// What a place is prepared for.
#[derive(Clone, Copy, Debug)]
pub struct SaveRequest<'a> {
    /// The call that saves.
    pub op: Op,
    /// How many partitions there will be.
    pub partitions: u32,
    /// Whether a partition may be several files, or none.
    pub several_files: bool,
    /// What the names of files end in, such as `.csv`.
    pub extension: &'a str,
    /// Whether the job goes on without the program.
    pub tie: &'a Tie,
    /// Whether two attempts at a partition write the same bytes. Where they do not, a place cannot have them write to
    /// the same bytes of a file.
    pub is_deterministic: bool,
}

/// Which file of a save it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileName {
    /// The partition that it is of.
    pub partition: u32,
    /// Which of the files of that partition: no two have the same number.
    pub number: u32,
    /// The directory below that of the output, such as `year=1851/month=10`; mostly none.
    pub directory: String,
}

/// What a dataset is [saved](crate::Dataset::save) to: a format and a place, as a pair or as what stands for one, such
/// as `text(path)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no sink for items of type `{T}`",
    label = "a sink is a pair of a `Format` for the items and a `Place`, or what a function such as `text` makes"
)]
pub trait Sink<T> {
    /// Which items go to which file, and in which format.
    type Layout: FileLayout<T>;
    /// Where the files go.
    type Place: Place;

    /// The two. Relative paths are those of where the process is now.
    ///
    /// # Errors
    /// If a path is none, or an option has no meaning for a sink.
    #[track_caller]
    fn into_pair(self) -> Result<(Self::Layout, Self::Place)>;
}

impl<T, F: Format<T>, P: Place> Sink<T> for (F, P) {
    type Layout = OneFile<F>;
    type Place = P;

    fn into_pair(self) -> Result<(OneFile<F>, P)> {
        Ok((OneFile(self.0), self.1))
    }
}
