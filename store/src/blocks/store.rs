//! The blocks of an engine: which exist, how many bytes they take, which readers they have, and how they are deleted.

use super::held::{BlockInfo, Held};
use super::id::{BlockId, BlockKey};
use super::index::{Block, Index, Output};
use super::open::no_block;
use super::owner::OwnedDir;
use super::remove::{self, Removal};
use super::table::{FOOTER, Footer};
use super::write::{Quota, Sealed, write_whole};
use bytes::Bytes;
use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;
use tryworks_base::disk::refused;
use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::lock::{Held as Locked, Lock, none_held};
use tryworks_base::{Error, Result};

/// The most bytes that small blocks may take in memory together; later ones are written to the disk.
const SMALL_BLOCKS: u64 = 64 << 20;

/// The blocks of one owner, in a directory of its own that is removed when the last clone of this is dropped.
#[derive(Clone)]
pub struct BlockStore(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    unlinks: Option<JoinHandle<()>>,
    /// Dropped last, when nothing is left to unlink.
    _dir: OwnedDir,
}

/// What the store shares with its blocks and with the thread that unlinks them.
pub(super) struct Shared {
    /// Where the blocks are.
    pub(super) dir: PathBuf,
    key: BlockKey,
    pub(super) quota: Option<u64>,
    index: Lock<Index>,
    /// The bytes of blocks that can be found, and of claims: these count against the quota.
    live: AtomicU64,
    /// The bytes of deleted blocks, until they have no reader and are off the disk.
    leaving: AtomicU64,
    /// How many bytes of both are in memory.
    small: AtomicU64,
    removals: Sender<Removal>,
    closed: AtomicBool,
}

/// A block that stays while it is read, even if it is deleted in that time.
pub struct Pin {
    block: Arc<Block>,
    held: Held,
    name: String,
    /// Keeps the directory, too.
    _store: Arc<Inner>,
}

impl Pin {
    /// Where the block is.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The note that was added with it.
    pub fn note(&self) -> &Bytes {
        &self.block.note
    }

    /// Where its table of contents begins.
    pub fn table_start(&self) -> u64 {
        self.block.table_start
    }

    /// The name in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl BlockStore {
    /// Makes `dir` the directory of a new store, whose blocks may take at most `quota` bytes. What a dead owner left in
    /// it is removed in the background. Processes that still write for that owner do not write into this store.
    ///
    /// # Errors
    /// If another live process owns it, if other users may look into it, or if it cannot be created.
    pub fn open(dir: &Path, quota: Option<u64>) -> Result<Self> {
        let key = BlockKey::random()?;
        let mut owned = OwnedDir::open(dir, &key)?;
        let (removals, requests) = channel();
        let shared = Arc::new(Shared {
            dir: owned.blocks().into(),
            key,
            quota,
            index: Lock::default(),
            live: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            small: AtomicU64::new(0),
            removals,
            closed: AtomicBool::new(false),
        });
        let unlinks = remove::start(shared.clone(), requests);
        let unlinks = unlinks.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        for left in std::mem::take(&mut owned.left) {
            shared.remove(Removal::Left(left));
        }
        Ok(BlockStore(Arc::new(Inner { shared, unlinks: Some(unlinks), _dir: owned })))
    }

    /// The directory that workers write into. No other store ever gets the same one.
    pub fn dir(&self) -> &Path {
        &self.0.shared.dir
    }

    /// The key that names are derived from, for the writers of this store and for processes that may read all of it.
    pub fn key(&self) -> &BlockKey {
        &self.0.shared.key
    }

    /// The bytes of all blocks, on the disk and in memory, and of all [claims](BlockStore::claim). Deleted blocks count
    /// while they are read, and until they are off the disk.
    pub fn used(&self) -> u64 {
        let Shared { live, leaving, .. } = &*self.0.shared;
        live.load(Relaxed) + leaving.load(Relaxed)
    }

    /// The quota, and how much of it is used now. Deleted blocks that are still on the disk do not count here.
    pub fn quota(&self) -> Quota {
        self.0.shared.quota()
    }

    /// Adds a block that `attempt` sealed under the name that the key gives it, with a note for the
    /// [inventory](BlockStore::inventory).
    ///
    /// # Errors
    /// If the block does not exist, is no block, or exceeds the quota: then it is deleted.
    pub fn add(
        &self,
        output: OutputId,
        partition: u32,
        attempt: AttemptId,
        sealed: Sealed,
        note: impl Into<Bytes>,
    ) -> Result<BlockId> {
        let (shared, key) = (&self.0.shared, (output, partition, attempt));
        let twice =
            || Error::Bug(format!("the block of partition {partition} of {output}, by {attempt}, was added twice"));
        if shared.index().has(&key) {
            return Err(twice());
        }
        let id = shared.key.id(output, partition, attempt);
        let refused = |_: &Error| shared.remove(Removal::Unadded(id));
        let (sealed, table_start) = shared.receive(&id, sealed).inspect_err(refused)?;
        let mut index = shared.index();
        // Another thread may have looked at the same block by now.
        if index.has(&key) {
            return Err(twice());
        }
        let bytes = sealed.bytes();
        shared.take(bytes).map_err(|quota| quota.refusal(&shared.dir, 0, bytes)).inspect_err(refused)?;
        if let Sealed::Small(_) = sealed {
            shared.small.fetch_add(bytes, Relaxed);
        }
        let block = Block { shared: shared.clone(), id, sealed, table_start, note: note.into() };
        index.insert(key, Arc::new(block));
        Ok(id)
    }

    /// A block of this store. It stays for as long as the returned pin is kept.
    pub fn get(&self, id: BlockId) -> Option<Pin> {
        let block = self.0.shared.index().find(&id)?;
        let dir = self.dir();
        let held = match &block.sealed {
            Sealed::Small(bytes) => Held::Small(bytes.clone()),
            Sealed::File { bytes } => Held::File { path: id.path_in(dir), bytes: *bytes },
        };
        Some(Pin { block, held, name: id.shown_in(dir), _store: self.0.clone() })
    }

    /// Deletes all blocks of an output. Like every deletion, this does not wait for the disk.
    pub fn delete_output(&self, output: OutputId) {
        self.delete_outputs(output..=output);
    }

    /// Deletes all blocks of all outputs with these names.
    pub fn delete_outputs(&self, outputs: RangeInclusive<OutputId>) {
        let shared = &self.0.shared;
        let gone = shared.index().take_outputs(outputs);
        for (output, Output { blocks, bytes }) in gone {
            shared.leave(bytes);
            shared.remove(Removal::Output { output, blocks });
        }
    }

    /// Deletes all blocks that an attempt made.
    pub fn delete_attempt(&self, attempt: AttemptId) {
        let gone = self.0.shared.index().take_attempt(attempt);
        for block in &gone {
            self.0.shared.leave(block.sealed.bytes());
        }
    }

    /// Removes what a failed attempt may have written of a block that was never added.
    pub fn discard(&self, output: OutputId, partition: u32, attempt: AttemptId) {
        let shared = &self.0.shared;
        if !shared.index().has(&(output, partition, attempt)) {
            shared.remove(Removal::Unadded(shared.key.id(output, partition, attempt)));
        }
    }

    /// Waits until everything deleted before is off the disk, except blocks that are being read.
    pub fn wait_for_removals(&self) {
        none_held("waiting for a disk");
        let (done, gone) = sync_channel(1);
        self.0.shared.remove(Removal::Tell(done));
        // This fails only when the store is closed.
        let _ = gone.recv();
    }

    /// All blocks that are not deleted, by output, partition and attempt.
    pub fn inventory(&self) -> Vec<BlockInfo> {
        let index = self.0.shared.index();
        let info = index.iter().map(|((output, partition, attempt), block)| BlockInfo {
            output,
            partition,
            attempt,
            bytes: block.sealed.bytes(),
            note: block.note.to_vec(),
        });
        info.collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        self.shared.remove(Removal::End);
        // If that thread panicked, the panic was reported then.
        let _ = self.unlinks.take().map(JoinHandle::join);
        // Blocks and index refer to one another.
        let index = std::mem::take(&mut *self.shared.index());
        drop(index);
    }
}

impl Shared {
    pub(super) fn index(&self) -> Locked<'_, Index> {
        self.index.lock()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(super) fn quota(&self) -> Quota {
        Quota { limit: self.quota, used: self.live.load(Relaxed) }
    }

    /// Counts bytes; if the quota does not allow them, returns the quota and its use.
    pub(super) fn take(&self, bytes: u64) -> std::result::Result<(), Quota> {
        let allowed = |used: u64| used.checked_add(bytes).filter(|after| self.quota.is_none_or(|most| *after <= most));
        let taken = self.live.fetch_update(Relaxed, Relaxed, allowed);
        taken.map(drop).map_err(|used| Quota { limit: Some(self.quota.unwrap_or(u64::MAX)), used })
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Relaxed);
    }

    /// Deleted bytes count separately from then on.
    fn leave(&self, bytes: u64) {
        self.leaving.fetch_add(bytes, Relaxed);
        self.live.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn remove(&self, removal: Removal) {
        // A closed store removes its directory anyway.
        let _ = self.removals.send(removal);
    }

    /// Returns the memory of a deleted block to the limit for small blocks.
    pub(super) fn forget_memory(&self, bytes: u64) {
        self.small.fetch_sub(bytes, Relaxed);
        self.leaving.fetch_sub(bytes, Relaxed);
    }

    /// Removes the file of a deleted block from the disk.
    pub(super) fn unlink(&self, id: &BlockId, bytes: u64) {
        // Nothing could be done about a file that stays; the directory is removed in the end.
        let _ = fs::remove_file(id.path_in(&self.dir));
        self.leaving.fetch_sub(bytes, Relaxed);
    }

    /// Checks what a worker says it has sealed: where it is, and where its table begins.
    fn receive(&self, id: &BlockId, sealed: Sealed) -> Result<(Sealed, u64)> {
        let dir = &*self.dir;
        let no_block = |why| no_block(&id.shown_in(dir), why);
        match sealed {
            Sealed::Small(bytes) => {
                let len = bytes.len() as u64;
                let start = Footer::at_end_of(&bytes, len).map_err(no_block)?.start;
                if self.small.load(Relaxed).saturating_add(len) <= SMALL_BLOCKS {
                    return Ok((Sealed::Small(bytes), start));
                }
                let quota = self.quota();
                quota.check(dir, 0, len)?;
                write_whole(dir, id, &bytes).map_err(|error| refused("a block", dir, len, quota.used, &error))?;
                Ok((Sealed::File { bytes: len }, start))
            }
            Sealed::File { bytes } => {
                let (len, footer) = read_footer(&id.path_in(dir))
                    .map_err(|error| Error::storage("looking at a sealed block", id.shown_in(dir), &error))?;
                if len != bytes {
                    return Err(no_block("it is not as long as its writer said"));
                }
                let start = Footer::at_end_of(&footer, len).map_err(no_block)?.start;
                Ok((Sealed::File { bytes }, start))
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

#[cfg(test)]
mod tests {
    use super::super::write::BlockWriter;
    use super::*;

    fn add(store: &BlockStore, output: OutputId, attempt: AttemptId) -> BlockId {
        let id = store.key().id(output, 0, attempt);
        let mut writer = BlockWriter::new(store.dir(), id, store.quota());
        writer.sequence().unwrap();
        writer.frame(&[7; 100_000]).unwrap();
        store.add(output, 0, attempt, writer.seal(&[]).unwrap(), Vec::new()).unwrap()
    }

    /// The engine's loop deletes blocks, and a disk may take minutes over millions of files.
    #[test]
    fn deleting_does_not_wait_for_the_disk() {
        let parent = tempfile::tempdir().unwrap();
        let store = BlockStore::open(&parent.path().join("blocks"), Some(450_000)).unwrap();
        let [one, two, read, left] = [1, 2, 3, 4].map(|number| add(&store, OutputId(number), AttemptId(number)));
        let path = |id: BlockId| id.path_in(store.dir());
        let used = store.used();
        let pin = store.get(read).unwrap();
        // The disk is busy until the test lets it continue.
        let (busy, free) = sync_channel(0);
        store.0.shared.remove(Removal::Tell(busy));
        store.delete_output(OutputId(1));
        store.delete_attempt(AttemptId(2));
        store.delete_outputs(OutputId(3)..=OutputId(3));
        store.discard(OutputId(4), 0, AttemptId(4));
        assert!([one, two, read].iter().all(|id| store.get(*id).is_none()) && store.get(left).is_some());
        assert!([one, two, read, left].iter().all(|id| path(*id).exists()));
        assert_eq!(store.used(), used, "what is on the disk counts");
        // But not against the quota: deleting a block and writing it again must not fail for that.
        let again = add(&store, OutputId(5), AttemptId(5));
        free.recv().unwrap();
        store.wait_for_removals();
        assert_eq!([one, two, read, left, again].map(|id| path(id).exists()), [false, false, true, true, true]);
        assert_eq!(store.used(), used / 4 * 3);
        drop(pin);
        store.wait_for_removals();
        assert!(!path(read).exists() && store.used() == used / 2);
        // A store that is closed while the disk is busy leaves nothing behind, either.
        store.delete_output(OutputId(4));
        drop(store);
        assert!(!parent.path().join("blocks").exists());
    }
}
