//! What this process offers its tasks: the memory budget, spill space, and the blocks of shuffles and caches.

use super::Settings;
use crate::caches::Caches;
use crate::pool;
use crate::shielded::Shielded;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tryworks_base::frames::FrameWriter;
use tryworks_base::ids::{AttemptId, CacheId, ExchangeId};
use tryworks_base::lock::ReadLock;
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
    shuffled: ReadLock<Blocks>,
    pub(super) caches: Caches,
}

/// Blocks by exchange, and then by map partition.
type Blocks = BTreeMap<ExchangeId, HashMap<u32, (AttemptId, Shielded<BlockValue>)>>;

impl LocalHost {
    pub(super) fn new(settings: &Settings) -> Self {
        let memory = Memory::watched(settings.memory, gauge());
        LocalHost {
            spill: SpillSpace::new(settings.spill_dir.clone(), memory.clone(), settings.spill),
            memory,
            slots: settings.threads,
            shuffled: ReadLock::default(),
            caches: Caches::default(),
        }
    }

    pub(super) fn budget(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(super) fn spill_bytes(&self) -> u64 {
        self.spill.used()
    }

    pub(super) fn blocks(&self) -> usize {
        self.shuffled.read().values().map(HashMap::len).sum::<usize>() + self.caches.len()
    }

    /// Stores the block that an attempt made of a map partition.
    pub(super) fn put(&self, exchange: ExchangeId, map: u32, attempt: AttemptId, block: Shielded<BlockValue>) {
        let before = self.shuffled.write().entry(exchange).or_default().insert(map, (attempt, block));
        // A block may be large, so it is dropped without the lock.
        drop(before);
    }

    /// Takes out all blocks of an attempt whose result is not wanted.
    #[must_use = "users' types may run any code when they are dropped, which must not happen under a lock"]
    pub(super) fn discard(&self, attempt: AttemptId) -> Vec<Shielded<BlockValue>> {
        let mut gone = Vec::new();
        self.shuffled.write().retain(|_, blocks| {
            gone.extend(blocks.extract_if(|_, (by, _)| *by == attempt).map(|(_, (_, block))| block));
            !blocks.is_empty()
        });
        gone
    }

    /// Takes out all blocks of an exchange. The caller drops them where no thread waits.
    #[must_use]
    pub(super) fn take(&self, exchange: ExchangeId) -> Vec<Shielded<BlockValue>> {
        let gone = self.shuffled.write().remove(&exchange);
        gone.into_iter().flatten().map(|(_, (_, block))| block).collect()
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
        pool::in_parallel(op, at, count, work)
    }

    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched> {
        let shuffled = self.shuffled.read();
        let block = shuffled.get(&exchange).and_then(|blocks| blocks.get(&map));
        let lost = || Error::Fetch { exchange, map, message: "it is not there".into() };
        block.map(|(_, block)| Fetched::Value((**block).clone())).ok_or_else(lost)
    }

    fn cached(&self, cache: CacheId, partition: u32) -> Option<CachedPartition> {
        self.caches.get(cache, partition)
    }

    fn keep(&self, cache: CacheId, partition: u32, kept: CachedPartition) {
        self.caches.keep(cache, partition, kept);
    }
}
