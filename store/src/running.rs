//! What a worker runs in each slot, in a file that outlives the worker. If the worker dies, its engine reads there
//! which tasks to suspect.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tryworks_base::ids::AttemptId;

/// The file of a worker, in the directory of its engine.
pub fn path_of(directory: &Path, worker: u64) -> PathBuf {
    directory.join(format!("worker-{worker}.running"))
}

/// Records what each slot of a worker runs.
pub struct RunningFile(File);

impl RunningFile {
    /// Creates the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(RunningFile)
    }

    /// A slot begins to run an attempt. If that cannot be written, it is not worth a failure: the engine then suspects
    /// the attempts that it sent first.
    pub fn note(&self, slot: u64, attempt: AttemptId) {
        let _ = self.0.write_all_at(&attempt.0.to_le_bytes(), slot * 8);
    }
}

/// Reads what the slots of a worker ran last, and removes the file.
pub fn take(path: &Path) -> Vec<AttemptId> {
    let bytes = fs::read(path).unwrap_or_default();
    let _ = fs::remove_file(path);
    let (slots, _) = bytes.as_chunks::<8>();
    slots.iter().map(|slot| AttemptId(u64::from_le_bytes(*slot))).filter(|attempt| attempt.0 > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_what_it_ran_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path(), 3);
        let file = RunningFile::create(&path).unwrap();
        [(0, 5), (2, 7), (0, 9)].into_iter().for_each(|(slot, attempt)| file.note(slot, AttemptId(attempt)));
        assert_eq!(take(&path), [AttemptId(9), AttemptId(7)], "slot 1 has run nothing");
        assert!(take(&path).is_empty() && !path.exists());
    }
}
