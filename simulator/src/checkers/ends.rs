//! Whether a job may end as it does: its results depend on one version of every output, and its failure really
//! happened.

use super::{Checkers, Violation};
use crate::workload::{Workload, result_name};
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, JobId};
use tryworks_scheduler::{Gate, Reason};

impl Checkers {
    /// Checks that the results depend, directly or indirectly, on one version of each output.
    pub(super) fn one_version(&self, id: JobId) -> Result<(), Violation> {
        let Some(job) = self.jobs.get(&id) else { return Ok(()) };
        let mut versions: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut seen: BTreeSet<AttemptId> = job.committed.values().copied().collect();
        let mut stack: Vec<AttemptId> = seen.iter().copied().collect();
        while let Some(made) = stack.pop().and_then(|attempt| self.made.get(&attempt)) {
            for (stage, places) in made.inputs.iter() {
                for (partition, (_, attempt)) in places.iter().enumerate() {
                    let values = self.made.get(attempt).map(|made| &made.values);
                    let Some(&value) = values.and_then(|values| values.get(&(partition as u32))) else {
                        return Err(format!("{id} read partition {partition} of stage {stage}, which was never made"));
                    };
                    if *versions.entry((*stage, partition)).or_insert(value) != value {
                        return Err(format!("{id} rests on two versions of partition {partition} of stage {stage}"));
                    }
                    if seen.insert(*attempt) {
                        stack.push(*attempt);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn happened(&self, workload: &Workload, id: JobId, reason: &Reason<String>) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let plan = &workload.jobs[id.0 as usize - 1];
        let name = |stage: u32| plan.stages.get(stage as usize).map_or_else(|| result_name(id), |&stage| stage as u64);
        let harm = |stage: u32, first: u32| self.harm.get(&(name(stage), first));
        let limits = &job.spec.limits;
        match reason {
            Reason::Task { stage, partitions, failures, error } => {
                harm(*stage, partitions.first()).is_some_and(|harm| {
                    harm.errors.contains(error)
                        && harm.errors.len() >= *failures as usize
                        && *failures >= limits.max_attempts
                })
            }
            Reason::Worker { stage, partitions, deaths, .. } => {
                *deaths >= limits.max_worker_deaths
                    && harm(*stage, partitions.first()).is_some_and(|harm| harm.deaths >= *deaths)
            }
            Reason::Losses { stage, partitions, losses } => {
                harm(*stage, partitions.first()).is_some_and(|harm| harm.losses >= *losses)
            }
            Reason::Fetch { failures, .. } => {
                failures.len() >= limits.max_stage_attempts as usize
                    && failures.iter().all(|failure| self.fetches.contains(failure))
                    // The block was recomputed each time.
                    && failures.iter().map(|lost| lost.at).collect::<BTreeSet<_>>().len() == failures.len()
                    && failures.iter().all(|f| (f.output, f.partition) == (failures[0].output, failures[0].partition))
            }
            Reason::Nondeterministic { stage, delivered, .. } => {
                // The stage itself, or one that it reads and that was recomputed with it, is fickle.
                plan.fickle && plan.stages.get(*stage as usize).is_some() && job.committed.len() == *delivered as usize
            }
            Reason::Limit { name, limit, value } => {
                name == "max_result_bytes" && value > limit && *limit == limits.max_result_bytes && job.bytes >= *value
            }
            Reason::NoEngine { waited } => {
                let leaves = |engine| matches!(self.gates.get(engine), Some(Gate::Draining | Gate::Excluded));
                self.capacity.keys().all(leaves) && self.out.is_empty() && *waited >= limits.no_engine_grace
            }
            Reason::Unfit { engines } => {
                let leaves =
                    |engine: &EngineId| matches!(self.gates.get(engine), Some(Gate::Draining | Gate::Excluded));
                let told: BTreeSet<EngineId> = engines.iter().map(|(engine, _)| *engine).collect();
                told.is_subset(&self.unfit)
                    && self.capacity.keys().all(|engine| leaves(engine) || told.contains(engine))
            }
            Reason::NoPool { .. } | Reason::Invalid { .. } => false,
        }
    }
}
