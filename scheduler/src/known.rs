//! Blocks that engines still hold after the shell restarted.

use super::{
    Scheduler,
    action::Action,
    event::{Change, KnownBlock},
    outputs::{BlockLocation, Output},
    partitions::Partitions,
};
use tryworks_base::ids::OutputId;

/// An output as an earlier event described it.
pub(super) struct Description {
    pub output: OutputId,
    pub partitions: u32,
    pub buckets: u32,
    pub parents: Vec<OutputId>,
    pub made: Vec<(u32, u64)>,
    pub changed: Option<Change>,
}

impl<E: Clone> Scheduler<E> {
    /// Accepts the blocks that are wanted, and has the others deleted.
    pub(super) fn known(&mut self, what: Description, blocks: Vec<KnownBlock>, out: &mut Vec<Action<E>>) {
        let Description { output, partitions, buckets, parents, made, changed } = what;
        let described = || Output::new(partitions, buckets, Vec::new());
        let record = self.outputs.entry(output).or_insert_with(described);
        let agrees = record.partitions == partitions && record.buckets == buckets;
        if agrees {
            record.add_parents(parents);
            if let Some(Change { partition, launched }) = changed {
                record.change(partition, launched);
            }
            made.into_iter().for_each(|(partition, checksum)| record.remember(partition, checksum));
        }
        self.inherit(output);
        for block in blocks {
            // No later launch may get the number of one whose block exists.
            self.attempts.skip_to(block.made_by);
            // The session did not join, so its blocks are gone.
            if self.engines.row_of(block.engine).is_none() {
                continue;
            }
            if agrees && self.is_welcome(output, &block) {
                self.take_in(output, block, out);
            } else if !self.is_taken(output, &block) {
                out.push(Action::Discard { engine: block.engine, attempt: block.made_by });
            }
        }
    }

    /// Outputs made from an output that changed are stale, whether they were known here at that time or not.
    fn inherit(&mut self, output: OutputId) {
        let Some(parents) = self.outputs.get(&output).map(|record| &record.parents) else { return };
        let changed = parents.iter().filter_map(|parent| Some(self.outputs.get(parent)?.changed)).max().unwrap_or(0);
        if let Some(record) = self.outputs.get_mut(&output) {
            record.stale = record.stale.max(changed);
            record.changed = record.changed.max(record.stale);
        }
    }

    /// Whether this very block was reported before. Another engine may have a copy, from a move.
    fn is_taken(&self, output: OutputId, block: &KnownBlock) -> bool {
        let at = Some(BlockLocation { made_by: block.made_by, engine: block.engine });
        self.places(output).iter().any(|place| place.location() == at)
    }

    /// A block is accepted as a whole or not at all. None of its partitions may exist or run. It must not be made from
    /// an answer that has changed, nor differ from a block that was known and lost.
    fn is_welcome(&self, output: OutputId, block: &KnownBlock) -> bool {
        let Some(record) = self.outputs.get(&output) else { return false };
        let KnownBlock { partitions, report, .. } = block;
        let whole = !partitions.is_empty() && partitions.len() as usize == report.partitions.len();
        let fits = partitions.runs().iter().all(|run| run.end <= record.partitions);
        whole
            && fits
            && block.made_by.sequence() > record.stale
            && partitions.iter().zip(&report.partitions).all(|(partition, made)| record.would_take(partition, made))
            && self.all_wait(output, partitions)
    }

    /// Whether none of these partitions is running, or about to run alone.
    fn all_wait(&self, output: OutputId, partitions: &Partitions) -> bool {
        let Some(stage) = self.making.get(&output).map(|&key| &self.stages[key]) else { return true };
        !stage.opened || partitions.iter().all(|partition| stage.queue.contains(partition))
    }

    fn take_in(&mut self, id: OutputId, block: KnownBlock, out: &mut Vec<Action<E>>) {
        let KnownBlock { engine, made_by, partitions, report } = block;
        let Some(output) = self.outputs.get_mut(&id) else { return };
        output.measure(partitions.first(), &report.bucket_bytes);
        for (partition, made) in partitions.iter().zip(&report.partitions) {
            output.accept(partition, made_by, engine, made.bytes, made.checksum);
        }
        let complete = output.is_complete();
        if let Some(row) = self.engines.row_of(engine) {
            self.placed(row, id, &partitions, made_by);
        }
        let Some(&key) = self.making.get(&id) else { return };
        self.stages[key].queue.remove(&partitions);
        self.settle(key);
        if complete {
            self.stage_complete(key, out);
        }
    }
}
