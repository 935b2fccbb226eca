//! Paths as users give them: made absolute where the call is made, or refused there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The absolute form of the path, from the present directory of the process. Else what is wrong with the path and what
/// to do; the text is to follow the path's name.
///
/// ```
/// use std::path::Path;
/// use tryworks_base::paths::whole;
/// assert_eq!(whole(Path::new("/data/out")).unwrap(), Path::new("/data/out"));
/// assert!(whole(Path::new("")).unwrap_err().starts_with("is empty"));
/// ```
///
/// # Errors
/// If it is no path at all, or is relative and the present directory is not known.
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
