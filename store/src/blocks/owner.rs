//! The directory of a store: one owner at a time, closed to other users, and swept when its owner is dead.
//!
//! The blocks are in a directory inside it that each owner makes anew, under another name. Workers of an owner that was
//! killed may write for a moment longer: they write where nobody looks, or not at all once that is removed.

use super::id::{BlockKey, is_name};
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result};

/// The file in the directory that its owner has locked. It also tells our directories from others.
const LOCK: &str = "tryworks-blocks.lock";

/// A directory that this process owns until the value is dropped.
pub(super) struct OwnedDir {
    path: PathBuf,
    blocks: PathBuf,
    /// Where the blocks of dead owners are.
    pub(super) left: Vec<PathBuf>,
    _lock: File,
}

impl OwnedDir {
    /// Makes the directory if it is not there, locks it, and looks for what dead owners left in it. That may be millions
    /// of blocks, which are not removed here.
    pub(super) fn open(path: &Path, key: &BlockKey) -> Result<Self> {
        let failed = |error: io::Error| Error::storage("opening a directory of blocks", path, &error);
        loop {
            make_closed(path).map_err(failed)?;
            let lock = open_lock(path, true).map_err(failed)?;
            let locked = try_lock(path, &lock).map_err(failed)?;
            match locked {
                Lock::Taken => {
                    let left = block_dirs(path).map_err(failed)?;
                    // A name that no block has and no other owner.
                    let blocks = key.id(u64::MAX, u32::MAX, u64::MAX).path_in(path);
                    DirBuilder::new().mode(0o700).create(&blocks).map_err(failed)?;
                    return Ok(OwnedDir { path: path.into(), blocks, left, _lock: lock });
                }
                Lock::Others => return Err(failed(io::Error::other("another process that is alive owns it"))),
                Lock::Gone => {}
            }
        }
    }

    /// Where the blocks are.
    pub(super) fn blocks(&self) -> &Path {
        &self.blocks
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// Removes the directories of blocks in `parent` whose owners are dead, and tells which.
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
        // Only what is a directory of this user's with a lock file in it that nobody has locked.
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

/// Makes the directory with no rights for others. One that is there is taken only if it has none either: it was made
/// for this, and is not somebody's home.
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
    /// Another process has it.
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

/// The directories of blocks in a directory.
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

/// Removes the blocks of an owner that is gone, for as long as it may `go_on`. A worker that it left behind may write
/// further ones while they are removed, but none once the directory is not there.
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

/// Removes a directory whose lock is held. What is not ours in it stays, and the directory with it.
fn remove(dir: &Path) -> io::Result<()> {
    block_dirs(dir)?.iter().try_for_each(|blocks| remove_blocks(blocks, || true))?;
    fs::remove_file(dir.join(LOCK))?;
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that was killed with millions of blocks was not there again until all were off the disk.
    #[test]
    fn a_new_owner_does_not_wait_until_the_blocks_of_a_dead_one_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("blocks");
        let key = BlockKey::random().unwrap();
        let dead = OwnedDir::open(&path, &key).unwrap();
        let block = key.id(1, 0, 1).path_in(dead.blocks());
        fs::write(&block, b"left").unwrap();
        let before = dead.blocks().to_path_buf();
        // As when it is killed: the lock goes, and nothing else.
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
