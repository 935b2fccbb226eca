//! Why a task waits, from a fixed list.

use super::{Scheduler, engines::Engine, event::Gate, slab::StageKey};
use serde::{Deserialize, Serialize};
use tryworks_base::ids::JobId;

/// Why a task does not run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// A stage that it reads is not complete.
    Dependency {
        /// The first of these stages, by its index in the job.
        stage: u32,
        /// How many of its partitions are missing.
        missing: u32,
    },
    /// There is no engine.
    NoEngine,
    /// Engines are busy; other tasks come first.
    Queue,
    /// Engines are busy with tasks of other pools; it is the next of its own.
    Share,
    /// It may kill its worker, and waits for an engine without other tasks.
    Alone,
    /// The engines with free slots are excluded, since too many tasks failed there or the shell said so.
    Excluded,
    /// The engines with free slots cannot run its program for now.
    Unfit,
    /// Every engine was asked to leave.
    Draining,
    /// Every engine that may be used is short of memory.
    Memory,
    /// No job needs it at the moment.
    NotNeeded,
}

impl Why {
    /// Whether the task would begin if others gave up slots.
    ///
    /// ```
    /// use tryworks_scheduler::Why;
    /// assert!(Why::Queue.is_for_slots() && !Why::NoEngine.is_for_slots());
    /// ```
    pub fn is_for_slots(&self) -> bool {
        matches!(self, Why::Queue | Why::Share | Why::Alone)
    }
}

impl<E: Clone> Scheduler<E> {
    /// Why partition `partition` of a stage waits. `None` if it does not: it is running or done, or is not known.
    pub fn why(&self, job: JobId, stage: u32, partition: u32) -> Option<Why> {
        let key = *self.jobs.get(&job)?.stages.get(stage as usize)?;
        let record = &self.stages[key];
        let alone = record.suspects.iter().any(|task| task.contains(partition));
        let waits = match record.output {
            _ if record.opened => alone || record.queue.contains(partition),
            Some(output) => self.outputs.get(&output)?.missing().iter().any(|run| run.iter().contains(&partition)),
            None => record.results.wanted.iter().any(|run| run.iter().contains(&partition)),
        };
        if !waits {
            return None;
        }
        Some(if !record.wanted {
            Why::NotNeeded
        } else if record.missing > 0 {
            self.first_missing(job, key)?
        } else {
            let others = record.listed.is_some_and(|rank| self.pools.waits_for_others(record.pool, rank));
            self.no_capacity().or_else(|| self.only_unfit(key)).unwrap_or(match (alone, others) {
                (true, _) => Why::Alone,
                (false, true) => Why::Share,
                (false, false) => Why::Queue,
            })
        })
    }

    fn first_missing(&self, job: JobId, key: StageKey) -> Option<Why> {
        let parent = *self.stages[key].parents.iter().find(|&&parent| !self.is_complete(parent))?;
        let output = self.outputs.get(&self.stages[parent].output?)?;
        let stage = self.stages[parent].index_in(job)?;
        Some(Why::Dependency { stage, missing: output.partitions - output.here() })
    }

    /// Slots are free, but only on engines that cannot run the program.
    fn only_unfit(&self, key: StageKey) -> Option<Why> {
        let unfit = self.unfit_for(key);
        let free = |engine: &&Engine| engine.takes_tasks() && (engine.running.len() as u32) < engine.slots;
        let mut free = self.engines.iter().filter(free).peekable();
        free.peek()?;
        free.all(|engine| unfit.contains(&engine.id)).then_some(Why::Unfit)
    }

    fn no_capacity(&self) -> Option<Why> {
        if self.engines.is_empty() {
            return Some(Why::NoEngine);
        }
        let gates = || self.engines.iter().map(|engine| engine.gate);
        if gates().any(|gate| gate == Gate::Open) {
            let mut excluded = self.engines.iter().filter(|e| e.excluded.is_some() && e.gate == Gate::Open);
            return excluded.any(|e| (e.running.len() as u32) < e.slots).then_some(Why::Excluded);
        }
        let any = |wanted| gates().any(|gate| gate == wanted);
        Some(match (any(Gate::Memory), any(Gate::Excluded)) {
            (true, _) => Why::Memory,
            (false, true) => Why::Excluded,
            (false, false) => Why::Draining,
        })
    }
}
