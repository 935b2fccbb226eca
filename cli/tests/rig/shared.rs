//! How tasks and the test communicate: by files in a directory that all of them see.

use super::until;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The variable that names the directory, in drivers and in workers: variables that begin with `TRYWORKS_` reach tasks.
pub const DIRECTORY: &str = "TRYWORKS_TEST_DIRECTORY";

/// The directory, as the test sees it.
pub struct Shared(pub PathBuf);

/// A path in the directory, in a driver or in a task.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(DIRECTORY).expect("this is neither a driver nor a worker")).join(name)
}

/// Leaves a mark.
pub fn mark(name: impl std::fmt::Display) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Relaxed);
    fs::write(path(&format!("{name}.mark-{}-{number}", std::process::id())), b"").unwrap();
}

/// Takes a token, if there is one left.
pub fn claim(name: &str) -> bool {
    claim_in(&path(""), name)
}

fn claim_in(directory: &Path, name: &str) -> bool {
    let prefix = format!("{name}.token-");
    let tokens = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let mut ours = tokens.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix));
    ours.any(|token| fs::rename(&token, token.with_extension("taken")).is_ok())
}

/// Waits until the test opens a gate, or fails.
pub fn gate(name: &str) {
    let open = path(&format!("{name}.open"));
    until(&format!("gate {name} is open"), || open.exists().then_some(()));
}

impl Shared {
    /// Removes marks and tokens.
    pub fn clear(&self) {
        fs::read_dir(&self.0).unwrap().flatten().for_each(|entry| fs::remove_file(entry.path()).unwrap());
    }

    /// How many marks of this name there are.
    pub fn marks(&self, name: &str) -> usize {
        let prefix = format!("{name}.mark-");
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(&prefix)).count()
    }

    /// The processes that left marks of this name.
    pub fn markers(&self, name: &str) -> Vec<u32> {
        let prefix = format!("{name}.mark-");
        let names = fs::read_dir(&self.0).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let pids = names.filter_map(|name| name.strip_prefix(&prefix)?.split('-').next()?.parse().ok());
        pids.collect()
    }

    /// Waits until there are this many marks.
    #[track_caller]
    pub fn wait_for(&self, name: &str, marks: usize) {
        until(&format!("{marks} marks of {name}"), || (self.marks(name) >= marks).then_some(()));
    }

    /// Creates tokens.
    pub fn tokens(&self, name: &str, count: usize) {
        (0..count).for_each(|number| fs::write(self.0.join(format!("{name}.token-{number}")), b"").unwrap());
    }

    /// Whether every token of a name was taken.
    pub fn all_taken(&self, name: &str) -> bool {
        !claim_in(&self.0, name)
    }

    /// Opens a gate to all.
    pub fn open(&self, name: &str) {
        fs::write(self.0.join(format!("{name}.open")), b"").unwrap();
    }
}
