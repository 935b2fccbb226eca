//! The blocks of an engine: what is there, how much it takes, who reads it, and deleting what nobody needs.

use super::held::{BlockInfo, Held};
use super::id::{BlockId, BlockKey};
use super::open::no_block;
use super::owner::OwnedDir;
use super::table::{FOOTER, Footer};
use super::write::{Room, Sealed, write_whole};
use crate::disk::refused;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tryworks_core::lock::{Held as Locked, Lock};
use tryworks_core::{Error, Result};

/// What small blocks may take in memory together; those that come later are written to the disk.
const SMALL_BLOCKS: u64 = 64 << 20;

/// The blocks of one owner, in a directory of its own that goes when the last clone of this
/// is dropped.
#[derive(Clone)]
pub struct BlockStore(pub(super) Arc<Inner>);

pub(super) struct Inner {
    dir: OwnedDir,
    key: BlockKey,
    pub(super) quota: Option<u64>,
    state: Lock<State>,
}

/// Output, partition, attempt.
type Key = (u64, u32, u64);

#[derive(Default)]
pub(super) struct State {
    blocks: BTreeMap<Key, Entry>,
    ids: BTreeMap<BlockId, Key>,
    /// The blocks of each attempt.
    attempts: BTreeSet<(u64, Key)>,
    pub(super) used: u64,
    /// What of that is in memory.
    small: u64,
}

struct Entry {
    id: BlockId,
    held: Held,
    table_start: u64,
    note: Bytes,
    pins: usize,
    /// Deleted, but for those who read it.
    doomed: bool,
}

/// A block that stays while somebody reads it, even if it is deleted meanwhile.
pub struct Pin {
    store: Arc<Inner>,
    key: Key,
    held: Held,
    table_start: u64,
    name: String,
    note: Bytes,
}

impl Pin {
    /// Where the block is.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// What was said of it when it was added.
    pub fn note(&self) -> &Bytes {
        &self.note
    }

    pub(super) fn table_start(&self) -> u64 {
        self.table_start
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.store.state();
        let Some(entry) = state.blocks.get_mut(&self.key) else { return };
        entry.pins -= 1;
        if entry.doomed && entry.pins == 0 {
            let gone = state.remove(&self.key);
            drop(state);
            gone.into_iter().for_each(delete);
        }
    }
}

impl BlockStore {
    /// Makes `dir` the directory of a new store, whose blocks may take no more than `quota`. What a dead owner left in
    /// it is removed.
    ///
    /// # Errors
    /// If another process that is alive owns it, if other users may look into it, or if it cannot be made.
    pub fn open(dir: &Path, quota: Option<u64>) -> Result<Self> {
        let (dir, key) = (OwnedDir::open(dir)?, BlockKey::random()?);
        Ok(BlockStore(Arc::new(Inner { dir, key, quota, state: Lock::default() })))
    }

    /// The directory that workers write into.
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// What names follow from: for the writers of this store and those who may read all of it.
    pub fn key(&self) -> &BlockKey {
        &self.0.key
    }

    /// What all blocks take, on the disk and in memory, and what else was [claimed](BlockStore::claim); blocks that are
    /// deleted count while they are read.
    pub fn used(&self) -> u64 {
        self.0.state().used
    }

    /// What a writer may take at the moment.
    pub fn room(&self) -> Room {
        Room { quota: self.0.quota, used: self.used() }
    }

    /// Takes over a block that `attempt` sealed under the name that the key gives it, with a note for the
    /// [inventory](BlockStore::inventory).
    ///
    /// # Errors
    /// If it is not there, is no block, or is more than the quota allows: then it is deleted.
    pub fn add(&self, output: u64, partition: u32, attempt: u64, sealed: Sealed, note: Vec<u8>) -> Result<BlockId> {
        let key = (output, partition, attempt);
        if self.0.state().blocks.contains_key(&key) {
            return Err(Error::Bug(format!("the block of output, partition and attempt {key:?} was added twice")));
        }
        let id = self.0.key.id(output, partition, attempt);
        let added = self.0.receive(&id, sealed).and_then(|(held, table_start)| {
            let mut state = self.0.state();
            let room = Room { quota: self.0.quota, used: state.used };
            room.check(self.dir(), 0, held.bytes())?;
            state.insert(key, Entry { id, held, table_start, note: note.into(), pins: 0, doomed: false });
            Ok(id)
        });
        if added.is_err() {
            let _ = fs::remove_file(id.path_in(self.dir()));
        }
        added
    }

    /// A block that is here, which stays as long as the answer is kept.
    pub fn get(&self, id: BlockId) -> Option<Pin> {
        let mut state = self.0.state();
        let key = *state.ids.get(&id)?;
        let entry = state.blocks.get_mut(&key)?;
        entry.pins += 1;
        let (held, table_start, name) = (entry.held.clone(), entry.table_start, id.shown_in(self.dir()));
        let note = entry.note.clone();
        Some(Pin { store: self.0.clone(), key, held, table_start, name, note })
    }

    /// Deletes all blocks of an output.
    pub fn delete_output(&self, output: u64) {
        let mut state = self.0.state();
        let keys: Vec<Key> =
            state.blocks.range((output, 0, 0)..=(output, u32::MAX, u64::MAX)).map(|(key, _)| *key).collect();
        let gone = state.doom(&keys);
        drop(state);
        gone.into_iter().for_each(delete);
    }

    /// Deletes all blocks that an attempt made.
    pub fn delete_attempt(&self, attempt: u64) {
        let mut state = self.0.state();
        let (first, last) = ((0, 0, 0), (u64::MAX, u32::MAX, u64::MAX));
        let made = state.attempts.range((attempt, first)..=(attempt, last));
        let keys: Vec<Key> = made.map(|(_, key)| *key).collect();
        let gone = state.doom(&keys);
        drop(state);
        gone.into_iter().for_each(delete);
    }

    /// Removes what a worker that died may have left of a block that was never added.
    pub fn discard(&self, output: u64, partition: u32, attempt: u64) {
        if self.0.state().blocks.contains_key(&(output, partition, attempt)) {
            return;
        }
        let id = self.0.key.id(output, partition, attempt);
        // Mostly neither is there.
        let _ = fs::remove_file(id.unsealed_in(self.dir()));
        let _ = fs::remove_file(id.path_in(self.dir()));
    }

    /// All blocks that are not deleted, by output, partition and attempt.
    pub fn inventory(&self) -> Vec<BlockInfo> {
        let state = self.0.state();
        let alive = state.blocks.iter().filter(|(_, entry)| !entry.doomed);
        let info = alive.map(|((output, partition, attempt), entry)| BlockInfo {
            output: *output,
            partition: *partition,
            attempt: *attempt,
            bytes: entry.held.bytes(),
            note: entry.note.to_vec(),
        });
        info.collect()
    }
}

impl Inner {
    pub(super) fn state(&self) -> Locked<'_, State> {
        self.state.lock()
    }

    /// Looks at what a worker says it has sealed: where it is, and where its table begins.
    fn receive(&self, id: &BlockId, sealed: Sealed) -> Result<(Held, u64)> {
        let dir = self.dir.path();
        let no_block = |why| no_block(&id.shown_in(dir), why);
        match sealed {
            Sealed::Small(bytes) => {
                let len = bytes.len() as u64;
                let start = Footer::at_end_of(&bytes, len).map_err(no_block)?.start;
                if self.state().small.saturating_add(len) <= SMALL_BLOCKS {
                    return Ok((Held::Small(bytes), start));
                }
                let room = Room { quota: self.quota, used: self.state().used };
                room.check(dir, 0, len)?;
                write_whole(dir, id, &bytes).map_err(|error| refused("a block", dir, len, room.used, &error))?;
                Ok((Held::File { path: id.path_in(dir), bytes: len }, start))
            }
            Sealed::File { bytes } => {
                let path = id.path_in(dir);
                let (len, footer) = read_footer(&path)
                    .map_err(|error| Error::storage("looking at a sealed block", id.shown_in(dir), &error))?;
                if len != bytes {
                    return Err(no_block("it is not as long as its writer said"));
                }
                let start = Footer::at_end_of(&footer, len).map_err(no_block)?.start;
                Ok((Held::File { path, bytes }, start))
            }
        }
    }
}

/// The length of a file and its last bytes.
fn read_footer(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let tail = len.min(FOOTER as u64);
    let mut footer = vec![0; tail as usize];
    file.read_exact_at(&mut footer, len - tail)?;
    Ok((len, footer))
}

impl State {
    fn insert(&mut self, key: Key, entry: Entry) {
        self.used += entry.held.bytes();
        self.small += entry.held.in_memory();
        self.ids.insert(entry.id, key);
        self.attempts.insert((key.2, key));
        self.blocks.insert(key, entry);
    }

    /// Makes blocks impossible to find and gives back those that nobody reads.
    fn doom(&mut self, keys: &[Key]) -> Vec<Held> {
        let mut gone = Vec::new();
        for key in keys {
            let Some(entry) = self.blocks.get_mut(key) else { continue };
            entry.doomed = true;
            let unread = entry.pins == 0;
            self.ids.remove(&entry.id);
            self.attempts.remove(&(key.2, *key));
            if unread {
                gone.extend(self.remove(key));
            }
        }
        gone
    }

    fn remove(&mut self, key: &Key) -> Option<Held> {
        let Entry { held, .. } = self.blocks.remove(key)?;
        self.used -= held.bytes();
        self.small -= held.in_memory();
        Some(held)
    }
}

/// Gives its place back. This may take a while, so it is done without the lock.
fn delete(held: Held) {
    if let Held::File { path, .. } = held {
        // Nothing could be done about a file that stays; the directory is swept in the end.
        let _ = fs::remove_file(path);
    }
}
