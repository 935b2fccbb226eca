//! What the simulated drivers want: jobs over a common pool of stages, and the right answers.

use super::rng::{Rng, mix};
use std::time::Duration;
use tryworks_base::ids::{EngineId, JobId, OutputId};
use tryworks_scheduler::{JobSpec, Limits, Packing, Partitions, Run, Speculation, StageSpec, Task};

/// A stage of the pool. Its output is its number in the pool.
#[derive(Debug)]
pub(super) struct PoolStage {
    pub partitions: u32,
    pub buckets: u32,
    /// The parents, by their smaller numbers in the pool.
    pub parents: Vec<usize>,
    /// Each launch gives a different answer.
    pub fickle: bool,
    pub pack: Packing,
}

/// A job over the pool: its own result stage reads some of the pool's stages.
#[derive(Debug)]
pub(super) struct Job {
    pub id: JobId,
    /// The stages that it needs, by their number in the pool, ascending; the result stage comes after them.
    pub stages: Vec<usize>,
    pub parents: Vec<usize>,
    pub spec: JobSpec,
    /// It depends on a fickle stage, so there is no single right answer.
    pub fickle: bool,
}

#[derive(Debug)]
pub(super) struct Workload {
    pub pool: Vec<PoolStage>,
    pub jobs: Vec<Job>,
    /// The right values of each output that depends on no fickle stage.
    answers: Vec<Vec<u64>>,
}

pub(super) fn output(stage: usize) -> OutputId {
    OutputId(stage as u64)
}

/// The value of a partition: a number that depends on everything that it reads. `who` distinguishes stages.
pub(super) fn compute<'a>(who: u64, partition: u32, inputs: impl Iterator<Item = &'a u64>) -> u64 {
    inputs.fold(mix(who, u64::from(partition)), |sum, value| mix(sum, mix(*value, u64::from(partition))))
}

impl Workload {
    pub fn random(rng: &mut Rng, fickle: bool) -> Self {
        let size = rng.within(1, 8) as usize;
        let mut pool: Vec<PoolStage> = Vec::new();
        for at in 0..size {
            let parents = if at > 0 && rng.chance(700) { some_of(rng, at) } else { Vec::new() };
            pool.push(PoolStage {
                partitions: if rng.chance(30) { 0 } else { rng.within(1, 10) as u32 },
                buckets: rng.within(1, 8) as u32,
                parents,
                fickle: fickle && rng.chance(400),
                pack: packing(rng),
            });
        }
        let mut answers: Vec<Vec<u64>> = Vec::new();
        for (at, stage) in pool.iter().enumerate() {
            let inputs = || stage.parents.iter().flat_map(|&parent| &answers[parent]);
            let values = (0..stage.partitions).map(|p| compute(at as u64, p, inputs())).collect();
            answers.push(values);
        }
        let mut workload = Self { pool, jobs: Vec::new(), answers };
        let most = if rng.chance(100) { 20 } else { 5 };
        for id in 0..rng.within(1, most) {
            let job = workload.random_job(rng, JobId(id + 1));
            workload.jobs.push(job);
        }
        workload
    }

    fn random_job(&self, rng: &mut Rng, id: JobId) -> Job {
        let parents = if rng.chance(900) { some_of(rng, self.pool.len()) } else { Vec::new() };
        let mut needed = vec![false; self.pool.len()];
        parents.iter().for_each(|&parent| needed[parent] = true);
        for at in (0..self.pool.len()).rev() {
            if needed[at] {
                self.pool[at].parents.iter().for_each(|&parent| needed[parent] = true);
            }
        }
        let stages: Vec<usize> = (0..self.pool.len()).filter(|&at| needed[at]).collect();
        let index = |at: &usize| stages.iter().position(|stage| stage == at).unwrap_or_default();
        let mut specs: Vec<StageSpec> = stages
            .iter()
            .map(|&at| StageSpec {
                output: Some(output(at)),
                partitions: self.pool[at].partitions,
                buckets: self.pool[at].buckets,
                parents: self.pool[at].parents.iter().map(index).collect(),
                deterministic: !self.pool[at].fickle,
                pack: self.pool[at].pack,
                local_to: hints(rng, self.pool[at].partitions),
            })
            .collect();
        let partitions = rng.within(1, 10) as u32;
        specs.push(StageSpec {
            output: None,
            partitions,
            buckets: 0,
            parents: parents.iter().map(index).collect(),
            deterministic: true,
            pack: packing(rng),
            local_to: hints(rng, partitions),
        });
        let wanted: Partitions = match rng.below(4) {
            0 => (0..partitions).filter(|_| rng.chance(500)).collect(),
            _ => (0..partitions).into(),
        };
        let limits = Limits {
            no_engine_grace: Duration::from_secs(2),
            max_losses: if rng.chance(200) { 2 } else { Limits::default().max_losses },
            max_attempts: rng.within(1, 4) as u32,
            speculation: rng.chance(300).then(|| Speculation {
                quantile_percent: rng.within(20, 90) as u32,
                multiplier_percent: rng.within(50, 300) as u32,
            }),
            max_result_bytes: if rng.chance(30) { 8 * rng.below(10) } else { u64::MAX },
            ..Limits::default()
        };
        let fickle = stages.iter().any(|&at| self.pool[at].fickle);
        Job {
            id,
            stages,
            parents,
            spec: JobSpec {
                label: String::new(),
                stages: specs,
                wanted,
                limits,
                pool: POOLS[rng.below(3) as usize].into(),
                program: 0,
                delivered: 0,
            },
            fickle,
        }
    }

    /// The value of a result partition by a sequential evaluation of the plan.
    pub fn answer(&self, job: &Job, partition: u32) -> u64 {
        compute(result_name(job.id), partition, job.parents.iter().flat_map(|&parent| &self.answers[parent]))
    }
}

/// The identity under which a result stage computes; no stage of the pool has it.
pub(super) fn result_name(job: JobId) -> u64 {
    job.0 | 1 << 32
}

/// The pools of the simulated cluster; jobs of the first pool name none.
pub(super) const POOLS: [&str; 3] = ["", "batch", "urgent"];

fn some_of(rng: &mut Rng, below: usize) -> Vec<usize> {
    let mut some: Vec<usize> = (0..rng.within(1, 2)).map(|_| rng.below(below as u64) as usize).collect();
    some.sort_unstable();
    some.dedup();
    some
}

/// Hints about where partitions would run best: on engines that exist or never will.
fn hints(rng: &mut Rng, partitions: u32) -> Vec<(Run, EngineId)> {
    let number = if rng.chance(300) { rng.within(1, 4) } else { 0 };
    let run = |rng: &mut Rng| {
        let start = rng.below(u64::from(partitions) + 1) as u32;
        Run::new(start, start + rng.below(u64::from(partitions)) as u32)
    };
    (0..number).map(|_| (run(rng), EngineId(rng.within(1, 9) as u32))).collect()
}

fn packing(rng: &mut Rng) -> Packing {
    match rng.chance(300) {
        true => Packing::BySize { target_bytes: rng.within(1, 200), max_partitions: rng.within(1, 6) as u32 },
        false => Packing::Fixed(rng.within(1, 4) as u32),
    }
}

/// The identity under which a task computes: the number of its stage in the pool, or the name of its job's result.
pub(super) fn who(workload: &Workload, task: &Task) -> u64 {
    let job = &workload.jobs[task.job.0 as usize - 1];
    job.stages.get(task.stage as usize).map_or_else(|| result_name(job.id), |&stage| stage as u64)
}

/// The output of the pool stage that a task makes, if it makes one.
pub(super) fn made_output(who: u64) -> Option<OutputId> {
    (who >> 32 == 0).then(|| output(who as usize))
}
