//! A record of what exists. An observer keeps it from the events that the scheduler gets. Nothing in it may be
//! recomputed.

use super::workload::made_output;
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, OutputId};
use tryworks_scheduler::{Event, Failure, Task};

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Where each partition of an output is, and the launch that made it.
    places: BTreeMap<(OutputId, u32), (EngineId, AttemptId)>,
    /// What was launched since the hub started.
    launched: BTreeSet<(OutputId, u32)>,
    here: BTreeSet<EngineId>,
    /// The checksums of partitions from before the hub started.
    before: BTreeMap<(OutputId, u32), u64>,
    /// Those of them that were recomputed.
    again: BTreeSet<(OutputId, u32)>,
    /// An answer has changed since the hub started: blocks from before may depend on the old one.
    changed: bool,
    released: BTreeSet<OutputId>,
}

impl Book {
    /// The hub was killed: engines must tell the next hub what exists.
    pub fn hub_starts(&mut self) {
        let released = std::mem::take(&mut self.released);
        *self = Self { released, ..Self::default() };
    }

    /// An answer has changed: what was made from it is recomputed.
    pub fn answer_changed(&mut self) {
        self.places.clear();
        self.changed = true;
    }

    pub fn made(&mut self, who: u64, engine: EngineId, task: &Task) {
        let Some(output) = made_output(who).filter(|output| !self.released.contains(output)) else { return };
        for partition in task.partitions.iter() {
            self.places.insert((output, partition), (engine, task.attempt));
            if self.before.contains_key(&(output, partition)) {
                self.again.insert((output, partition));
            }
        }
    }

    /// Whether a partition was made before the hub started, and again since then.
    pub fn is_recomputed(&self, name: (OutputId, u32)) -> bool {
        self.again.contains(&name)
    }

    pub fn launch(&mut self, who: u64, task: &Task) -> Result<(), String> {
        let Some(output) = made_output(who) else { return Ok(()) };
        for partition in task.partitions.iter() {
            self.launched.insert((output, partition));
            if let Some((engine, made_by)) = self.places.get(&(output, partition)) {
                return Err(format!(
                    "{} makes partition {partition} of {output} again, which {engine} has from {made_by}",
                    task.attempt
                ));
            }
        }
        Ok(())
    }

    pub fn event(&mut self, event: &Event<String>) {
        match event {
            Event::EngineJoined { engine, .. } => drop(self.here.insert(*engine)),
            Event::EngineLost { engine, .. } => {
                self.here.remove(engine);
                self.places.retain(|_, (holder, _)| holder != engine);
            }
            Event::OutputReleased { output } => {
                // It is deleted when the last job that needs it has ended.
                self.released.insert(*output);
                self.places.retain(|(of, _), _| of != output);
            }
            Event::BlockLost { made_by, .. } => self.lose(*made_by),
            Event::TaskFailed { failure: Failure::Fetch(missed), .. } => {
                missed.iter().filter_map(|lost| lost.at).for_each(|at| self.lose(at.made_by));
            }
            // The hub remembers that an answer changed.
            Event::OutputKnown { changed: Some(_), .. } => self.changed = true,
            Event::OutputKnown { output, made, blocks, .. } if !self.changed => {
                self.before.extend(made.iter().map(|&(partition, checksum)| ((*output, partition), checksum)));
                for block in blocks.iter().filter(|block| self.here.contains(&block.engine)) {
                    let names = || block.partitions.iter().map(|partition| (*output, partition));
                    let fresh =
                        |name: &(OutputId, u32)| !self.places.contains_key(name) && !self.launched.contains(name);
                    let sums = block.report.partitions.iter().map(|made| made.checksum);
                    let same =
                        names().zip(sums).all(|(name, sum)| self.before.get(&name).is_none_or(|&was| was == sum));
                    if same && !self.released.contains(output) && names().all(|name| fresh(&name)) {
                        self.places.extend(names().map(|name| (name, (block.engine, block.made_by))));
                    }
                }
            }
            Event::BlockMoved(what) if self.here.contains(&what.to) => {
                for (_, place) in self.places.iter_mut().filter(|(_, place)| **place == (what.from, what.made_by)) {
                    place.0 = what.to;
                }
            }
            _ => {}
        }
    }

    fn lose(&mut self, made_by: AttemptId) {
        self.places.retain(|_, (_, maker)| *maker != made_by);
    }
}
