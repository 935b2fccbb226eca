//! What a shell asks for: a job as stages, how to pack them, and the limits it runs under.

use super::partitions::{Partitions, Run};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tryworks_base::ids::{EngineId, OutputId};

/// One job: the partitions it wants of its last stage, and every stage they may need.
///
/// The whole lineage is given each time. Which of it must run follows from what lives already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What people call it; the scheduler never reads it.
    pub label: String,
    /// Parents before children. The last one is the result stage.
    pub stages: Vec<StageSpec>,
    /// The partitions of the result stage to compute.
    pub wanted: Partitions,
    /// When to give up.
    pub limits: Limits,
    /// The pool whose share it gets; the empty name is that of the pool which is always there.
    pub pool: String,
    /// Whose code it runs, by a number of the shell's: an engine may be unfit for one program and well for others. Jobs
    /// that share an output are of one program.
    pub program: u64,
    /// How many of its results were delivered before it came again; 0 for a new one.
    pub delivered: u32,
}

/// One stage: a pipe over `partitions` logical partitions, after all of its parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// What it makes. `None` for the result stage, and only for it.
    pub output: Option<OutputId>,
    /// How many logical partitions.
    pub partitions: u32,
    /// Into how many buckets each of its partitions is divided for its readers; 0 for the result stage.
    pub buckets: u32,
    /// The stages it reads, by their index in the job, each smaller than its own.
    pub parents: Vec<usize>,
    /// Whether the user's code is believed to give the same again. A stage that says no is not reported
    /// as a surprise when it does not; what is then made again is the same.
    pub deterministic: bool,
    /// How partitions become tasks.
    pub pack: Packing,
    /// Which engines have what these partitions read: cached, or in files there. Of several that are named for a
    /// partition, the first that is there counts. Only hints: a task never waits for them while a slot is free.
    pub local_to: Vec<(Run, EngineId)>,
}

/// How the partitions of a stage become tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// This many to a task (0 counts as 1).
    Fixed(u32),
    /// Neighbours until what they read reaches a size. Partition `i` reads bucket `i` of every parent that
    /// has as many buckets as this stage has partitions; other parents do not count.
    BySize {
        /// Enough for one task.
        target_bytes: u64,
        /// However small they are, no more than this many.
        max_partitions: u32,
    },
}

/// When a job gives up. Each count is of its own kind: losing engines never uses up a user's retries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How often a task may return an error or panic before its job fails (1: at the first).
    pub max_attempts: u32,
    /// How often a task may be among those that a dying worker was running. From the first on it runs alone.
    pub max_worker_deaths: u32,
    /// How often a task may be running on an engine that is lost, or be stopped through no fault of its own.
    pub max_losses: u32,
    /// How many attempts of a stage in a row may end because the same partition could not be fetched, though it was
    /// made again each time, with no task done in between. However many blocks are found missing one after another,
    /// each is made again.
    pub max_stage_attempts: u32,
    /// The bytes of all results of the job together.
    pub max_result_bytes: u64,
    /// How long a job waits while there is no engine at all, or none that takes tasks and nothing runs.
    pub no_engine_grace: Duration,
    /// Whether tasks that take much longer than others are run a second time elsewhere. Of a stage that several jobs
    /// share, the first of them decides.
    pub speculation: Option<Speculation>,
}

/// When a task is run a second time: the first of the two to finish counts, the other is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speculation {
    /// So many per cent of the stage's tasks must be done.
    pub quantile_percent: u32,
    /// From then on, a task that was launched longer ago than so many per cent of the median of those that are done.
    pub multiplier_percent: u32,
}

impl Default for Speculation {
    fn default() -> Self {
        Self { quantile_percent: 75, multiplier_percent: 150 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            max_worker_deaths: 2,
            max_losses: 16,
            max_stage_attempts: 4,
            max_result_bytes: u64::MAX,
            no_engine_grace: Duration::from_secs(60),
            speculation: None,
        }
    }
}

impl Limits {
    /// For threads of this process, where an error will only happen again: the first one fails the job.
    pub fn local() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }
}

impl JobSpec {
    /// Says what is wrong with the shape of the job, if anything.
    pub fn check(&self) -> Result<(), &'static str> {
        let Some(last) = self.stages.len().checked_sub(1) else {
            return Err("a job needs at least one stage");
        };
        let mut outputs = std::collections::BTreeSet::new();
        for (at, stage) in self.stages.iter().enumerate() {
            if stage.parents.iter().any(|&parent| parent >= at) {
                return Err("a stage reads a stage that does not come before it");
            }
            match stage.output {
                None if at != last => return Err("a stage before the last makes no output"),
                Some(_) if at == last => return Err("the result stage makes an output"),
                Some(output) if !outputs.insert(output) => return Err("two stages make the same output"),
                _ => {}
            }
        }
        if self.wanted.runs().iter().any(|run| run.end > self.stages[last].partitions) {
            return Err("a wanted partition does not exist");
        }
        Ok(())
    }
}
