//! What these tests share: contexts of every kind, numbers that look random, and a directory that must stay empty.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
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

    /// Nothing is held that no dataset holds: to be asked when all datasets are dropped.
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

    /// Waits until something holds, and fails if it never does.
    #[track_caller]
    pub fn until(&self, holds: impl Fn() -> bool) {
        let (used, spilled, blocks) = (self.cx.memory().used(), self.cx.spill_bytes(), self.cx.blocks());
        if !waited(holds) {
            panic!("it never came: memory used {used}, bytes of spill files {spilled}, blocks {blocks}");
        }
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

/// Runs `job` on 1, 2 and 7 threads, each with ample memory and with `tight` bytes, and requires one answer, and that
/// the tight ones spilled and the others did not.
pub fn every_way<R: PartialEq + Debug>(tight: u64, job: impl Fn(&Context) -> Result<R>) -> R {
    let mut first = None;
    for (threads, memory) in [1, 2, 7].into_iter().flat_map(|threads| [(threads, AMPLE), (threads, tight)]) {
        let place = Place::new(threads, memory);
        let answer = job(&place.cx).unwrap();
        let spilled = place.cx.memory().spilled();
        assert_eq!(spilled > 0, memory == tight, "{threads} threads, {memory} bytes: {spilled} bytes were spilled");
        match &first {
            None => first = Some(answer),
            Some(first) => assert!(answer == *first, "{threads} threads with {memory} bytes give another answer"),
        }
        place.is_clean();
    }
    first.unwrap()
}

pub use crate::pipelines::{fraction, mix};

/// What partition `index` of `partitions` of a range from 0 to `rows` holds.
pub fn slice(rows: u64, partitions: u64, index: u64) -> std::ops::Range<u64> {
    rows * index / partitions..rows * (index + 1) / partitions
}

/// Waits until something holds, and fails if it never does.
#[track_caller]
pub fn until(holds: impl Fn() -> bool) {
    assert!(waited(holds), "it never came");
}

fn waited(holds: impl Fn() -> bool) -> bool {
    (0..60_000).any(|_| {
        let holds = holds();
        if !holds {
            std::thread::sleep(Duration::from_millis(1));
        }
        holds
    })
}

/// A small file system in memory; unmounted when dropped.
pub struct SmallDisk(pub PathBuf);

fn quiet(command: &str, arguments: &[&str], dir: &Path) -> bool {
    let mut command = Command::new(command);
    command.args(arguments).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl SmallDisk {
    /// `None` where this user may not mount one.
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap().keep();
        if quiet("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tryworks-test"], &dir) {
            return Some(SmallDisk(dir));
        }
        eprintln!("skipped: a file system cannot be mounted here");
        std::fs::remove_dir(dir).unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        quiet("umount", &["-l"], &self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}
