//! How a directory that a job saves to is recognised, by jobs that read it and by jobs that save.

use std::fs;
use std::path::Path;

/// The name of the file that says that all parts are complete.
pub const SUCCESS: &str = "_SUCCESS";

/// The name of the file by which a job claims the directory.
pub(crate) const CLAIM: &str = ".saving";

/// Whether a job has claimed the directory and has not ended yet.
pub(crate) fn is_half_saved(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(CLAIM)).is_ok() && !dir.join(SUCCESS).exists()
}
