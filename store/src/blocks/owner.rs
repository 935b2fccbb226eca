//! The directory of a store: it has one owner at a time, is closed to other users, and is swept when its owner is dead.
//!
//! The blocks are in a directory inside it, which each owner creates under a new name. Workers of a killed owner may
//! write for a moment longer. They then write to the old directory, which no process reads, or fail once it is removed.

use super::id::{BlockKey, is_name};
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::{Error, Result};

/// The file in the directory that the owner keeps locked. It also marks the directory as one of Tryworks's.
const LOCK: &str = "tryworks-blocks.lock";

/// A directory that this process owns until the value is dropped.
pub(super) struct OwnedDir {
    path: PathBuf,
    blocks: PathBuf,
    /// Directories with the blocks of dead owners.
    pub(super) left: Vec<PathBuf>,
    _lock: File,
}

impl OwnedDir {
    /// Creates the directory if it is missing, locks it, and looks for what dead owners left in it. Those may be
    /// millions of blocks, which are not removed here.
    pub(super) fn open(path: &Path, key: &BlockKey) -> Result<Self> {
        let failed = |error: io::Error| Error::storage("opening a directory of blocks", path, &error);
        loop {
            make_closed(path).map_err(failed)?;
            let lock = open_lock(path, true).map_err(failed)?;
            let locked = try_lock(path, &lock).map_err(failed)?;
            match locked {
                Lock::Taken => {
                    let left = block_dirs(path).map_err(failed)?;
                    // A name that no block and no other owner has.
                    let blocks = key.id(OutputId(u64::MAX), u32::MAX, AttemptId(u64::MAX)).path_in(path);
                    DirBuilder::new().mode(0o700).create(&blocks).map_err(failed)?;
                    return Ok(OwnedDir { path: path.into(), blocks, left, _lock: lock });
                }
                Lock::Others => return Err(failed(io::Error::other("another process that is alive owns it"))),
                Lock::Gone => {}
            }
        }
    }

    /// Where this owner's blocks are.
    pub(super) fn blocks(&self) -> &Path {
        &self.blocks
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// Removes the block directories in `parent` whose owners are dead, and returns them.
///
/// # Errors
/// If `parent` cannot be listed. A directory that cannot be removed is left for the next time.
pub fn sweep(parent: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: io::Error| Error::storage("looking for directories of blocks", parent, &error);
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut swept = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        // Only a directory of this user's with a lock file that no process has locked.
        let Ok(true) = fs::symlink_metadata(&path).map(|data| data.is_dir() && is_ours(&data)) else { continue };
        let Ok(lock) = open_lock(&path, false) else { continue };
        if let Ok(Lock::Taken) = try_lock(&path, &lock)
            && remove(&path).is_ok()
        {
            swept.push(path);
        }
    }
    Ok(swept)
}

fn is_ours(data: &fs::Metadata) -> bool {
    data.uid() == geteuid().as_raw()
}

/// Creates the directory without rights for others. An existing one is taken only if others have no rights there
/// either: then it was created for this, and is not a user's home.
fn make_closed(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let data = fs::symlink_metadata(path)?;
    if !data.is_dir() || !is_ours(&data) {
        return Err(io::Error::other("it is not a directory that belongs to this user"));
    }
    if data.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is open to other users; name one that does not exist yet"));
    }
    Ok(())
}

fn open_lock(dir: &Path, create: bool) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    File::options().write(true).create(create).mode(0o600).custom_flags(flags).open(dir.join(LOCK))
}

enum Lock {
    Taken,
    /// Another process has locked it.
    Others,
    /// The file was removed before it could be locked.
    Gone,
}

fn try_lock(dir: &Path, lock: &File) -> io::Result<Lock> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Lock::Others),
        locked => locked?,
    }
    let same = match fs::symlink_metadata(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        found => {
            let (found, locked) = (found?, lock.metadata()?);
            (found.dev(), found.ino()) == (locked.dev(), locked.ino())
        }
    };
    Ok(if same { Lock::Taken } else { Lock::Gone })
}

/// The block directories in a directory.
fn block_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_name(&entry.file_name()) && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the blocks of a dead owner, for as long as it may `go_on`. A worker of that owner may write more blocks
/// while they are removed, but none after the directory is gone.
pub(super) fn remove_blocks(dir: &Path, go_on: impl Fn() -> bool) -> io::Result<()> {
    loop {
        for entry in fs::read_dir(dir)? {
            if !go_on() {
                return Ok(());
            }
            let entry = entry?;
            if is_name(&entry.file_name()) && !entry.file_type()?.is_dir() {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && has_blocks(dir)? => {}
            removed => return removed,
        }
    }
}

fn has_blocks(dir: &Path) -> io::Result<bool> {
    let is_block = |entry: fs::DirEntry| is_name(&entry.file_name()) && entry.file_type().is_ok_and(|of| !of.is_dir());
    Ok(fs::read_dir(dir)?.flatten().any(is_block))
}

/// Removes a directory whose lock is held. Foreign files in it stay, and the directory with them.
fn remove(dir: &Path) -> io::Result<()> {
    block_dirs(dir)?.iter().try_for_each(|blocks| remove_blocks(blocks, || true))?;
    fs::remove_file(dir.join(LOCK))?;
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that had been killed with millions of blocks did not come back until all of them were off the disk.
    #[test]
    fn a_new_owner_does_not_wait_until_the_blocks_of_a_dead_one_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("blocks");
        let key = BlockKey::random().unwrap();
        let dead = OwnedDir::open(&path, &key).unwrap();
        let block = key.id(OutputId(1), 0, AttemptId(1)).path_in(dead.blocks());
        fs::write(&block, b"left").unwrap();
        let before = dead.blocks().to_path_buf();
        // As after a kill: the lock is released, and nothing else happens.
        let OwnedDir { _lock, .. } = &dead;
        flock(_lock, FlockOperation::Unlock).unwrap();
        let owned = OwnedDir::open(&path, &BlockKey::random().unwrap()).unwrap();
        assert!(block.exists() && owned.left == [before.clone()] && owned.blocks() != before);
        remove_blocks(&before, || false).unwrap();
        assert!(block.exists(), "a store that is closed stops");
        remove_blocks(&before, || true).unwrap();
        assert!(!before.exists() && owned.blocks().exists());
    }
}
