//! What is known of outputs from before: blocks that engines still have, and checksums that the journal kept, by which
//! another answer of code that is not deterministic is found out although a hub has died in between.

use crate::hub::{Found, Hub};
use crate::jobs::{Job, Phase};
use crate::journal::{Entry, Remembered};
use tryworks_core::ids::{JobId, OutputId, SessionId};
use tryworks_engine::protocol::engine::CodeId;
use tryworks_engine::scheduler::{Event, JobSpec, KnownBlock};

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.remembered == Remembered::default()
    }
}

impl Hub {
    /// A job names an output of which something is known from before.
    pub(crate) fn know(&mut self, spec: &JobSpec, at: usize, output: OutputId, found: Found) {
        let stage = &spec.stages[at];
        let parents = stage.parents.iter().filter_map(|parent| spec.stages[*parent].output).collect();
        let (partitions, buckets) = (stage.partitions, stage.buckets);
        let Found { blocks, remembered: Remembered { made, changed } } = found;
        self.moved(output);
        // The hub before may have died before it wrote down what they came to.
        self.made.extend(blocks.iter().map(|block| (output, block.partitions.clone())));
        self.events.push(Event::OutputKnown { output, partitions, buckets, parents, made, changed, blocks });
    }

    /// An engine has a block from before.
    pub(crate) fn offer_block(&mut self, output: OutputId, block: KnownBlock) {
        let running = |job: &&Job| job.phase == Phase::Begun && job.end.is_none();
        let named = self.jobs.values().filter(running).find_map(|job| {
            let at = job.spec.stages.iter().position(|stage| stage.output == Some(output))?;
            Some((job.spec.clone(), at))
        });
        match named {
            Some((spec, at)) => self.know(&spec, at, output, Found { blocks: vec![block], ..Found::default() }),
            None => self.offered.outputs.entry(output).or_default().blocks.push(block),
        }
    }

    /// Writes down what the partitions came to that were just taken in.
    pub(crate) fn note_made(&mut self) {
        for (output, partitions) in std::mem::take(&mut self.made) {
            let places = self.scheduler.places(output);
            let sum = |partition: u32| Some((partition, places.get(partition as usize)?.checksum()?));
            let partitions: Vec<_> = partitions.iter().filter_map(sum).collect();
            if !partitions.is_empty() {
                self.memory.journal.note(Entry::Made { output, partitions });
            }
        }
    }

    /// Writes down that what a stage makes came out different, and what is therefore made again.
    pub(crate) fn note_change(&mut self, job: JobId, stage: u32) {
        let output = self.jobs.get(&job).and_then(|job| job.spec.stages.get(stage as usize)?.output);
        let Some((output, change)) = output.and_then(|output| Some((output, self.scheduler.changed(output)?))) else {
            return;
        };
        let own = |other: &OutputId| SessionId::split(other.0).0 == SessionId::split(output.0).0;
        let outputs = self.codes.keys().filter_map(|code| match code {
            CodeId::Output(output) => Some(*output),
            CodeId::Results(_) => None,
        });
        // The scheduler has forgotten what was made from the first answer.
        let anew = outputs.filter(|output| own(output) && self.scheduler.places(*output).is_empty()).collect();
        self.memory.journal.note(Entry::Changed { output, change, anew });
    }
}
