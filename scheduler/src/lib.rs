//! The scheduler: a state machine that takes events and returns actions, and does nothing else.
//!
//! It does no I/O, reads no clock, and uses no randomness and no floating point. The hub, the local runtime and the
//! simulator are shells around it: they hand in an [`Event`] and a [`Time`], and carry out the [`Action`]s in order.
//!
//! ```
//! use tryworks_base::ids::{EngineId, JobId};
//! use tryworks_scheduler::*;
//!
//! let mut scheduler = Scheduler::<String>::new(Config::default());
//! let mut actions = Vec::new();
//! scheduler.handle(Time(0), Event::EngineJoined { engine: EngineId(1), slots: 2 }, &mut actions);
//! let stage = StageSpec {
//!     output: None, partitions: 8, buckets: 0, parents: vec![], deterministic: true, pack: Packing::Fixed(4),
//!     local_to: vec![],
//! };
//! let spec = JobSpec {
//!     label: "eight".into(), stages: vec![stage], wanted: (0..8).into(), limits: Limits::default(),
//!     pool: String::new(), program: 0, delivered: 0,
//! };
//! scheduler.handle(Time(1), Event::JobSubmitted { job: JobId(1), spec }, &mut actions);
//! let Some(Action::Launch { engine, tasks }) = actions.last() else { panic!("two tasks of four partitions") };
//! assert_eq!((*engine, tasks.len(), tasks[1].partitions.len()), (EngineId(1), 2, 4));
//! ```
//!
#![doc = include_str!("../README.md")]

mod action;
mod attempts;
mod demand;
mod dispatch;
mod drain;
mod engines;
mod event;
mod exclusion;
mod jobs;
mod known;
mod losses;
mod outputs;
mod packing;
mod partitions;
mod pools;
mod progress;
mod queue;
mod reports;
mod slab;
mod spec;
mod speculation;
mod stage;
mod unfit;
mod verdict;
mod waiting;
mod why;

pub use action::{Action, Batch, Cancelled, Reason};
pub use drain::Draining;
pub use event::{Change, Event, Failure, FetchFailure, Gate, KnownBlock, Move, PartitionReport, Report, Task};
pub use exclusion::Exclusion;
pub use outputs::{BlockLocation, MapPartition};
pub use packing::pack;
pub use partitions::{Partitions, Run};
pub use progress::{Census, Progress};
pub use spec::{JobSpec, Limits, Packing, PoolSpec, Speculation, StageSpec};
pub use tryworks_base::time::Time;
pub use why::Why;

use attempts::Attempts;
use drain::Drain;
use engines::Engines;
use jobs::Job;
use known::Description;
use outputs::Output;
use pools::Pools;
use slab::{Rank, Slab, StageKey};
use stage::Stage;
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{JobId, OutputId};
use unfit::Unfit;

/// What a shell decides once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// How many tasks an engine may hold beyond its slots at first, so that it need not wait for the scheduler between
    /// two.
    pub prefetch: u32,
    /// How many attempts were launched before this scheduler began (after a hub restarted from its journal).
    pub launched: u64,
    /// Whether engines on which many tasks fail are excluded.
    pub exclusion: Option<Exclusion>,
}

/// Decides what runs where, and what to do after failures. `E` is the shell's error.
#[derive(Debug)]
pub struct Scheduler<E> {
    config: Config,
    now: Time,
    jobs: BTreeMap<JobId, Job>,
    stages: Slab<Stage<E>>,
    /// The stage that makes an output, while a job has it in its plan.
    making: BTreeMap<OutputId, StageKey>,
    outputs: BTreeMap<OutputId, Output>,
    engines: Engines,
    attempts: Attempts,
    /// Stages that could launch a task now, by the pool of their job.
    pools: Pools,
    /// Stages that could launch a task that must be alone.
    alone: BTreeSet<Rank>,
    /// When to look at which stages for stragglers.
    looks: BTreeSet<(Time, StageKey)>,
    /// The engines that cannot run a program for now, by its number.
    unfit: BTreeMap<u64, Unfit<E>>,
    /// What engines that were asked to leave still have to do, by their row.
    draining: BTreeMap<u32, Drain>,
    /// When the last engine that takes tasks was gone and all running tasks had ended.
    no_engine_since: Option<Time>,
    /// Until when each job waits for an engine in that case.
    patience: BTreeSet<(Time, JobId)>,
    /// Numbers the walks over the graph, so that each walk sees a stage once.
    walk: u64,
    /// Numbers the dispatches, so that each makes one launch for an engine.
    pass: u64,
}

impl<E: Clone> Scheduler<E> {
    /// A scheduler without engines and jobs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Time::default(),
            jobs: BTreeMap::new(),
            stages: Slab::default(),
            making: BTreeMap::new(),
            outputs: BTreeMap::new(),
            engines: Engines::default(),
            attempts: Attempts::starting_at(config.launched),
            pools: Pools::default(),
            alone: BTreeSet::new(),
            looks: BTreeSet::new(),
            unfit: BTreeMap::new(),
            draining: BTreeMap::new(),
            no_engine_since: Some(Time::default()),
            patience: BTreeSet::new(),
            walk: 0,
            pass: 0,
        }
    }

    /// Handles an event that happened at `now`, and adds what the shell has to do to `actions`.
    pub fn handle(&mut self, now: Time, event: Event<E>, actions: &mut Vec<Action<E>>) {
        self.apply(now, event, actions);
        self.dispatch(actions);
    }

    /// The same for several events that arrived together: tasks that they make possible are launched as one batch.
    pub fn handle_all(&mut self, now: Time, events: impl IntoIterator<Item = Event<E>>, actions: &mut Vec<Action<E>>) {
        events.into_iter().for_each(|event| self.apply(now, event, actions));
        self.dispatch(actions);
    }

    fn apply(&mut self, now: Time, event: Event<E>, out: &mut Vec<Action<E>>) {
        // If the clock steps back, deadlines must stay reachable.
        self.now = self.now.max(now);
        match event {
            Event::TaskDone { attempt, report } => self.task_done(attempt, report, out),
            Event::TaskFailed { attempt, failure } => self.task_failed(attempt, failure, out),
            Event::PoolDefined { pool, spec } => self.pools.define(pool, spec),
            Event::JobSubmitted { job, spec } => self.submit(job, spec, out),
            Event::JobCancelled { job } => self.cancel(job, out),
            Event::EngineJoined { engine, slots } => {
                if self.engines.join(engine, slots.max(1), self.config.prefetch) {
                    self.wait_again(None);
                }
            }
            Event::EnginePrefetch { engine, prefetch } => self.engines.set_prefetch(engine, prefetch),
            Event::EngineGate { engine, gate } => self.set_gate(engine, gate, out),
            Event::EngineUnfit { engine, program, error, lasts } => {
                self.engine_unfit(engine, program, error, lasts, out);
            }
            Event::EngineLost { engine, .. } => self.engine_lost(engine, out),
            Event::WorkerDied { suspects, error, .. } => self.worker_died(&suspects, &error, out),
            Event::BlockLost { engine, output, partition, made_by } => {
                let at = Some(BlockLocation { made_by, engine });
                self.block_lost(&FetchFailure { output, partition, at }, out);
            }
            Event::OutputKnown { output, partitions, buckets, parents, made, changed, blocks } => {
                self.known(Description { output, partitions, buckets, parents, made, changed }, blocks, out);
            }
            Event::OutputReleased { output } => self.release(output, out),
            Event::BlockMoved(what) => self.block_moved(what, out),
            Event::MoveFailed(what) => self.move_failed(what, out),
            Event::Tick => self.tick(out),
        }
        if !self.unfit.is_empty() {
            self.try_unfit_again();
        }
        self.look_for_engines(out);
    }
}
