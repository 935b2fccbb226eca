//! Paths as users give them: made whole where the call is made, or refused there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The path as it is from where the process is now, or what is wrong with it and what to do, to be said after its name.
///
/// ```
/// use std::path::Path;
/// use tryworks_base::paths::whole;
/// assert_eq!(whole(Path::new("/data/out")).unwrap(), Path::new("/data/out"));
/// assert!(whole(Path::new("")).unwrap_err().starts_with("is empty"));
/// ```
///
/// # Errors
/// If it is no path at all, or is relative and nobody knows to what.
pub fn whole(path: &Path) -> Result<PathBuf, String> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err("is empty, which is no path; give one, such as `out`, or `.` for the current directory".into());
    }
    if bytes.contains(&0) {
        return Err(format!("is {path:?}, which has a zero byte, and no path can have one; leave it out"));
    }
    std::path::absolute(path).map_err(|error| {
        format!("is `{}`, which is relative, and the current directory is not known: {error}", path.display())
    })
}
