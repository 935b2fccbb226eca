//! Splits: which bytes of which file form a partition. They depend on the bytes of the input alone.

use super::compression::Compression;
use super::list::{self, ListedFile};
use super::paths::Paths;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tryworks_base::{Error, Result};
use tryworks_core::runner::Runner;

/// The number of splits that an input is divided into, unless they would be too small or too large.
const SPLITS: u64 = 64;
const SMALLEST_SPLIT: u64 = 64 * 1024;
const LARGEST_SPLIT: u64 = 32 * 1024 * 1024;

/// How files are divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitOptions {
    /// Splits end only at multiples of this many bytes: the size of a record.
    pub(crate) unit: u64,
    /// The bytes of a split; `None` if they follow from the size of the input.
    pub(crate) split_bytes: Option<u64>,
    /// Whether files may be compressed. A compressed file becomes a single partition.
    pub(crate) packed: bool,
}

/// Files with the state that they had when they were listed, and how they are divided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Splits {
    /// What the program asked for, in its own words.
    shown: String,
    files: Vec<ListedFile>,
    /// The first partition of each file.
    firsts: Vec<u32>,
    partitions: u32,
    split: u64,
}

impl Splits {
    /// Lists the files now: files that are added to a directory later are not read.
    pub(crate) fn of(paths: &Paths, options: SplitOptions) -> Result<Self> {
        let files = list::list(paths, options.packed)?;
        let total: u64 = files.iter().map(|file| file.bytes()).sum();
        let usual = (total / SPLITS).clamp(SMALLEST_SPLIT, LARGEST_SPLIT);
        let split = options.split_bytes.unwrap_or(usual);
        let unit = options.unit.max(1);
        let split = split.div_ceil(unit).saturating_mul(unit);
        let too_many = || {
            let message = format!("splits of {split} bytes of {total} bytes are too many partitions");
            Error::input(paths, None, message)
        };
        let mut firsts = Vec::with_capacity(files.len());
        let mut partitions = 0u32;
        for file in &files {
            firsts.push(partitions);
            let splits = match file.compression {
                Compression::Plain => file.bytes().checked_div(split).map(|_| file.bytes().div_ceil(split).max(1)),
                Compression::Gzip | Compression::Zstd => Some(1),
            };
            let splits = splits.and_then(|splits| u32::try_from(splits).ok()).ok_or_else(too_many)?;
            partitions = partitions.checked_add(splits).ok_or_else(too_many)?;
        }
        Ok(Splits { shown: paths.to_string(), files, firsts, partitions, split })
    }

    /// No split: stands in the plan for files that could not be listed.
    pub(crate) fn none(paths: &Paths) -> Self {
        Splits { shown: paths.to_string(), files: Vec::new(), firsts: Vec::new(), partitions: 0, split: SMALLEST_SPLIT }
    }

    /// Has the files sent to tasks, for machines that do not see them.
    pub(crate) fn ship(&mut self, runner: &dyn Runner) -> Result<()> {
        self.files.iter_mut().try_for_each(|file| file.ship(runner))
    }

    /// The files, in the order in which they are read.
    pub(crate) fn files(&self) -> &[ListedFile] {
        &self.files
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The file of a partition, and which of its bytes. For a compressed file these are all of them.
    pub(crate) fn find(&self, partition: u32) -> Result<(&ListedFile, Range<u64>)> {
        let file = self.firsts.partition_point(|first| *first <= partition).saturating_sub(1);
        let (Some(listed), Some(first)) = (self.files.get(file), self.firsts.get(file)) else {
            return Err(Error::Bug(format!("partition {partition} of {} was asked for", self.describe())));
        };
        let start = u64::from(partition - first).saturating_mul(self.split);
        Ok((listed, start..start.saturating_add(self.split).min(listed.bytes())))
    }

    /// How a plan shows these files.
    pub(crate) fn describe(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let files = if self.files.len() > 1 { format!("{}, ", count(self.files.len(), "file")) } else { String::new() };
        format!("{}, {files}{}", self.shown, count(self.partitions as usize, "split"))
    }
}
