//! One stage that some job knows: the jobs that read it, the tasks that wait in it, and the failures of its tasks.

use super::{
    event::FetchFailure,
    partitions::{Bits, Partitions, Run},
    slab::{Rank, StageKey},
    spec::Packing,
    speculation::Pace,
    waiting::Waiting,
};
use std::collections::{BTreeMap, VecDeque};
use tryworks_base::ids::{EngineId, JobId, OutputId};

#[derive(Debug)]
pub(super) struct Stage<E> {
    pub output: Option<OutputId>,
    /// The jobs that have it in their plan, with its index there, oldest first. The first one owns it.
    pub users: Vec<(JobId, u32)>,
    pub parents: Vec<StageKey>,
    pub children: Vec<StageKey>,
    pub partitions: u32,
    pub pack: Packing,
    pub deterministic: bool,

    /// A job waits for it.
    pub wanted: bool,
    /// How many parents are not complete.
    pub missing: u32,
    /// From then on every partition is in exactly one place: waiting, running, or done.
    pub opened: bool,
    /// The stage attempt.
    pub epoch: u32,
    /// Partitions that could not be fetched since a task was last done: for each map partition, one failure for each
    /// stage attempt that it ended.
    pub barren: BTreeMap<(OutputId, u32), Vec<FetchFailure>>,

    pub queue: Waiting,
    /// Tasks that must run alone.
    pub suspects: VecDeque<Partitions>,
    /// How many tasks are running, and how many partitions they have.
    pub running: u32,
    pub running_partitions: u32,
    /// How many second launches are running.
    pub copies: u32,
    /// How long its tasks take, if stragglers are to be found.
    pub pace: Option<Box<Pace>>,
    pub tasks_done: u32,
    pub tasks_failed: u32,
    /// Result stage only: the partitions to compute and those that are committed.
    pub results: Results,
    /// What happened to tasks that had to be retried, by their first partition.
    pub troubles: BTreeMap<u32, Trouble<E>>,

    /// The program of its jobs.
    pub program: u64,
    /// The pool of the job that owns it.
    pub pool: u32,
    /// Its place in the list of ready stages, if it is listed; then the same for its suspects.
    pub listed: Option<Rank>,
    pub listed_alone: Option<Rank>,
    /// The last walk that visited it.
    pub seen: u64,
}

#[derive(Debug, Default)]
pub(super) struct Results {
    pub wanted: Vec<Run>,
    pub total: u32,
    pub done: u32,
    /// Results that were delivered before the shell restarted.
    pub delivered: u32,
    pub committed: Bits,
}

/// The failures of a task, each kind counted separately.
#[derive(Debug)]
pub(super) struct Trouble<E> {
    pub failures: u32,
    pub deaths: u32,
    pub losses: u32,
    /// How many times its output could not be read.
    pub unread: u32,
    pub first: Option<E>,
    pub avoid: Vec<EngineId>,
}

impl<E> Default for Trouble<E> {
    fn default() -> Self {
        Self { failures: 0, deaths: 0, losses: 0, unread: 0, first: None, avoid: Vec::new() }
    }
}

impl<E> Trouble<E> {
    /// Avoids this engine for the task, if another one can run it.
    pub fn avoid(&mut self, engine: EngineId) {
        if !self.avoid.contains(&engine) {
            self.avoid.push(engine);
        }
    }

    pub fn tries(&self) -> u32 {
        self.failures + self.deaths + self.losses + self.unread
    }
}

impl<E> Stage<E> {
    pub fn owner(&self) -> (JobId, u32) {
        self.users[0]
    }

    pub fn index_in(&self, job: JobId) -> Option<u32> {
        self.users.iter().find(|(user, _)| *user == job).map(|&(_, index)| index)
    }

    /// Whether it would launch something if it could read its parents.
    pub fn is_hungry(&self) -> bool {
        self.wanted && (!self.opened || !self.queue.is_empty() || !self.suspects.is_empty())
    }

    /// How many times a task was launched before.
    pub fn tries(&self, task: &Partitions) -> u32 {
        if self.troubles.is_empty() {
            return 0;
        }
        self.troubles.get(&task.first()).map_or(0, Trouble::tries)
    }

    pub fn trouble(&mut self, task: &Partitions) -> &mut Trouble<E> {
        self.troubles.entry(task.first()).or_default()
    }

    /// The engines to avoid for the task that begins with this partition.
    pub fn to_avoid(&self, first: u32) -> &[EngineId] {
        self.troubles.get(&first).map_or(&[], |trouble| &trouble.avoid)
    }

    /// Puts a task that was launched back to waiting: alone if it is a suspect.
    pub fn put_back(&mut self, task: Partitions) {
        if self.troubles.get(&task.first()).is_some_and(|trouble| trouble.deaths > 0) {
            self.suspects.push_back(task);
        } else {
            self.queue.push_again(task);
        }
    }

    /// Whether there is a task to launch that need not run alone.
    pub fn has_tasks(&self) -> bool {
        !self.queue.is_empty() || self.pace.as_ref().is_some_and(|pace| pace.wants_copies())
    }

    /// How many launches are not reported yet.
    pub fn launches(&self) -> u32 {
        self.running + self.copies
    }

    pub fn waiting_tasks(&self) -> u32 {
        self.queue.tasks() + self.suspects.len() as u32
    }

    pub fn heap_bytes(&self) -> usize {
        self.queue.heap_bytes()
            + self.results.committed.heap_bytes()
            + self.users.capacity() * size_of::<(JobId, u32)>()
            + (self.parents.capacity() + self.children.capacity()) * size_of::<StageKey>()
            + self.suspects.capacity() * size_of::<Partitions>()
            + self.pace.as_ref().map_or(0, |pace| pace.heap_bytes())
            + self.troubles.len() * size_of::<(u32, Trouble<E>)>()
    }
}
