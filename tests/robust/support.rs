//! Shared by these tests: contexts that spill to a directory of their own, which must stay empty.

use std::path::Path;
use tempfile::TempDir;
use tryworks::prelude::*;

/// A context that spills to a directory of its own.
pub struct Place {
    pub cx: Context,
    pub dir: TempDir,
}

impl Place {
    pub fn new(threads: usize, memory: u64) -> Self {
        Place::with(threads, memory, |builder| builder)
    }

    pub fn with(threads: usize, memory: u64, more: impl FnOnce(tryworks::Builder) -> tryworks::Builder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let builder = Context::builder().threads(threads).memory(memory).spill_dir(dir.path()).progress(false);
        Place { cx: more(builder).build().unwrap(), dir }
    }

    /// Checks that nothing is held that no dataset holds. Call it when all datasets have been dropped.
    pub fn is_clean(&self) {
        let (used, spilled, blocks) = (self.cx.memory().used(), self.cx.spill_bytes(), self.cx.blocks());
        assert_eq!((used, spilled, blocks), (0, 0, 0), "memory used, bytes of spill files, blocks");
        assert_eq!(names(self.dir.path()), [""; 0], "a spill file has a name");
    }

    /// [`is_clean`](Place::is_clean) after a job that failed or was cancelled, whose tasks end at their next batch.
    pub fn settles(&self) {
        self.until(|| self.cx.memory().used() == 0 && self.cx.spill_bytes() == 0 && self.cx.blocks() == 0);
        self.is_clean();
    }

    /// Waits until a condition holds, and fails if it never does.
    #[track_caller]
    pub fn until(&self, holds: impl Fn() -> bool) {
        let (used, spilled, blocks) = (self.cx.memory().used(), self.cx.spill_bytes(), self.cx.blocks());
        wait_until(&format!("from {used} bytes of memory, {spilled} of spill files, {blocks} blocks"), holds);
    }
}

/// The names in a directory, in order.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string()).collect();
    names.sort();
    names
}

/// More than any test needs.
pub const AMPLE: u64 = 1 << 30;

pub use tryworks_testing::{SmallDisk, fraction, mix, wait_until};
