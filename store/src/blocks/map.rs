//! Files as memory: the one place of this crate that maps, and why nothing can change what is mapped.

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;

/// The first `len` bytes of a file that nobody writes to any more, which is to say of one of these two:
/// a sealed block, which this process has just opened for reading, or a [`Landing`](super::Landing) that has ended.
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
    // SAFETY: What is mapped must not change or get shorter while it is mapped. A block is written under another name
    // by a descriptor that is closed before the block is sealed by renaming it; no code opens a sealed block for
    // writing or makes it shorter, it is only unlinked, which leaves what is mapped as it is. The directory is closed
    // to other users (0700). A landing has no name, and its only descriptor is given up when it ends. The length was
    // checked by the caller against that of the open file, so there is no page beyond its end.
    unsafe { MmapOptions::new().len(len).map(file) }
}
