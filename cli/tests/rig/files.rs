//! The files below a directory that a running cluster writes in.

use std::fs;
use std::path::{Path, PathBuf};

/// All files and directories below a directory. If one is removed in the meantime, it and its contents may be missing.
pub fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// Whether a file is a copy of a program: these are large, and contain all texts of the program.
pub fn is_program(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == "programs")
}
