//! What errors say about a disk that refused.

use crate::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The error of a write of `needed` bytes to `path`. Where the disk is full, it names the file system by a path on it.
/// It also says how much was needed there, if that is known, and how much is free.
pub fn storage(doing: &str, path: &Path, needed: u64, error: &io::Error) -> Error {
    let mut refusal = Error::storage(doing, path, error);
    if let Error::Storage { message, .. } = &mut refusal
        && is_full(error)
    {
        let more = if needed > 0 { format!("; {needed} bytes more were needed") } else { String::new() };
        *message += &(more + &free(path));
    }
    refusal
}

/// Whether the disk had no space for the bytes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The error of a write of `needed` bytes to one of the files of a kind in `dir`, of which `used` bytes are there.
pub fn refused(file: &str, dir: &Path, needed: u64, used: u64, error: &io::Error) -> Error {
    let mut refusal = Error::storage(format!("writing {file}"), dir, error);
    if let Error::Storage { message, .. } = &mut refusal {
        *message +=
            &format!("; {needed} bytes more were needed, {used} bytes of these files are in use there{}", free(dir));
    }
    refusal
}

/// How much is free where `path` is or will be, as the end of a sentence; empty if that is not known.
pub fn free(path: &Path) -> String {
    let Some(disk) = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok()) else { return String::new() };
    let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    match (disk.f_files, disk.f_favail) {
        // Some file systems have no such number.
        (1.., 0) => format!(", {bytes} bytes of that disk are free, but it cannot hold one more file"),
        _ => format!(", {bytes} bytes of that disk are free"),
    }
}
