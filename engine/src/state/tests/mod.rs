//! The state alone: what is handed in and what comes out. Time moves only when a test says so.

mod blocks;
mod hub;
mod seeds;
mod time;

use super::{BlockOrder, Death, Engine, Order, Piece, Setup, Stock, TICK};
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, ExchangeId, JobId, OutputId, SessionId};
use tryworks_protocol::engine::{Assignment, CodeId, FromEngine, StorePlace, ToEngine, Welcome};
use tryworks_protocol::worker::{FromWorker, ToWorker};
use tryworks_scheduler::{Failure, PartitionReport, Report, Task, Time};
use tryworks_store::blocks::{BlockKey, Quota, Sealed};

pub(crate) const SESSION: SessionId = SessionId(1);
pub(crate) const WORKER: u64 = 1;
const MEMORY: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// An engine and the current time.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
}

impl World {
    /// An engine that was just created.
    pub(crate) fn begun(store: StorePlace, stock: Stock) -> Self {
        let setup = Setup {
            name: "one".into(),
            machine: "here".into(),
            slots: 2,
            memory: MEMORY,
            directory: PathBuf::from("/engine"),
            store,
            patience: PATIENCE,
        };
        let now = Time(0) + SECOND;
        World { engine: Engine::new(setup, stock, now), now }
    }

    /// An engine that has joined a hub and has a worker that has said hello.
    pub(crate) fn serving(store: StorePlace, stock: Stock) -> Self {
        let mut world = World::begun(store, stock);
        world.join(1);
        world.session();
        world.engine.started(WORKER, 77, 700);
        assert!(world.engine.greet(world.now, WORKER).is_some());
        world.engine.orders();
        world.engine.for_hub();
        world
    }

    fn new() -> Self {
        let (store, stock) = nowhere();
        World::serving(store, stock)
    }

    pub(crate) fn join(&mut self, engine: u32) {
        self.engine.joined(self.now, &Welcome { engine: EngineId(engine), beat_ms: 1000 });
    }

    fn session(&mut self) {
        self.hub(ToEngine::Session { session: SESSION, program: Box::default(), host: "here".into(), address: None });
    }

    pub(crate) fn hub(&mut self, message: ToEngine) {
        self.engine.hub_says(self.now, message);
    }

    pub(crate) fn launch(&mut self, attempts: impl IntoIterator<Item = u64>) {
        let tasks = attempts.into_iter().map(|attempt| assignment(AttemptId(attempt), code())).collect();
        self.hub(ToEngine::Launch { tasks });
    }

    pub(crate) fn worker(&mut self, message: FromWorker) {
        self.engine.worker_says(self.now, WORKER, message);
    }

    fn ended(&mut self, how: &str, ran: &[u64]) {
        let ran = ran.iter().copied().map(AttemptId).collect();
        self.engine.worker_ended(self.now, WORKER, &Death { how: how.into(), hopeless: false, ran });
    }

    /// Lets time pass, with ticks in between.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.now = until.min(self.now + TICK);
            self.engine.tick(self.now);
        }
    }

    /// The workers that are to be killed, each once.
    fn killed(&mut self) -> Vec<u64> {
        let orders = self.engine.orders();
        let kill = |order| if let Order::Kill { worker } = order { Some(worker) } else { None };
        let mut workers: Vec<_> = orders.into_iter().filter_map(kill).collect();
        workers.dedup();
        workers
    }

    /// The messages to the hub, without beats.
    fn told(&mut self) -> Vec<FromEngine> {
        let all = self.engine.for_hub();
        all.into_iter().filter(|message| !matches!(message, FromEngine::Beat { .. })).collect()
    }

    /// The messages to the worker.
    fn said(&mut self) -> Vec<ToWorker> {
        self.engine.for_workers().into_iter().flat_map(|(_, batch)| batch).collect()
    }

    /// The kinds of the orders to the store, in order.
    fn stored(&mut self) -> Vec<&'static str> {
        let name = |order| match order {
            Order::Blocks(BlockOrder::Add { .. }) => Some("add"),
            Order::Blocks(BlockOrder::Delete { .. }) => Some("delete"),
            Order::Blocks(BlockOrder::Discard { .. }) => Some("discard"),
            Order::Blocks(BlockOrder::DeleteOutputs { .. }) => Some("delete outputs"),
            _ => None,
        };
        self.engine.orders().into_iter().filter_map(name).collect()
    }
}

fn nowhere() -> (StorePlace, Stock) {
    let (host, directory, socket) = ("here".to_string(), "/blocks".into(), "/socket".into());
    let place = StorePlace { host, directory, socket, address: None, key: BlockKey::new([7; 32]) };
    (place, Stock { used: 5, quota: Quota { limit: None, used: 3 } })
}

pub(crate) fn output() -> OutputId {
    SESSION.output(ExchangeId(3))
}

pub(crate) fn code() -> CodeId {
    CodeId::Output(output())
}

/// A task of four partitions.
pub(crate) fn assignment(attempt: AttemptId, code: CodeId) -> Assignment {
    let (job, stage, stage_attempt, tries, alone, copy_of) = (JobId(1), 0, 0, 0, false, None);
    let partitions = (0..4).into();
    let task = Task { attempt, job, stage, stage_attempt, tries, alone, copy_of, partitions };
    Assignment { task, session: SESSION, code }
}

pub(crate) fn done(attempt: u64, blocks: Vec<(OutputId, u32, Sealed)>) -> FromWorker {
    let partitions = blocks.iter().map(|_| PartitionReport { bytes: 1, rows: 1, checksum: 1 }).collect();
    let report = Report { partitions, bucket_bytes: Vec::new() };
    FromWorker::Done { attempt: AttemptId(attempt), report, blocks, results: vec![], kept: vec![], span: (1, 2) }
}

pub(crate) fn failed(attempt: u64) -> FromWorker {
    FromWorker::Failed { attempt: AttemptId(attempt), failure: Failure::Killed, span: (1, 2) }
}

fn blocks() -> Vec<(OutputId, u32, Sealed)> {
    (0..4).map(|partition| (output(), partition, Sealed::File { bytes: 1000 })).collect()
}
