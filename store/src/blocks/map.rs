//! Maps files into memory: the one place of this crate that does so, and why a mapped file cannot change.

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;

/// The first `len` bytes of a file that no process writes to any more. It is one of two: a sealed block, which this
/// process has just opened for reading, or a [`Landing`](super::Landing) that has ended.
pub(super) fn map(file: &File, len: u64) -> io::Result<Bytes> {
    let found = file.metadata()?.len();
    if found < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it has {found} bytes where {len} were expected"),
        ));
    }
    if len == 0 {
        return Ok(Bytes::new());
    }
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    Ok(Bytes::from_owner(read_only(file, len)?))
}

#[allow(unsafe_code)]
fn read_only(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: A file must not change or get shorter while it is mapped. A block is written under another name, by a
    // descriptor that is closed before the block is sealed by renaming it. No code opens a sealed block for writing or
    // makes it shorter; it is only unlinked, which leaves the mapping as it is. The directory is closed to other users
    // (0700). A landing has no name, and its only descriptor is closed when it ends. The caller checked the length
    // against that of the open file, so there is no page beyond its end.
    unsafe { MmapOptions::new().len(len).map(file) }
}
