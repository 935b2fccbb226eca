//! Pools: groups of jobs that share the engines by weight. Within a pool, the job that was submitted first is served
//! first.

use super::{Scheduler, slab::Rank, spec::PoolSpec};
use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

#[derive(Debug)]
pub(super) struct Pool {
    spec: PoolSpec,
    /// Launches that are not reported yet.
    running: u32,
    /// Stages that could launch a task now, in the order in which they are served.
    ready: BTreeSet<Rank>,
    /// In the present dispatch: how far its stages were passed over, since none of their tasks fits the free capacity.
    passed: Bound<Rank>,
}

impl Pool {
    fn new(spec: PoolSpec) -> Self {
        Self { spec, running: 0, ready: BTreeSet::new(), passed: Bound::Unbounded }
    }

    fn next(&self) -> Option<Rank> {
        self.ready.range((self.passed, Bound::Unbounded)).next().copied()
    }

    /// Which of two pools is served first. Shares are compared without division.
    fn order(&self, other: &Pool) -> Ordering {
        let needs = |pool: &Pool| pool.running < pool.spec.min_share;
        let share = |part: fn(&PoolSpec) -> u32| {
            let of = |pool: &Pool, whole: &Pool| u64::from(pool.running) * u64::from(part(&whole.spec).max(1));
            of(self, other).cmp(&of(other, self))
        };
        match (needs(self), needs(other)) {
            (true, true) => share(|spec| spec.min_share),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => {
                let priority = Reverse(self.spec.priority).cmp(&Reverse(other.spec.priority));
                priority.then_with(|| share(|spec| spec.weight))
            }
        }
    }
}

/// All pools. The first one has no name: it is that of jobs that name none.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<Pool>,
    by_name: BTreeMap<String, u32>,
}

impl Default for Pools {
    fn default() -> Self {
        let mut pools = Self { pools: Vec::new(), by_name: BTreeMap::new() };
        pools.define(String::new(), PoolSpec::default());
        pools
    }
}

impl Pools {
    pub fn define(&mut self, name: String, spec: PoolSpec) {
        let next = self.pools.len() as u32;
        let at = *self.by_name.entry(name).or_insert(next);
        match self.pools.get_mut(at as usize) {
            Some(pool) => pool.spec = spec,
            None => self.pools.push(Pool::new(spec)),
        }
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The names of all pools that have one.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().filter(|name| !name.is_empty()).cloned().collect()
    }

    pub fn started(&mut self, pool: u32, tasks: u32) {
        self.pools[pool as usize].running += tasks;
    }

    pub fn ended(&mut self, pool: u32, tasks: u32) {
        self.pools[pool as usize].running -= tasks;
    }

    pub fn list(&mut self, pool: u32, rank: Rank) {
        self.pools[pool as usize].ready.insert(rank);
    }

    pub fn unlist(&mut self, pool: u32, rank: Rank) {
        self.pools[pool as usize].ready.remove(&rank);
    }

    /// A dispatch begins: no stage is passed over yet.
    pub fn begin(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.passed = Bound::Unbounded);
    }

    /// The stage that is served next, and its pool.
    pub fn next(&self) -> Option<(u32, Rank)> {
        if let [only] = &self.pools[..] {
            return Some((0, only.next()?));
        }
        let waiting = self.pools.iter().zip(0u32..).filter_map(|(pool, at)| Some((pool, at, pool.next()?)));
        // Of equal pools, the one that was defined first.
        waiting.min_by(|(a, ..), (b, ..)| a.order(b)).map(|(_, at, rank)| (at, rank))
    }

    /// No task of this stage fits the free capacity that is left.
    pub fn pass_over(&mut self, pool: u32, rank: Rank) {
        self.pools[pool as usize].passed = Bound::Excluded(rank);
    }

    /// Whether a stage is the first in its pool, and other pools have the slots that it waits for.
    pub fn waits_for_others(&self, pool: u32, rank: Rank) -> bool {
        let others = self.pools.iter().zip(0u32..).any(|(other, at)| at != pool && other.running > 0);
        others && self.pools[pool as usize].ready.first() == Some(&rank)
    }

    /// How many stages of a pool could launch a task.
    pub fn listed(&self, pool: u32) -> u32 {
        self.pools[pool as usize].ready.len() as u32
    }

    pub fn ready(&self) -> usize {
        self.pools.iter().map(|pool| pool.ready.len()).sum()
    }
}

impl<E: Clone> Scheduler<E> {
    /// How many launches of a pool's jobs are not reported yet; `None` if there is no such pool.
    pub fn pool_running(&self, name: &str) -> Option<u32> {
        self.pools.find(name).map(|pool| self.pools.pools[pool as usize].running)
    }
}
