//! Outputs from before a restart: the blocks that engines still have, and the checksums in the journal. With the
//! checksums, the hub detects nondeterministic code even if a hub died in between.

use super::Hub;
use super::jobs::Phase;
use super::known::Found;
use super::sessions::Session;
use crate::journal::{Entry, Remembered};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tryworks_base::ids::{JobId, OutputId};
use tryworks_protocol::engine::CodeId;
use tryworks_scheduler::{Event, JobSpec, KnownBlock};

impl Hub {
    /// A job names an output of which something survives. Tells the scheduler what survives.
    pub(crate) fn know(&mut self, spec: &JobSpec, at: usize, output: OutputId, found: Found) {
        let stage = &spec.stages[at];
        let parents = stage.parents.iter().filter_map(|parent| spec.stages[*parent].output).collect();
        let (partitions, buckets) = (stage.partitions, stage.buckets);
        let Found { blocks, remembered: Remembered { made, changed } } = found;
        self.known.moved(output);
        // The previous hub may have died before the journal had the checksums of these blocks.
        self.launches.made.extend(blocks.iter().map(|block| (output, block.partitions.clone())));
        self.events.push(Event::OutputKnown { output, partitions, buckets, parents, made, changed, blocks });
    }

    /// Whether an output that an engine offers may still be needed. It may if the hub has its code or its driver holds
    /// it. It also may if that driver has not yet told this hub which outputs it holds.
    pub(crate) fn may_name(&self, output: OutputId) -> bool {
        let session = self.sessions.all.get(&output.session());
        let named = |session: &Session| session.names.as_ref().is_none_or(|names| names.contains(&output));
        self.known.codes.contains_key(&CodeId::Output(output)) || session.is_some_and(named)
    }

    /// An engine offers a block that it made earlier. If a running job has a stage that makes this output, the
    /// scheduler learns of the block at once.
    pub(crate) fn offer_block(&mut self, output: OutputId, block: KnownBlock, made_by: Option<&(Arc<JobSpec>, usize)>) {
        match made_by {
            Some((spec, at)) => self.know(spec, *at, output, Found { blocks: vec![block], ..Found::default() }),
            None => self.known.offered.outputs.entry(output).or_default().blocks.push(block),
        }
    }

    /// For each of these outputs, the stage of a running job that makes it, if there is one.
    pub(crate) fn making(&self, outputs: &BTreeSet<OutputId>) -> BTreeMap<OutputId, (Arc<JobSpec>, usize)> {
        let sessions: BTreeSet<_> = outputs.iter().map(|output| output.session()).collect();
        let mut making = BTreeMap::new();
        for (_, job) in sessions.into_iter().flat_map(|session| self.jobs.of(session)) {
            if job.phase != Phase::Begun || job.end.is_some() {
                continue;
            }
            for (at, stage) in job.spec.stages.iter().enumerate() {
                if let Some(output) = stage.output.filter(|output| outputs.contains(output)) {
                    making.entry(output).or_insert_with(|| (job.spec.clone(), at));
                }
            }
        }
        making
    }

    /// Notes the checksums of the partitions that were just accepted.
    pub(crate) fn note_made(&mut self) {
        for (output, partitions) in std::mem::take(&mut self.launches.made) {
            let places = self.scheduler.places(output);
            let sum = |partition: u32| Some((partition, places.get(partition as usize)?.checksum()?));
            let partitions: Vec<_> = partitions.iter().filter_map(sum).collect();
            if !partitions.is_empty() {
                self.out.note(Entry::Made { output, partitions });
            }
        }
    }

    /// Notes that recomputing a stage gave another output, and which outputs are recomputed for this reason.
    pub(crate) fn note_change(&mut self, job: JobId, stage: u32) {
        let output = self.jobs.get(&job).and_then(|job| job.spec.stages.get(stage as usize)?.output);
        let Some((output, change)) = output.and_then(|output| Some((output, self.scheduler.changed(output)?))) else {
            return;
        };
        let own = self.outputs_of(output.session()).into_iter();
        // The scheduler has forgotten the outputs that were made from the first version.
        let recomputed = own.filter(|output| self.scheduler.places(*output).is_empty()).collect();
        self.out.note(Entry::Changed { output, change, recomputed });
    }
}
