//! What a shell may ask: how far a job is, where blocks are, and how much memory the scheduler takes.

use super::{
    Scheduler,
    event::Change,
    outputs::{MapPartition, Output},
    spec::Packing,
};
use serde::{Deserialize, Serialize};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many stages it has.
    pub stages: u32,
    /// Stages that need not run (again), whichever job made their outputs.
    pub stages_done: u32,
    /// Tasks known so far. Stages that pack by size count as one until their input is measured.
    pub tasks: u32,
    /// Tasks that are done. What is lost later is recomputed by further tasks.
    pub tasks_done: u32,
    /// Tasks that are running.
    pub tasks_running: u32,
    /// How many times tasks failed, in all.
    pub tasks_failed: u32,
    /// Partitions of the result that were asked for.
    pub results: u32,
    /// Partitions of the result that are committed.
    pub results_done: u32,
}

/// How many things the scheduler holds. Without jobs and held outputs, these are only engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Stages in their plans.
    pub stages: usize,
    /// Outputs that exist in part and were not released.
    pub outputs: usize,
    /// Launches that were not reported.
    pub attempts: usize,
    /// Stages listed as able to launch.
    pub ready: usize,
    /// Engines.
    pub engines: usize,
}

impl<E: Clone> Scheduler<E> {
    /// How far a job is; `None` once it has ended. This takes time in proportion to the job's stages.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        let job = self.jobs.get(&job)?;
        let mut sum = Progress { stages: job.stages.len() as u32, ..Progress::default() };
        for &key in &job.stages {
            let stage = &self.stages[key];
            let complete = self.is_complete(key);
            sum.stages_done += u32::from(complete);
            sum.tasks_done += stage.tasks_done;
            sum.tasks_running += stage.running;
            sum.tasks_failed += stage.tasks_failed;
            sum.tasks += stage.tasks_done + stage.running + stage.waiting_tasks();
            if !stage.opened && !complete {
                sum.tasks += match (stage.pack, stage.output) {
                    (Packing::Fixed(cut), None) => stage.results.total.div_ceil(cut.max(1)),
                    (Packing::Fixed(cut), Some(_)) => stage.partitions.div_ceil(cut.max(1)),
                    (Packing::BySize { .. }, _) => 1,
                };
            }
            sum.results += stage.results.total;
            sum.results_done += stage.results.done;
        }
        Some(sum)
    }

    /// What is known of the partitions of an output; empty if none was ever made.
    pub fn places(&self, output: OutputId) -> &[MapPartition] {
        self.outputs.get(&output).map_or(&[], Output::places)
    }

    /// When an output last answered differently after it was recomputed; `None` if it never did.
    pub fn changed(&self, output: OutputId) -> Option<Change> {
        let record = self.outputs.get(&output)?;
        record.shows.map(|partition| Change { partition, launched: record.changed })
    }

    /// What an engine is running, as far as the scheduler knows, in no particular order.
    pub fn running_on(&self, engine: EngineId) -> impl Iterator<Item = AttemptId> + '_ {
        self.engines.iter().filter(move |e| e.id == engine).flat_map(|e| e.running.iter().copied())
    }

    /// How many attempts were ever launched.
    pub fn launched(&self) -> u64 {
        self.attempts.launched()
    }

    /// How many things the scheduler holds.
    pub fn census(&self) -> Census {
        Census {
            jobs: self.jobs.len(),
            stages: self.stages.len(),
            outputs: self.outputs.len(),
            attempts: self.attempts.len(),
            ready: self.pools.ready() + self.alone.len(),
            engines: self.engines.iter().count(),
        }
    }

    /// About how many bytes the scheduler takes, counted from the capacity of its tables.
    pub fn footprint(&self) -> usize {
        size_of::<Self>()
            + self.stages.heap_bytes()
            + self.stages.iter().map(|(_, stage)| stage.heap_bytes()).sum::<usize>()
            + self.outputs.values().map(|output| size_of::<Output>() + output.heap_bytes()).sum::<usize>()
            + self.jobs.values().map(|job| size_of_val(job) + job.stages.capacity() * 4).sum::<usize>()
            + self.attempts.heap_bytes()
            + self.engines.heap_bytes()
    }
}
