//! What this process offers its tasks: the memory budget, spill space, and the blocks of shuffles and caches.

use super::Settings;
use crate::shielded::Shielded;
use crate::{panics, pool};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tryworks_base::frames::FrameWriter;
use tryworks_base::ids::{AttemptId, CacheId, ExchangeId};
use tryworks_base::lock::{ReadLock, Reading, Writing};
use tryworks_base::memory::Memory;
use tryworks_base::resident::gauge;
use tryworks_base::{Error, Op, Result, TaskSite};
use tryworks_core::host::{BlockValue, CachedPartition, Fetched, Host};
use tryworks_store::spill::SpillSpace;

/// The process around the local runtime's tasks.
pub(super) struct LocalHost {
    memory: Arc<Memory>,
    spill: SpillSpace,
    slots: usize,
    kept: ReadLock<Blocks>,
}

#[derive(Default)]
struct Blocks {
    /// Blocks by exchange, and then by map partition.
    shuffled: BTreeMap<ExchangeId, HashMap<u32, (AttemptId, Shielded<BlockValue>)>>,
    /// Cached partitions by cache, and then by partition.
    cached: BTreeMap<CacheId, HashMap<u32, Shielded<CachedPartition>>>,
}

impl LocalHost {
    pub(super) fn new(settings: &Settings) -> Self {
        let memory = Memory::watched(settings.memory, gauge());
        LocalHost {
            spill: SpillSpace::new(settings.spill_dir.clone(), memory.clone(), settings.spill),
            memory,
            slots: settings.threads,
            kept: ReadLock::default(),
        }
    }

    fn read(&self) -> Reading<'_, Blocks> {
        self.kept.read()
    }

    fn write(&self) -> Writing<'_, Blocks> {
        self.kept.write()
    }

    pub(super) fn budget(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(super) fn spill_bytes(&self) -> u64 {
        self.spill.used()
    }

    pub(super) fn blocks(&self) -> usize {
        let kept = self.read();
        kept.shuffled.values().map(HashMap::len).sum::<usize>() + kept.cached.values().map(HashMap::len).sum::<usize>()
    }

    /// Stores the block that an attempt made of a map partition.
    pub(super) fn put(&self, exchange: ExchangeId, map: u32, attempt: AttemptId, block: Shielded<BlockValue>) {
        let before = self.write().shuffled.entry(exchange).or_default().insert(map, (attempt, block));
        // A block may be large, so it is dropped without the lock.
        drop(before);
    }

    /// Takes out all blocks of an attempt whose result is not wanted.
    #[must_use = "users' types may run any code when they are dropped, which must not happen under a lock"]
    pub(super) fn discard(&self, attempt: AttemptId) -> Vec<Shielded<BlockValue>> {
        let mut gone = Vec::new();
        self.write().shuffled.retain(|_, blocks| {
            gone.extend(blocks.extract_if(|_, (by, _)| *by == attempt).map(|(_, (_, block))| block));
            !blocks.is_empty()
        });
        gone
    }

    /// Takes out all blocks of an exchange. The caller drops them where no thread waits.
    #[must_use]
    pub(super) fn take(&self, exchange: ExchangeId) -> Vec<Shielded<BlockValue>> {
        let gone = self.write().shuffled.remove(&exchange);
        gone.into_iter().flatten().map(|(_, (_, block))| block).collect()
    }

    /// Takes out a cached dataset.
    #[must_use]
    pub(super) fn forget(&self, cache: CacheId) -> Vec<Shielded<CachedPartition>> {
        let gone = self.write().cached.remove(&cache);
        gone.into_iter().flatten().map(|(_, block)| block).collect()
    }

    /// Whether this many partitions of a cached dataset exist.
    pub(super) fn has_cached(&self, cache: CacheId, partitions: u32) -> bool {
        self.read().cached.get(&cache).is_some_and(|blocks| blocks.len() == partitions as usize)
    }
}

impl Host for LocalHost {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn spill(&self) -> Result<Box<dyn FrameWriter>> {
        self.spill.writer()
    }

    fn in_parallel(
        &self,
        op: Op,
        at: TaskSite,
        count: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        pool::map(count, |piece| panics::catch(op, at, || work(piece))).into_iter().collect()
    }

    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched> {
        let kept = self.read();
        let block = kept.shuffled.get(&exchange).and_then(|blocks| blocks.get(&map));
        let lost = || Error::Fetch { exchange, map, message: "it is not there".into() };
        block.map(|(_, block)| Fetched::Value((**block).clone())).ok_or_else(lost)
    }

    fn cached(&self, cache: CacheId, partition: u32) -> Option<CachedPartition> {
        self.read().cached.get(&cache)?.get(&partition).map(|kept| (**kept).clone())
    }

    fn keep(&self, cache: CacheId, partition: u32, kept: CachedPartition) {
        let kept = Shielded::new(kept);
        // The first value stays. The second is dropped after the lock, since that may run the user's code.
        let mut blocks = self.write();
        let twice = match blocks.cached.entry(cache).or_default().entry(partition) {
            Entry::Vacant(free) => {
                free.insert(kept);
                None
            }
            Entry::Occupied(_) => Some(kept),
        };
        drop(blocks);
        drop(twice);
    }
}
