//! Where items go: a format turns items into bytes, and a place turns bytes into files. A sink is a pair of the two.
//!
//! ```text
//! items of a partition -> FileLayout -> Format -> Buffer -> Part of a Place -> receipt -> Place on the driver
//! ```
//!
//! A [`Format`] makes the bytes of a file, and does not know where they go. A [`Place`] keeps files, and does not know
//! what is in them. Between them, a [`FileLayout`] decides which items go to which file. Usually a partition is
//! [`OneFile`].

mod driver;
mod files;
mod layout;

pub(crate) use driver::AtDriver;
pub use files::{Buffer, FileWriter, Files};
pub use layout::{FileLayout, LayoutWriter, OneFile, OneFileWriter};

use crate::task::TaskContext;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tryworks_base::{Op, Result};

/// How items become the bytes of a file: lines of text, rows of a table with a header, column chunks with a footer.
///
/// A format is a serde value, because it is sent to the tasks. The bytes must depend on the items alone, so that every
/// attempt at a partition writes the same file.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tryworks::places::Directory;
/// use tryworks::prelude::*;
/// use tryworks::sink::{Buffer, Encoder, Format};
/// use tryworks::task::TaskContext;
///
/// /// Numbers of eight bytes each, and then their count.
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

    /// Begins a file, in a task. If an encoder holds more than a few kilobytes, it must reserve them from the memory of
    /// the task's host. It must use [`insist`](tryworks_base::memory::Reservation::insist), because what is written
    /// must not depend on free memory.
    ///
    /// # Errors
    /// If the file cannot begin like this.
    fn begin(&self, task: &TaskContext, to: &mut Buffer) -> Result<Self::Encoder>;

    /// The end of its files' names, such as `.csv`.
    fn extension(&self) -> &str {
        ""
    }
}

/// One file while its items are encoded.
pub trait Encoder<T>: Send {
    /// Adds an item. The encoder may write its bytes later, with those of other items.
    ///
    /// # Errors
    /// If this format cannot represent the item.
    fn write(&mut self, item: T, to: &mut Buffer) -> Result<()>;

    /// Writes the bytes that are left, and the end of the file.
    ///
    /// # Errors
    /// If the file cannot end like this.
    fn end(self, to: &mut Buffer) -> Result<()>;
}

/// Where files go: a directory, an object store, ranges of one large file.
///
/// **A partition must appear whole or not at all, and only once.** Several attempts at a partition may write at the
/// same time, each to its own [`Part`]. The driver gets the [receipts](Part::Receipt) of one attempt and
/// [accepts](Place::accept) them. What other attempts wrote must never be visible.
///
/// A place is a serde value, because it is sent to the tasks. A field that only the driver needs may have
/// `#[serde(skip)]`.
pub trait Place: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// A file that is being written.
    type Part: Part;

    /// What the place is, for people: a path, the name of a bucket. Two saves under one name are one job only if this and the
    /// bytes of the value are the same.
    fn title(&self) -> String {
        std::any::type_name::<Self>().into()
    }

    /// Called on the driver before anything runs. Tasks get the place as this call has changed it. Returns whether the
    /// job is new: an earlier run of the program may have prepared a job that goes on without it, see [`Saver`].
    ///
    /// # Errors
    /// If the place cannot be written to, or another job writes to it.
    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool>;

    /// Begins a file, for one attempt at a partition.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn open(&self, name: FileName, attempt: u64) -> Result<Self::Part>;

    /// Called on the driver once for each partition, with its files, when its task is done.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn accept(&mut self, partition: u32, files: Vec<Receipt<Self>>) -> Result<()>;

    /// Called on the driver when all partitions were accepted.
    ///
    /// # Errors
    /// If the place cannot be written to.
    fn finish(&mut self) -> Result<()>;

    /// Whether another driver of a detached job has finished the place. Is asked when this one's way to the job came to nothing:
    /// what it waited for may be there all the same.
    fn is_finished(&self) -> bool {
        false
    }

    /// Called on the driver when the job failed or was given up: removes what was written.
    fn abandon(&mut self);
}

/// What a place returns for a committed file.
pub type Receipt<P> = <<P as Place>::Part as Part>::Receipt;

/// A file that is being written. Dropping it without a commit must leave nothing behind.
pub trait Part: Send {
    /// What the driver needs to know about the file: nothing, a name, the numbers of uploaded pieces. It travels with
    /// the result of the task. The driver accepts the receipts of one attempt at a partition only.
    type Receipt: Serialize + DeserializeOwned + Send + 'static;

    /// Appends bytes, usually about 256 KiB at a time.
    ///
    /// # Errors
    /// The error of the file system or the store.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The bytes that it holds in memory. They count against the budget.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// Hands the file over to the place. The file may become visible now if it is the only one of its partition.
    ///
    /// # Errors
    /// The error of the file system or the store. Then the file must not have become visible.
    fn commit(self) -> Result<Self::Receipt>;
}

/// The job that a place is prepared for.
#[derive(Clone, Copy, Debug)]
pub struct SaveRequest<'a> {
    /// The call that saves.
    pub op: Op,
    /// The number of partitions.
    pub partitions: u32,
    /// Whether a partition may be several files, or none.
    pub several_files: bool,
    /// What the names of files end in, such as `.csv`.
    pub extension: &'a str,
    /// Which job saves.
    pub saver: Saver<'a>,
    /// Whether two attempts at a partition write the same bytes. If not, a place must not let them write to the same
    /// range of a file.
    pub is_deterministic: bool,
}

/// The job that a place is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saver<'a> {
    /// It ends with this program.
    Bound,
    /// It is detached, and begins when the place is prepared.
    New {
        /// What tells its files from those of every other job.
        token: &'a str,
        /// Its name. No job of this name is in the cluster: what one has left behind is over.
        name: &'a str,
        /// The cluster.
        cluster: &'a str,
    },
    /// It is detached, and this or another program has prepared the place for it.
    Known {
        /// The token that it was prepared with.
        token: &'a str,
    },
}

/// Identifies a file of a save.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileName {
    /// The partition that it belongs to.
    pub partition: u32,
    /// Its number among the files of the partition. No two files have the same one.
    pub number: u32,
    /// The subdirectory of the output, such as `year=1851/month=10`; usually none.
    pub directory: String,
}

/// What a dataset is [saved](crate::Dataset::save) to: a pair of a format and a place, or a value that stands for one,
/// such as `text(path)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no sink for items of type `{T}`",
    label = "a sink is a pair of a `Format` for the items and a `Place`, or what a function such as `text` makes"
)]
pub trait Sink<T> {
    /// Decides which items go to which file, and in which format.
    type Layout: FileLayout<T>;
    /// Where the files go.
    type Place: Place;

    /// The layout and the place. Relative paths start from the current directory of the process.
    ///
    /// # Errors
    /// If a path is wrong, or an option has no meaning for a sink.
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
