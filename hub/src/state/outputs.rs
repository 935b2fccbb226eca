//! What is known of outputs from before: blocks that engines still have, and checksums that the journal kept, by which
//! another answer of code that is not deterministic is found out although a hub has died in between.

use super::Hub;
use super::jobs::Phase;
use crate::journal::{Entry, Remembered};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tryworks_base::ids::{JobId, OutputId, SessionId};
use tryworks_scheduler::{Event, JobSpec, KnownBlock};

/// What survives of an output from before.
#[derive(Default)]
pub(crate) struct Found {
    /// What engines have of it.
    pub(crate) blocks: Vec<KnownBlock>,
    /// What the journal knows of it.
    pub(crate) remembered: Remembered,
}

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
        self.known.moved(output);
        // The hub before may have died before it wrote down what they came to.
        self.launches.made.extend(blocks.iter().map(|block| (output, block.partitions.clone())));
        self.events.push(Event::OutputKnown { output, partitions, buckets, parents, made, changed, blocks });
    }

    /// An engine has a block from before, and a running job may have a stage that makes it.
    pub(crate) fn offer_block(&mut self, output: OutputId, block: KnownBlock, made_by: Option<&(Arc<JobSpec>, usize)>) {
        match made_by {
            Some((spec, at)) => self.know(spec, *at, output, Found { blocks: vec![block], ..Found::default() }),
            None => self.known.offered.outputs.entry(output).or_default().blocks.push(block),
        }
    }

    /// Which stage of which running job makes each of these outputs, if any does.
    pub(crate) fn making(&self, outputs: &BTreeSet<OutputId>) -> BTreeMap<OutputId, (Arc<JobSpec>, usize)> {
        let sessions: BTreeSet<_> = outputs.iter().map(|output| SessionId::split(output.0).0).collect();
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

    /// Writes down what the partitions came to that were just taken in.
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

    /// Writes down that what a stage makes came out different, and what is therefore made again.
    pub(crate) fn note_change(&mut self, job: JobId, stage: u32) {
        let output = self.jobs.get(&job).and_then(|job| job.spec.stages.get(stage as usize)?.output);
        let Some((output, change)) = output.and_then(|output| Some((output, self.scheduler.changed(output)?))) else {
            return;
        };
        let own = self.outputs_of(SessionId::split(output.0).0).into_iter();
        // The scheduler has forgotten what was made from the first answer.
        let anew = own.filter(|output| self.scheduler.places(*output).is_empty()).collect();
        self.out.note(Entry::Changed { output, change, anew });
    }
}
