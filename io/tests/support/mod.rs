//! A small process for tests: a budget, a spill space, no blocks.
#![allow(dead_code)]

use std::sync::Arc;
use tryworks_base::frames::FrameWriter;
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Result, TaskSite};
use tryworks_core::host::{CachedPartition, Fetched, Host};
use tryworks_core::pipe::{CONTINUE, Cursor, Step};
use tryworks_core::source::Source;
use tryworks_core::task::TaskContext;
use tryworks_store::spill::{SpillOptions, SpillSpace};

struct Desk {
    memory: Arc<Memory>,
    spill: SpillSpace,
}

impl Host for Desk {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn slots(&self) -> usize {
        1
    }

    fn spill(&self) -> Result<Box<dyn FrameWriter>> {
        self.spill.writer()
    }

    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched> {
        Err(Error::Fetch { exchange, map, message: "there are no blocks here".into() })
    }

    fn cached(&self, _: CacheId, _: u32) -> Option<CachedPartition> {
        None
    }

    fn keep(&self, _: CacheId, _: u32, _: CachedPartition) {}
}

/// A task in a process with `memory` bytes.
pub fn task_with(memory: u64) -> TaskContext {
    let memory = Memory::new(memory);
    let spill = SpillSpace::new(std::env::temp_dir(), memory.clone(), SpillOptions::default());
    TaskContext::new(TaskSite::default(), Arc::new(Desk { memory, spill }), Arc::default())
}

pub fn task() -> TaskContext {
    task_with(64 << 20)
}

/// What a partition yields, `budget` items at a time.
pub fn rows_by<S: Source>(source: &S, partition: u32, budget: usize, task: &TaskContext) -> Result<Vec<S::Item>> {
    let mut cursor = source.open(partition, task)?;
    let mut rows = Vec::new();
    loop {
        let before = rows.len();
        let step = cursor.advance(budget, &mut |row| {
            rows.push(row);
            CONTINUE
        })?;
        assert!(rows.len() - before <= budget);
        if step == Step::Done {
            return Ok(rows);
        }
    }
}

/// What each partition yields.
pub fn all<S: Source>(source: &S) -> Result<Vec<Vec<S::Item>>> {
    let task = task();
    (0..source.partitions()).map(|partition| rows_by(source, partition, 1024, &task)).collect()
}
