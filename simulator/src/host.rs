//! A fake engine: slots that compute numbers, blocks that hold them, and the orders that it understands.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tryworks_base::ids::{AttemptId, EngineId, OutputId};
use tryworks_scheduler::{KnownBlock, Move, Report, Task, Time};

/// Where a task finds its inputs: for each parent in the pool, the block of each map partition.
pub(super) type Inputs = Rc<Vec<(usize, Vec<(EngineId, AttemptId)>)>>;

/// An order of the hub to an engine. Orders are numbered within the session, so that each is obeyed once and in order.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Run(Task, Inputs),
    Kill(AttemptId),
    Discard(AttemptId),
    Fetch(Move),
    Delete(OutputId),
}

#[derive(Debug)]
pub(super) struct Running {
    pub task: Task,
    pub inputs: Inputs,
    /// The values of each parent, once the task has read them.
    pub read: Option<Vec<Vec<u64>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub output: OutputId,
    pub values: BTreeMap<u32, u64>,
    /// The report of the task that made it.
    pub report: Report,
}

#[derive(Debug)]
pub(super) struct Host {
    /// The session; every start of the engine has another one.
    pub session: EngineId,
    pub alive: bool,
    pub slots: u32,
    pub heard_hub: Time,
    /// The hub that it obeys: each start of the hub has another generation.
    pub generation: u32,
    pub queue: VecDeque<(Task, Inputs)>,
    pub running: BTreeMap<AttemptId, Running>,
    pub blocks: BTreeMap<AttemptId, Block>,
    /// Until then it cannot start tasks.
    pub sick_until: Time,
    next_order: u64,
    early: BTreeMap<u64, Order>,
}

impl Host {
    pub fn new(slots: u32) -> Self {
        Self {
            session: EngineId(0),
            alive: false,
            slots,
            heard_hub: Time::default(),
            generation: 0,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            blocks: BTreeMap::new(),
            sick_until: Time::default(),
            next_order: 0,
            early: BTreeMap::new(),
        }
    }

    /// Forgets everything and begins a session.
    pub fn begin(&mut self, session: EngineId, now: Time, generation: u32) {
        *self = Self { session, alive: true, heard_hub: now, generation, ..Self::new(self.slots) };
    }

    /// Another hub has started. The engine stops what runs for the old one, and returns the blocks that it has.
    pub fn meet(&mut self, generation: u32) -> Vec<(OutputId, KnownBlock)> {
        self.generation = generation;
        self.queue.clear();
        self.running.clear();
        self.next_order = 0;
        self.early.clear();
        let known = |(&made_by, block): (&AttemptId, &Block)| {
            let (engine, report) = (self.session, block.report.clone());
            let partitions = block.values.keys().copied().collect();
            (block.output, KnownBlock { engine, made_by, partitions, report })
        };
        self.blocks.iter().map(known).collect()
    }

    /// Accepts an order; returns the orders whose turn has come, each once.
    pub fn receive(&mut self, number: u64, order: Order) -> Vec<Order> {
        if number >= self.next_order {
            self.early.insert(number, order);
        }
        let mut due = Vec::new();
        while let Some(order) = self.early.remove(&self.next_order) {
            self.next_order += 1;
            due.push(order);
        }
        due
    }

    /// The next task that can begin: one for each slot, and a task that must run alone only if nothing else runs.
    pub fn next_to_run(&mut self) -> Option<(Task, Inputs)> {
        let busy = self.running.len() as u32 >= self.slots || self.running.values().any(|r| r.task.alone);
        let alone = self.queue.front().is_some_and(|(task, _)| task.alone);
        if busy || (alone && !self.running.is_empty()) { None } else { self.queue.pop_front() }
    }
}
