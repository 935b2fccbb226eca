//! What a shell asks for: a job as stages, how to pack them, and the job's limits.

use super::partitions::{Partitions, Run};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tryworks_base::ids::{EngineId, OutputId};

/// One job: the partitions that it wants of its last stage, and every stage that they may need.
///
/// The shell gives the whole lineage each time. Which stages must run depends on what exists already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A name for people; the scheduler never reads it.
    pub label: String,
    /// Parents before children. The last one is the result stage.
    pub stages: Vec<StageSpec>,
    /// The partitions of the result stage to compute.
    pub wanted: Partitions,
    /// When to give up.
    pub limits: Limits,
    /// The pool whose share it uses; the empty name is that of the pool that always exists.
    pub pool: String,
    /// The program whose code it runs, by a number of the shell's. An engine may be unfit for one program and fit for
    /// others. Jobs that share an output run the same program.
    pub program: u64,
    /// How many of its results had been delivered before it was submitted again; 0 for a new job.
    pub delivered: u32,
}

/// One stage: a pipe over `partitions` logical partitions, after all of its parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// The output that it makes. `None` for the result stage, and only for it.
    pub output: Option<OutputId>,
    /// How many logical partitions it has.
    pub partitions: u32,
    /// Into how many buckets each of its partitions is divided for its readers; 0 for the result stage.
    pub buckets: u32,
    /// The stages it reads, by their index in the job, each smaller than its own.
    pub parents: Vec<usize>,
    /// Whether the user's code is believed to give the same answer again. If it is declared not to, a different answer
    /// is not reported as a surprise; the same partitions are recomputed.
    pub deterministic: bool,
    /// How partitions become tasks.
    pub pack: Packing,
    /// Which engines have what these partitions read: cached, or in files there. If several engines are named for a
    /// partition, the first one that is there counts. These are only hints: a task never waits for them while a slot is
    /// free.
    pub local_to: Vec<(Run, EngineId)>,
}

/// How the partitions of a stage become tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// This many to a task (0 counts as 1).
    Fixed(u32),
    /// Neighbouring partitions, until what they read reaches a size. Partition `i` reads bucket `i` of every parent
    /// that has as many buckets as this stage has partitions; other parents do not count.
    BySize {
        /// The size at which a task is large enough.
        target_bytes: u64,
        /// The most partitions in a task, however small they are.
        max_partitions: u32,
    },
}

/// When a job gives up. Each kind of failure has its own count: losing engines never uses up a user's retries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How many times a task may return an error or panic before its job fails (1: at the first time).
    pub max_attempts: u32,
    /// How many times a task may be among those that a dying worker was running. After the first time it runs alone.
    pub max_worker_deaths: u32,
    /// How many times a task may be running on an engine that is lost, or be stopped without being to blame.
    pub max_losses: u32,
    /// How many attempts of a stage in a row may end because the same partition could not be fetched, though it was
    /// recomputed each time. The count restarts when a task is done. Different blocks may be found missing one after
    /// another any number of times: each is recomputed.
    pub max_stage_attempts: u32,
    /// The bytes of all results of the job together.
    pub max_result_bytes: u64,
    /// How long a job waits while there is no engine, or while none takes tasks and nothing runs.
    pub no_engine_grace: Duration,
    /// Whether tasks that take much longer than others are run a second time on another engine. If several jobs share a
    /// stage, the first of them decides.
    pub speculation: Option<Speculation>,
}

/// When a task is run a second time: the first of the two to finish counts, and the other one is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speculation {
    /// The percentage of the stage's tasks that must be done.
    pub quantile_percent: u32,
    /// After that, a task is slow if it was launched longer ago than this percentage of the median time of the tasks
    /// that are done.
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
    /// For threads of this process, where an error will only happen again: the first error fails the job.
    pub fn local() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }
}

impl JobSpec {
    /// Says what is wrong with the shape of the job.
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

/// A pool's share of the engines. It decides whose task comes next; no running task is stopped for it.
///
/// Pools that run fewer tasks than their `min_share` come first. Then come those of the highest `priority`, and among
/// those the one with the fewest running tasks for its `weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// A pool of weight 2 gets twice as many slots as one of weight 1 (0 counts as 1).
    pub weight: u32,
    /// How many slots it gets before weights and priorities count.
    pub min_share: u32,
    /// While a pool has tasks that could run, pools of a lower priority get only their `min_share`.
    pub priority: i32,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self { weight: 1, min_share: 0, priority: 0 }
    }
}
