//! The index of a store: its blocks by output, by name and by attempt.

use super::id::BlockId;
use super::remove::Removal;
use super::store::Shared;
use super::write::Sealed;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tryworks_base::ids::{AttemptId, OutputId};

/// Output, partition, attempt.
pub(super) type Key = (OutputId, u32, AttemptId);

/// The blocks of an output, by partition and attempt.
pub(super) type Blocks = BTreeMap<(u32, AttemptId), Arc<Block>>;

#[derive(Default)]
pub(super) struct Output {
    pub(super) blocks: Blocks,
    pub(super) bytes: u64,
}

/// The blocks that can be found. An output is taken out at once, however many blocks it has; its names and attempts
/// follow later.
#[derive(Default)]
pub(super) struct Index {
    outputs: BTreeMap<OutputId, Output>,
    ids: BTreeMap<BlockId, Key>,
    /// The blocks of each attempt.
    attempts: BTreeSet<(AttemptId, Key)>,
}

/// A block, until it is deleted and has no reader.
pub(super) struct Block {
    pub(super) shared: Arc<Shared>,
    pub(super) id: BlockId,
    pub(super) sealed: Sealed,
    pub(super) table_start: u64,
    pub(super) note: Bytes,
}

impl Index {
    pub(super) fn has(&self, (output, partition, attempt): &Key) -> bool {
        self.outputs.get(output).is_some_and(|output| output.blocks.contains_key(&(*partition, *attempt)))
    }

    pub(super) fn find(&self, id: &BlockId) -> Option<Arc<Block>> {
        let (output, partition, attempt) = self.ids.get(id)?;
        self.outputs.get(output)?.blocks.get(&(*partition, *attempt)).cloned()
    }

    /// Adds a block under a key that is not in use.
    pub(super) fn insert(&mut self, key: Key, block: Arc<Block>) {
        let (output, partition, attempt) = key;
        let of = self.outputs.entry(output).or_default();
        of.bytes += block.sealed.bytes();
        self.ids.insert(block.id, key);
        self.attempts.insert((attempt, key));
        of.blocks.insert((partition, attempt), block);
    }

    /// Takes one block out.
    fn take(&mut self, key: &Key) -> Option<Arc<Block>> {
        let (output, partition, attempt) = key;
        self.attempts.remove(&(*attempt, *key));
        let of = self.outputs.get_mut(output)?;
        let block = of.blocks.remove(&(*partition, *attempt))?;
        of.bytes -= block.sealed.bytes();
        if of.blocks.is_empty() {
            self.outputs.remove(output);
        }
        self.ids.remove(&block.id);
        Some(block)
    }

    /// Takes out complete outputs.
    pub(super) fn take_outputs(&mut self, names: RangeInclusive<OutputId>) -> Vec<(OutputId, Output)> {
        let names: Vec<_> = self.outputs.range(names).map(|(output, _)| *output).collect();
        names.into_iter().filter_map(|output| Some((output, self.outputs.remove(&output)?))).collect()
    }

    /// Takes out the blocks that an attempt made.
    pub(super) fn take_attempt(&mut self, attempt: AttemptId) -> Vec<Arc<Block>> {
        let (first, last) = ((OutputId(0), 0, AttemptId(0)), (OutputId(u64::MAX), u32::MAX, AttemptId(u64::MAX)));
        let made = self.attempts.range((attempt, first)..=(attempt, last));
        let keys: Vec<Key> = made.map(|(_, key)| *key).collect();
        keys.iter().filter_map(|key| self.take(key)).collect()
    }

    /// All blocks, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Block)> {
        let all = self.outputs.iter().flat_map(|(output, of)| of.blocks.iter().map(move |block| (*output, block)));
        all.map(|(output, ((partition, attempt), block))| ((output, *partition, *attempt), &**block))
    }

    /// Removes the names of blocks of an output that was taken out.
    pub(super) fn forget(&mut self, output: OutputId, blocks: &[((u32, AttemptId), Arc<Block>)]) {
        for ((partition, attempt), block) in blocks {
            self.ids.remove(&block.id);
            self.attempts.remove(&(*attempt, (output, *partition, *attempt)));
        }
    }
}

impl Block {
    /// Removes the block from the disk, on this thread.
    pub(super) fn unlink(mut self) {
        if let Sealed::File { bytes } = self.sealed {
            self.shared.unlink(&self.id, bytes);
            self.sealed = Sealed::Small(Bytes::new());
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match &self.sealed {
            Sealed::File { bytes } => self.shared.remove(Removal::File { id: self.id, bytes: *bytes }),
            Sealed::Small(memory) => self.shared.forget_memory(memory.len() as u64),
        }
    }
}
