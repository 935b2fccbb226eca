//! A directory for the files of a run. It is removed when the run ends; that of a killed run is removed by the next
//! one.

use std::{fs, io, path::Path, path::PathBuf};

/// The prefix of the directories' names, before the process id.
const PREFIX: &str = "tryworks-bench-";

/// A directory of this process under the system's directory for temporary files.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates the directory, and removes those of processes that are gone.
    pub fn new() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        for entry in fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                // Another run may be removing it too, or it may belong to another user.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it, and `drop` cannot return an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}
