//! The real state of engines, on machines where workers, stores and tasks are simulated.

use super::network::{End, said};
use super::{Bug, Happening, MS, SECOND, World};
use crate::workload::{compute, result_name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, ExchangeId, JobId, OutputId, SessionId};
use tryworks_engine::state::{BlockOrder, Death, Engine, Order, Setup, Stock, TICK};
use tryworks_protocol::engine::{
    Assignment, BlockPlace, CodeBytes, CodeId, HeldResult, Places, ResultPart, StorePlace, ToEngine, Welcome,
};
use tryworks_protocol::worker::{FromWorker, ToWorker};
use tryworks_protocol::{Hello, HostInfo, Opening, Purpose, decode, opening, results_of};
use tryworks_scheduler::{Failure, FetchFailure, PartitionReport, Report, Time};
use tryworks_store::blocks::{BlockKey, Quota, Sealed};
use tryworks_transport::PeerId;

/// The blocks that a launch made.
#[derive(Debug)]
pub(super) struct Block {
    output: OutputId,
    values: BTreeMap<u32, u64>,
}

/// What a task runs, according to the bytes of its code.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// Computes a stage of the pool.
    Pool(usize),
    /// Computes the results of a job of the workload.
    Results(usize),
}

impl Code {
    pub(super) fn bytes(self) -> CodeBytes {
        let (kind, number) = match self {
            Code::Pool(stage) => (0, stage),
            Code::Results(plan) => (1, plan),
        };
        CodeBytes::Here(vec![kind, number as u8])
    }

    fn read(bytes: &CodeBytes) -> Option<Code> {
        match bytes {
            CodeBytes::Here(bytes) => match bytes[..] {
                [0, stage] => Some(Code::Pool(stage.into())),
                [1, plan] => Some(Code::Results(plan.into())),
                _ => None,
            },
            CodeBytes::AtHub { .. } => None,
        }
    }
}

/// A worker of an engine: slots that compute numbers.
#[derive(Debug, Default)]
struct Worker {
    queue: VecDeque<Assignment>,
    running: BTreeMap<AttemptId, Assignment>,
    codes: BTreeMap<CodeId, Code>,
    places: BTreeMap<OutputId, Places>,
}

pub(super) struct Host {
    name: String,
    key: BlockKey,
    slots: u32,
    pub life: u32,
    alive: bool,
    pub peer: Option<PeerId>,
    welcome: bool,
    state: Engine,
    /// Workers that have said hello.
    workers: BTreeMap<u64, Worker>,
    /// Blocks that workers sealed, and those that the store has.
    sealed: BTreeMap<AttemptId, Block>,
    blocks: BTreeMap<AttemptId, Block>,
}

impl Host {
    pub fn new(at: usize, slots: u32, life: u32, now: Time) -> Self {
        let name = format!("engine-{at}");
        let key = BlockKey::new([at as u8 * 16 + 1; 32].map(|byte| byte ^ life as u8));
        let setup = Setup {
            name: name.clone(),
            machine: name.clone(),
            slots,
            memory: 1 << 30,
            directory: "/".into(),
            store: StorePlace {
                host: name.clone(),
                directory: String::new(),
                address: None,
                socket: String::new(),
                key: key.clone(),
            },
            patience: Duration::from_secs(100_000),
        };
        let stock = Stock { used: 0, quota: Quota { limit: None, used: 0 } };
        Host {
            name,
            key,
            slots,
            life,
            alive: true,
            peer: None,
            welcome: false,
            state: Engine::new(setup, stock, now),
            workers: BTreeMap::new(),
            sealed: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// Whether this is its connection in this life of the process.
    pub fn lives(&self, life: u32, peer: PeerId) -> bool {
        self.alive && self.life == life && self.peer == Some(peer)
    }

    /// Whether it is the engine whose blocks are named by this key, in the same life.
    pub fn has_key(&self, key: &BlockKey) -> bool {
        self.key == *key
    }

    /// The value of a large result, if this engine has it.
    pub fn result(&self, place: &BlockPlace) -> Option<u64> {
        let block = self.blocks.get(&place.attempt).filter(|_| self.key == place.store.key)?;
        block.values.get(&place.partition).filter(|_| block.output == place.output).copied()
    }

    /// What it holds for a session that has released everything. Large results of the jobs in `to_collect` may be
    /// there.
    pub fn holds(&self, session: SessionId, to_collect: &BTreeMap<JobId, SessionId>) -> Option<String> {
        let offer = self.state.has();
        let own = |output: OutputId| output.session() == session;
        let blocks: Vec<_> = self.blocks.iter().filter(|(_, block)| own(block.output)).collect();
        let held: Vec<_> = offer.held.iter().filter(|held| own(held.output)).collect();
        let results = offer.results.iter().filter(|held| held.session == session && !may_stay(held, to_collect));
        let results: Vec<_> = results.collect();
        let nothing = blocks.is_empty() && held.is_empty() && results.is_empty();
        (!nothing).then(|| format!("{} has blocks {blocks:?}, and offers {held:?} and {results:?}", self.name))
    }

    /// What it holds although the cluster has no jobs any more. Large results of the jobs in `to_collect` may be there,
    /// and so may their sessions.
    pub fn left(&self, to_collect: &BTreeMap<JobId, SessionId>) -> Option<String> {
        let offer = self.state.has();
        let sessions: BTreeSet<_> = to_collect.values().copied().collect();
        let outputs: BTreeSet<_> = to_collect.keys().map(|job| results_of(*job)).collect();
        let nothing = self.blocks.values().all(|block| outputs.contains(&block.output))
            && self.sealed.is_empty()
            && offer.held.is_empty()
            && offer.results.iter().all(|held| may_stay(held, to_collect))
            && offer.sessions.iter().all(|session| sessions.contains(session))
            && (!self.state.has_workers() || !sessions.is_empty());
        (!nothing).then(|| {
            let (name, blocks, sealed) = (&self.name, self.blocks.keys(), self.sealed.keys());
            let workers = &self.workers;
            format!("{name} has blocks {blocks:?}, sealed {sealed:?}, workers {workers:?}, and offers {offer:?}")
        })
    }
}

/// Whether a result may stay with its engine: it is large, and a driver may still collect it.
fn may_stay(held: &HeldResult, to_collect: &BTreeMap<JobId, SessionId>) -> bool {
    let large = held.parts.iter().any(|(_, part)| matches!(part, ResultPart::Kept(_)));
    large && to_collect.contains_key(&held.job)
}

impl World {
    pub(super) fn dial(&mut self, host: usize, life: u32) {
        if self.hosts[host].life != life || !self.hosts[host].alive || self.hosts[host].peer.is_some() {
            return;
        }
        if self.hub.is_none() {
            return self.soon(50 * MS, 200 * MS, Happening::Dial(host, life));
        }
        let peer = self.connect(End::Host(host, life));
        let of = &mut self.hosts[host];
        (of.peer, of.welcome) = (Some(peer), false);
        let offer = of.state.offer();
        let info = HostInfo { id: of.name.clone(), name: of.name.clone(), ..HostInfo::default() };
        let hello = Hello { version: "simulated".into(), host: info, purpose: Purpose::Serve(Box::new(offer)) };
        let bytes = hello.to_bytes().unwrap_or_else(|error| panic!("a hello cannot be encoded: {error}"));
        self.send_to_hub(peer, bytes);
    }

    /// Time passes on a machine.
    pub(super) fn engine_ticks(&mut self, host: usize, life: u32) {
        let now = self.now;
        let of = &mut self.hosts[host];
        if of.life != life {
            return;
        }
        of.workers.keys().for_each(|worker| of.state.worker_says(now, *worker, FromWorker::Beat));
        of.state.tick(now);
        self.settle(host);
        self.after(TICK.as_nanos() as u64, Happening::EngineTicks(host, life));
    }

    pub(super) fn engine_without_hub(&mut self, host: usize) {
        let now = self.now;
        let of = &mut self.hosts[host];
        of.peer = None;
        of.state.hub_lost(now);
        let life = of.life;
        self.soon(MS, 200 * MS, Happening::Dial(host, life));
    }

    pub(super) fn crash_engine(&mut self, host: usize) {
        self.outcome.engines_crashed += 1;
        let before = &self.hosts[host];
        let (peer, life, slots) = (before.peer, before.life + 1, before.slots);
        self.hosts[host] = Host::new(host, slots, life, self.now);
        self.client_is_gone(peer);
        self.soon(10 * MS, 3 * SECOND, Happening::Dial(host, life));
        self.after(0, Happening::EngineTicks(host, life));
    }

    pub(super) fn kill_worker(&mut self, host: usize) {
        let running = |(number, worker): (&u64, &Worker)| (!worker.running.is_empty()).then_some(*number);
        let Some(number) = self.hosts[host].workers.iter().find_map(running) else { return };
        self.outcome.workers_died += 1;
        self.end_worker(host, number);
        self.settle(host);
    }

    fn end_worker(&mut self, host: usize, number: u64) {
        let now = self.now;
        let of = &mut self.hosts[host];
        let worker = of.workers.remove(&number).unwrap_or_default();
        let ran = worker.running.into_keys().collect();
        let death = Death { how: "was killed by signal 9".into(), hopeless: false, ran };
        of.state.worker_ended(now, number, &death);
    }

    pub(super) fn worker_starts(&mut self, host: usize, life: u32, number: u64) {
        let now = self.now;
        let of = &mut self.hosts[host];
        if of.life != life {
            return;
        }
        of.state.started(number, 7, u64::from(life) << 32 | (host as u64) << 16 | number);
        if of.state.greet(now, number).is_some() {
            of.workers.insert(number, Worker::default());
        }
        self.settle(host);
    }

    pub(super) fn engine_hears(&mut self, host: usize, peer: PeerId, bytes: &[u8]) {
        let now = self.now;
        if !self.hosts[host].welcome {
            match opening::<Welcome>(bytes) {
                Ok(Opening::Welcome(welcome)) => {
                    self.hosts[host].welcome = true;
                    self.hosts[host].state.joined(now, &welcome);
                    self.settle(host);
                }
                // An earlier life of this engine may still be connected under the name.
                Ok(Opening::Refused(_)) => self.engine_without_hub(host),
                Err(error) => panic!("{peer:?} was answered with what cannot be read: {error}"),
            }
            return;
        }
        let keeps = self.options.bug == Some(Bug::KeepBlocks);
        let batch = decode::<ToEngine>(bytes).unwrap_or_else(|error| panic!("{peer:?} cannot read: {error}"));
        for message in batch {
            match message {
                ToEngine::EndSession { .. } | ToEngine::DeleteOutput { .. } if keeps => self.outcome.planted += 1,
                message => self.hosts[host].state.hub_says(now, message),
            }
        }
        self.settle(host);
    }

    /// Carries out the orders of a state, and sends its messages.
    fn settle(&mut self, host: usize) {
        loop {
            let orders = self.hosts[host].state.orders();
            if orders.is_empty() {
                break;
            }
            orders.into_iter().for_each(|order| self.carry_out_for(host, order));
        }
        let batches = self.hosts[host].state.for_workers();
        let mut again = false;
        for (number, batch) in batches {
            again = true;
            batch.into_iter().for_each(|message| self.worker_hears(host, number, message));
        }
        self.begin_tasks(host);
        let batch = self.hosts[host].state.for_hub();
        if let Some(peer) = self.hosts[host].peer.filter(|_| !batch.is_empty()) {
            self.send_to_hub(peer, said(&batch));
        }
        if again {
            self.settle(host);
        }
    }

    fn carry_out_for(&mut self, host: usize, order: Order) {
        let life = self.hosts[host].life;
        let of = &mut self.hosts[host];
        match order {
            Order::Start { worker, .. } => self.soon(5 * MS, 300 * MS, Happening::WorkerStarts(host, life, worker)),
            Order::Kill { worker } => self.end_worker(host, worker),
            Order::Blocks(BlockOrder::Add { attempt, .. }) => {
                of.blocks.extend(of.sealed.remove_entry(&attempt));
                // A little later, so that other things happen in between.
                self.soon(0, 3 * MS, Happening::Added(host, life, attempt));
            }
            Order::Blocks(BlockOrder::Delete { attempt }) => drop(of.blocks.remove(&attempt)),
            Order::Blocks(BlockOrder::Discard { attempt, .. }) => drop(of.sealed.remove(&attempt)),
            Order::Blocks(BlockOrder::DeleteOutputs { outputs }) => {
                of.blocks.retain(|_, block| !outputs.contains(&block.output));
            }
            // No engine is asked to leave, and tasks need no files and print nothing.
            Order::Heard { .. }
            | Order::Unheard { .. }
            | Order::Prefetch { .. }
            | Order::GetFile { .. }
            | Order::DropFiles { .. }
            | Order::DropFile { .. }
            | Order::TakeOver { .. } => {}
        }
    }

    pub(super) fn added(&mut self, host: usize, life: u32, attempt: AttemptId) {
        if self.hosts[host].life == life {
            self.hosts[host].state.added(attempt, Ok(()));
            self.settle(host);
        }
    }

    fn worker_hears(&mut self, host: usize, number: u64, message: ToWorker) {
        let now = self.now;
        let of = &mut self.hosts[host];
        let Some(worker) = of.workers.get_mut(&number) else { return };
        match message {
            ToWorker::Code { code, bytes } => worker.codes.extend(Code::read(&bytes).map(|read| (code, read))),
            ToWorker::ForgetCode { code } => drop(worker.codes.remove(&code)),
            ToWorker::Places { output, places } => drop(worker.places.insert(output, places)),
            ToWorker::Launch { tasks, .. } => worker.queue.extend(tasks),
            ToWorker::Kill { attempt } => {
                let queued = worker.queue.len();
                worker.queue.retain(|task| task.task.attempt != attempt);
                if worker.running.remove(&attempt).is_some() || worker.queue.len() < queued {
                    let failed = FromWorker::Failed { attempt, failure: Failure::Killed, span: (0, 0) };
                    of.state.worker_says(now, number, failed);
                }
            }
            ToWorker::Peer { .. }
            | ToWorker::DeleteOutput { .. }
            | ToWorker::DeleteCache { .. }
            | ToWorker::File { .. }
            | ToWorker::Fetched { .. } => {}
        }
    }

    fn begin_tasks(&mut self, host: usize) {
        let (life, slots) = (self.hosts[host].life, self.hosts[host].slots as usize);
        let mut begun = Vec::new();
        for worker in self.hosts[host].workers.values_mut() {
            while worker.running.len() < slots
                && let Some(task) = worker.queue.pop_front()
            {
                begun.push(task.task.attempt);
                worker.running.insert(task.task.attempt, task);
            }
        }
        for attempt in begun {
            let takes = if self.rng.chance(50) { 2_000 * MS } else { 60 * MS };
            self.soon(MS, takes, Happening::Finish(host, attempt, life));
        }
    }

    pub(super) fn finish(&mut self, host: usize, attempt: AttemptId, life: u32) {
        let now = self.now;
        if self.hosts[host].life != life {
            return;
        }
        let mut workers = self.hosts[host].workers.iter_mut();
        let found = workers.find_map(|(number, worker)| Some((*number, worker.running.remove(&attempt)?)));
        let Some((number, task)) = found else { return };
        let message = match self.compute(host, number, &task) {
            Ok((values, code)) => self.made(host, &task, values, code),
            Err(failure) => FromWorker::Failed { attempt, failure, span: (0, 0) },
        };
        self.hosts[host].state.worker_says(now, number, message);
        self.settle(host);
    }

    /// What the partitions of a task compute, from blocks at the places that the hub named.
    fn compute(
        &mut self,
        host: usize,
        number: u64,
        task: &Assignment,
    ) -> Result<(BTreeMap<u32, u64>, Code), Failure<Error>> {
        let worker = &self.hosts[host].workers[&number];
        let Some(code) = worker.codes.get(&task.code).copied() else {
            let text = format!("{} has no code for {}", self.hosts[host].name, task.task.attempt);
            return Err(Failure::Final(Error::Bug(text)));
        };
        let (name, parents) = match code {
            Code::Pool(stage) => (stage as u64, &self.workload.pool[stage].parents),
            Code::Results(plan) => (result_name(self.workload.jobs[plan].id), &self.workload.jobs[plan].parents),
        };
        let (mut inputs, mut missing) = (Vec::new(), Vec::new());
        for parent in parents {
            let output = task.session.output(ExchangeId(*parent as u64 + 1));
            let places = worker.places.get(&output);
            for partition in 0..self.workload.pool[*parent].partitions {
                let at = places.and_then(|places| places.at(partition));
                let there = at.and_then(|at| self.hosts.iter().find_map(|other| other.blocks.get(&at.made_by)));
                match there.filter(|block| block.output == output).and_then(|block| block.values.get(&partition)) {
                    Some(value) => inputs.push(*value),
                    None => missing.push(FetchFailure { output, partition, at }),
                }
            }
        }
        if !missing.is_empty() {
            self.outcome.fetches_failed += 1;
            return Err(Failure::Fetch(missing));
        }
        let wrong =
            u64::from(self.options.bug == Some(Bug::WrongValue) && task.task.attempt.sequence().is_multiple_of(3));
        self.outcome.planted += wrong;
        let value = |partition| (partition, compute(name, partition, inputs.iter()) ^ wrong);
        Ok((task.task.partitions.iter().map(value).collect(), code))
    }

    fn made(&mut self, host: usize, task: &Assignment, values: BTreeMap<u32, u64>, code: Code) -> FromWorker {
        let attempt = task.task.attempt;
        let reports = values.values().map(|value| PartitionReport { bytes: 8, rows: 1, checksum: *value });
        let buckets = match code {
            Code::Pool(stage) => self.workload.pool[stage].buckets,
            Code::Results(_) => 0,
        };
        let report = Report { partitions: reports.collect(), bucket_bytes: vec![8; buckets as usize] };
        let (mut results, mut blocks) = (Vec::new(), Vec::new());
        let sealed = |output: OutputId| move |partition: &u32| (output, *partition, Sealed::File { bytes: 8 });
        match (task.code, code) {
            (CodeId::Output(output), _) => {
                blocks = values.keys().map(sealed(output)).collect();
                self.hosts[host].sealed.insert(attempt, Block { output, values });
            }
            (CodeId::Results(job), Code::Results(plan)) => {
                let part = |(partition, value): (&u32, &u64)| match self.is_large(plan, *partition) {
                    true => (*partition, ResultPart::Kept(8)),
                    false => (*partition, ResultPart::Here(value.to_le_bytes().into())),
                };
                results = values.iter().map(part).collect();
                let large: BTreeMap<u32, u64> =
                    values.into_iter().filter(|(partition, _)| self.is_large(plan, *partition)).collect();
                let output = results_of(job);
                blocks = large.keys().map(sealed(output)).collect();
                if !large.is_empty() {
                    self.hosts[host].sealed.insert(attempt, Block { output, values: large });
                }
            }
            (CodeId::Results(_), Code::Pool(_)) => {}
        }
        FromWorker::Done { attempt, report, blocks, results, kept: Vec::new(), span: (0, 1_000) }
    }
}
