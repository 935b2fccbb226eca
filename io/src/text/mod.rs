//! The text source: lines of plain, gzip and zstd files, in splits that follow from the bytes of the input alone.
//!
//! `files` lists what is to be read, by `patterns` where it is asked for by globs; `bytes` reads it, by `unpack` where it is
//! compressed; `cursor` cuts it into lines.

mod bytes;
mod cursor;
mod files;
mod patterns;
mod unpack;

pub use cursor::TextCursor;
pub use files::TextPath;

use files::{Format, Listed};
use serde::{Deserialize, Serialize};
use tryworks_base::{Error, Result};
use tryworks_core::runner::Runner;
use tryworks_core::source::Source;
use tryworks_core::task::Task;

/// The number of splits that an input is divided into, unless they would be too small or too large.
const SPLITS: u64 = 64;
const SMALLEST_SPLIT: u64 = 64 * 1024;
const LARGEST_SPLIT: u64 = 32 * 1024 * 1024;

/// How text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// What is not UTF-8 becomes U+FFFD, instead of being an error.
    pub lossy: bool,
    /// The bytes of a split, instead of what follows from the size of the input.
    pub split_bytes: Option<u64>,
    /// Only the driver's machine has the files: they are sent to engines on others.
    pub from_driver: bool,
}

/// The lines of text files. Each partition is a range of bytes of one file, and has the lines that begin in it.
///
/// Files compressed with gzip or zstd are known by their content. Each of them is one partition.
///
/// A file is not to change from when it was listed to when it was read: one that was written to meanwhile is an error.
///
/// ```
/// use tryworks_core::source::Source;
/// use tryworks_io::text::{TextFiles, TextOptions};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a.txt"), "x\n".repeat(50_000))?;
/// std::fs::write(dir.path().join("b.txt"), "")?;
/// let text = TextFiles::new(dir.path(), TextOptions::default())?;
/// assert_eq!(text.partitions(), 3);
/// assert!(TextFiles::new("no/such/file", TextOptions::default()).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextFiles {
    /// What was asked for, as it was asked for.
    shown: String,
    files: Vec<Listed>,
    /// The first partition of each file.
    firsts: Vec<u32>,
    partitions: u32,
    split: u64,
    lossy: bool,
}

impl TextFiles {
    /// Lists the files now: what is added to a directory later is not read.
    ///
    /// # Errors
    /// If a path does not exist, cannot be read, or stands for no file at all.
    pub fn new(path: impl Into<TextPath>, options: TextOptions) -> Result<Self> {
        let path = path.into();
        let files = files::list(&path)?;
        let total: u64 = files.iter().map(|file| file.bytes()).sum();
        let usual = (total / SPLITS).clamp(SMALLEST_SPLIT, LARGEST_SPLIT);
        let split = options.split_bytes.unwrap_or(usual);
        let too_many = || {
            let message = format!("splits of {split} bytes of {total} bytes of text are too many partitions");
            Error::input(&path, None, message)
        };
        let mut firsts = Vec::with_capacity(files.len());
        let mut partitions = 0u32;
        for file in &files {
            firsts.push(partitions);
            let splits = match file.format {
                Format::Plain => file.bytes().checked_div(split).map(|_| file.bytes().div_ceil(split).max(1)),
                Format::Gzip | Format::Zstd => Some(1),
            };
            let splits = splits.and_then(|splits| u32::try_from(splits).ok()).ok_or_else(too_many)?;
            partitions = partitions.checked_add(splits).ok_or_else(too_many)?;
        }
        Ok(TextFiles { shown: path.to_string(), files, firsts, partitions, split, lossy: options.lossy })
    }

    /// Has the files sent to where tasks are, for machines that do not see them.
    ///
    /// # Errors
    /// If one of them cannot be read, or cannot be sent.
    pub fn ship(mut self, runner: &dyn Runner) -> Result<Self> {
        self.files.iter_mut().try_for_each(|file| file.ship(runner))?;
        Ok(self)
    }

    /// A source with no partition: what stands in the plan for one that could not be listed.
    pub fn none(path: impl Into<TextPath>) -> Self {
        let shown = path.into().to_string();
        TextFiles { shown, files: Vec::new(), firsts: Vec::new(), partitions: 0, split: SMALLEST_SPLIT, lossy: false }
    }

    /// The bytes of all files together, as they are on the disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes()).sum()
    }
}

impl Source for TextFiles {
    type Item = String;
    type Cursor = TextCursor;

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn open(&self, partition: u32, task: &Task) -> Result<TextCursor> {
        let file = self.firsts.partition_point(|first| *first <= partition).saturating_sub(1);
        let (Some(listed), Some(first)) = (self.files.get(file), self.firsts.get(file)) else {
            return Err(Error::Bug(format!("partition {partition} of {} was asked for", self.describe())));
        };
        let start = u64::from(partition - first).saturating_mul(self.split);
        let split = start..start.saturating_add(self.split).min(listed.bytes());
        TextCursor::open(listed, split, self.lossy, task)
    }

    fn describe(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let files = if self.files.len() > 1 { format!("{}, ", count(self.files.len(), "file")) } else { String::new() };
        format!("{}, {files}{}", self.shown, count(self.partitions as usize, "split"))
    }
}
