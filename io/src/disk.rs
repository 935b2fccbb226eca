//! What errors say about the disk that refused.

use std::io;
use std::path::Path;
use tryworks_core::Error;

/// The error of a write of `needed` bytes to one of the files of a kind in `dir`, of which `used` bytes are there.
pub(crate) fn refused(file: &str, dir: &Path, needed: u64, used: u64, error: &io::Error) -> Error {
    let mut refusal = Error::storage(format!("writing {file}"), dir, error);
    if let Error::Storage { message, .. } = &mut refusal {
        *message +=
            &format!("; {needed} bytes more were needed, {used} bytes of such files are in use there{}", free(dir));
    }
    refusal
}

/// How much is free where `dir` is, as the end of a sentence; empty if that cannot be told.
pub(crate) fn free(dir: &Path) -> String {
    match rustix::fs::statvfs(dir) {
        Ok(disk) => format!(", {} bytes of that disk are free", disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(_) => String::new(),
    }
}
