//! What a worker offers its tasks: the memory budget, spill space, cached partitions, and the blocks of every engine.

use super::blocks::Blocks;
use crate::caches::Caches;
use crate::pool;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tryworks_base::frames::FrameWriter;
use tryworks_base::ids::{AttemptId, CacheId, ExchangeId, GlobalCacheId, SessionId};
use tryworks_base::lock::{Lock, ReadLock};
use tryworks_base::memory::Memory;
use tryworks_base::resident::gauge;
use tryworks_base::{Error, Op, Result, TaskSite};
use tryworks_core::host::{BlockWriter, CachedPartition, Fetched, FrameRequest, Host, Prefetched, SealedHandle};
use tryworks_protocol::engine::CodeId;
use tryworks_protocol::worker::Welcome;
use tryworks_store::blocks::Sealed;
use tryworks_store::spill::{SpillOptions, SpillSpace};
use tryworks_transport::LinkSender;

/// The process around a worker's tasks.
pub(super) struct WorkerHost {
    session: SessionId,
    slots: usize,
    memory: Arc<Memory>,
    spill: SpillSpace,
    pub(super) blocks: Blocks,
    /// What each running attempt makes, by the attempt number that tasks know.
    running: ReadLock<HashMap<u64, (AttemptId, CodeId)>>,
    pub(super) caches: Caches,
    /// Cached partitions that were not reported yet.
    kept: Lock<Vec<(GlobalCacheId, u32)>>,
}

impl WorkerHost {
    pub(super) fn new(welcome: Welcome, to: LinkSender) -> Self {
        let memory = Memory::watched(welcome.memory, gauge());
        let spill_directory = PathBuf::from(&welcome.spill_directory);
        WorkerHost {
            session: welcome.session,
            slots: welcome.slots as usize,
            spill: SpillSpace::new(spill_directory, memory.clone(), SpillOptions::default()),
            blocks: Blocks::new(&welcome, to),
            memory,
            running: ReadLock::default(),
            caches: Caches::default(),
            kept: Lock::default(),
        }
    }

    pub(super) fn begin(&self, attempt: AttemptId, code: CodeId) {
        self.running.write().insert(attempt.sequence(), (attempt, code));
    }

    pub(super) fn end(&self, attempt: AttemptId) {
        self.running.write().remove(&attempt.sequence());
    }

    pub(super) fn newly_kept(&self) -> Vec<(GlobalCacheId, u32)> {
        std::mem::take(&mut *self.kept.lock())
    }
}

impl Host for WorkerHost {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn spill(&self) -> Result<Box<dyn FrameWriter>> {
        self.spill.writer()
    }

    fn block(&self, place: TaskSite) -> Result<Option<Box<dyn BlockWriter>>> {
        let running = self.running.read().get(&place.attempt).copied();
        let Some((attempt, CodeId::Output(output))) = running else {
            return Err(Error::Bug(format!("attempt {} makes no block", place.attempt)));
        };
        Ok(Some(Box::new(Leaving(self.blocks.writer(output, place.partition, attempt)))))
    }

    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched> {
        self.blocks.fetch(exchange, map).map(Fetched::Sealed)
    }

    fn prefetch(&self, exchange: ExchangeId, wanted: &mut dyn Iterator<Item = FrameRequest>) -> Result<Prefetched> {
        self.blocks.prefetch(exchange, wanted)
    }

    fn cached(&self, cache: CacheId, partition: u32) -> Option<CachedPartition> {
        self.caches.get(cache, partition)
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

    fn keep(&self, cache: CacheId, partition: u32, kept: CachedPartition) {
        self.caches.keep(cache, partition, kept);
        let global = self.session.cache(cache);
        self.kept.lock().push((global, partition));
    }
}

/// A block on its way to the engine's store.
struct Leaving(tryworks_store::blocks::BlockWriter);

impl BlockWriter for Leaving {
    fn sequence(&mut self) -> Result<()> {
        self.0.sequence()
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.frame(bytes)
    }

    fn seal(self: Box<Self>, head: &[u8]) -> Result<SealedHandle> {
        let sealed: Sealed = self.0.seal(head)?;
        Ok(SealedHandle::new(sealed))
    }
}
