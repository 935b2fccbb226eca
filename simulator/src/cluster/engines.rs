//! Simulated engines: slots that compute numbers, and blocks that hold them.

use super::network::{End, said};
use super::{Bug, Happening, MS, SECOND, World};
use crate::workload::{compute, result_name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, OutputId, SessionId};
use tryworks_protocol::engine::{
    Assignment, CodeBytes, CodeId, FromEngine, HeldBlock, HeldResult, Offer, ResultPart, StorePlace, ToEngine, Welcome,
};
use tryworks_protocol::{Hello, HostInfo, Opening, Purpose, decode, opening};
use tryworks_scheduler::{Failure, FetchFailure, PartitionReport, Partitions, Report};
use tryworks_store::blocks::BlockKey;
use tryworks_transport::PeerId;

#[derive(Debug)]
pub(super) struct Block {
    output: OutputId,
    partitions: Partitions,
    values: BTreeMap<u32, u64>,
    report: Report,
}

/// What a task runs, as the bytes of its code say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// What makes a stage of the pool.
    Pool(usize),
    /// What makes the results of a job of the workload.
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

#[derive(Debug)]
pub(super) struct Host {
    name: String,
    slots: u32,
    pub life: u32,
    alive: bool,
    pub peer: Option<PeerId>,
    welcome: bool,
    queue: VecDeque<Assignment>,
    running: BTreeMap<AttemptId, Assignment>,
    codes: BTreeMap<CodeId, Code>,
    places: BTreeMap<OutputId, Vec<(u32, EngineId, AttemptId)>>,
    blocks: BTreeMap<AttemptId, Block>,
    results: BTreeMap<AttemptId, HeldResult>,
    sessions: BTreeSet<SessionId>,
}

impl Host {
    pub fn new(at: usize, slots: u32) -> Self {
        Host {
            name: format!("engine-{at}"),
            slots,
            life: 0,
            alive: true,
            peer: None,
            welcome: false,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            codes: BTreeMap::new(),
            places: BTreeMap::new(),
            blocks: BTreeMap::new(),
            results: BTreeMap::new(),
            sessions: BTreeSet::new(),
        }
    }

    /// Whether this is its connection in this life.
    pub fn lives(&self, life: u32, peer: PeerId) -> bool {
        self.alive && self.life == life && self.peer == Some(peer)
    }

    /// What it holds that a cluster without jobs should not have.
    pub fn left(&self) -> Option<String> {
        let tasks = self.queue.len() + self.running.len();
        let nothing = tasks == 0 && self.blocks.is_empty() && self.results.is_empty() && self.sessions.is_empty();
        (!nothing).then(|| {
            let outputs: BTreeSet<_> = self.blocks.values().map(|block| block.output).collect();
            let (name, results, sessions) = (&self.name, self.results.keys(), &self.sessions);
            format!("{name} has {tasks} tasks, blocks of {outputs:?}, results {results:?}, sessions {sessions:?}")
        })
    }

    fn forget_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.blocks.retain(|_, block| SessionId::split(block.output.0).0 != session);
        self.results.retain(|_, held| held.session != session);
        self.queue.retain(|task| task.session != session);
        self.running.retain(|_, task| task.session != session);
        self.places.retain(|output, _| SessionId::split(output.0).0 != session);
    }
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
        let held = of.blocks.iter().map(|(attempt, block)| HeldBlock {
            output: block.output,
            attempt: *attempt,
            partitions: block.partitions.clone(),
            report: block.report.clone(),
        });
        let offer = Offer {
            name: of.name.clone(),
            slots: of.slots,
            memory: 1 << 30,
            store: StorePlace {
                host: of.name.clone(),
                directory: String::new(),
                address: None,
                socket: String::new(),
                key: BlockKey::new([host as u8 * 16 + 1; 32].map(|byte| byte ^ life as u8)),
            },
            held: held.collect(),
            results: of.results.values().cloned().collect(),
            sessions: of.sessions.iter().copied().collect(),
            kept: Vec::new(),
        };
        let info = HostInfo { id: of.name.clone(), name: of.name.clone(), ..HostInfo::default() };
        let hello = Hello { version: "simulated".into(), host: info, purpose: Purpose::Serve(Box::new(offer)) };
        let bytes = hello.to_bytes().unwrap_or_else(|error| panic!("a hello cannot be encoded: {error}"));
        self.send_to_hub(peer, bytes);
        self.after(SECOND, Happening::Beat(peer));
    }

    /// What runs for a hub that is gone is stopped; what is made stays.
    pub(super) fn engine_without_hub(&mut self, host: usize) {
        let of = &mut self.hosts[host];
        of.peer = None;
        of.queue.clear();
        of.running.clear();
        of.codes.clear();
        of.places.clear();
        let life = of.life;
        self.soon(MS, 200 * MS, Happening::Dial(host, life));
    }

    pub(super) fn crash_engine(&mut self, host: usize) {
        self.outcome.engines_crashed += 1;
        let before = &self.hosts[host];
        let (peer, life, slots) = (before.peer, before.life + 1, before.slots);
        self.hosts[host] = Host { life, ..Host::new(host, slots) };
        self.client_is_gone(peer);
        self.soon(10 * MS, 3 * SECOND, Happening::Dial(host, life));
    }

    pub(super) fn kill_worker(&mut self, host: usize) {
        let of = &mut self.hosts[host];
        let Some(session) = of.running.values().next().map(|task| task.session) else { return };
        let of_session = |task: &Assignment| task.session == session;
        let suspects = of.running.extract_if(.., |_, task| of_session(task)).map(|(attempt, _)| attempt).collect();
        let (gone, stay) = std::mem::take(&mut of.queue).into_iter().partition::<VecDeque<_>, _>(of_session);
        of.queue = stay;
        let waiting = gone.into_iter().map(|task| task.task.attempt).collect();
        let error = Error::Lost { what: "a worker was killed".into(), details: String::new() };
        self.outcome.workers_died += 1;
        self.engine_says(host, FromEngine::WorkerDied { session, suspects, waiting, error });
        self.begin_tasks(host);
    }

    fn engine_says(&mut self, host: usize, message: FromEngine) {
        if let Some(peer) = self.hosts[host].peer {
            self.send_to_hub(peer, said(&[message]));
        }
    }

    pub(super) fn engine_hears(&mut self, host: usize, peer: PeerId, bytes: &[u8]) {
        if !self.hosts[host].welcome {
            match opening::<Welcome>(bytes) {
                Ok(Opening::Welcome(_)) => self.hosts[host].welcome = true,
                // Its name may still be taken by its life before.
                Ok(Opening::Refused(_)) => self.engine_without_hub(host),
                Err(error) => panic!("{peer:?} was answered with what cannot be read: {error}"),
            }
            return;
        }
        let batch = decode::<ToEngine>(bytes).unwrap_or_else(|error| panic!("{peer:?} cannot read: {error}"));
        for message in batch {
            self.obey(host, message);
        }
        self.begin_tasks(host);
    }

    fn obey(&mut self, host: usize, message: ToEngine) {
        let keeps = self.options.bug == Some(Bug::KeepBlocks);
        let of = &mut self.hosts[host];
        match message {
            ToEngine::Session { session, .. } => drop(of.sessions.insert(session)),
            ToEngine::EndSession { .. } | ToEngine::DeleteOutput { .. } if keeps => self.outcome.planted += 1,
            ToEngine::EndSession { session } => of.forget_session(session),
            ToEngine::Code { code, bytes, .. } => {
                of.codes.extend(Code::read(&bytes).map(|read| (code, read)));
            }
            ToEngine::ForgetCode { code } => drop(of.codes.remove(&code)),
            ToEngine::Places { output, places } => drop(of.places.insert(output, places)),
            ToEngine::Launch { tasks } => of.queue.extend(tasks),
            ToEngine::Kill { attempt } => {
                let queued = of.queue.len();
                of.queue.retain(|task| task.task.attempt != attempt);
                if of.running.remove(&attempt).is_some() || of.queue.len() < queued {
                    self.engine_says(host, FromEngine::Failed { attempt, failure: Failure::Killed, span: (0, 0) });
                }
            }
            ToEngine::Discard { attempt } => {
                of.blocks.remove(&attempt);
                of.results.remove(&attempt);
            }
            ToEngine::DeleteOutput { output } => of.blocks.retain(|_, block| block.output != output),
            ToEngine::Received { attempts } => attempts.iter().for_each(|attempt| drop(of.results.remove(attempt))),
            // Nobody is asked to leave, and addresses are not needed here.
            ToEngine::Peer { .. }
            | ToEngine::DeleteCache { .. }
            | ToEngine::Heard { .. }
            | ToEngine::Unheard { .. }
            | ToEngine::Move(_)
            | ToEngine::Leave => {}
        }
    }

    fn begin_tasks(&mut self, host: usize) {
        loop {
            let of = &mut self.hosts[host];
            if of.running.len() >= of.slots as usize {
                return;
            }
            let Some(task) = of.queue.pop_front() else { return };
            let (attempt, life) = (task.task.attempt, of.life);
            of.running.insert(attempt, task);
            let takes = if self.rng.chance(50) { 2_000 * MS } else { 60 * MS };
            self.soon(MS, takes, Happening::Finish(host, attempt, life));
        }
    }

    pub(super) fn finish(&mut self, host: usize, attempt: AttemptId, life: u32) {
        if self.hosts[host].life != life {
            return;
        }
        let Some(task) = self.hosts[host].running.remove(&attempt) else { return };
        let message = match self.compute(host, &task) {
            Ok((values, code)) => self.made(host, &task, values, code),
            Err(failure) => FromEngine::Failed { attempt, failure, span: (0, 0) },
        };
        self.engine_says(host, message);
        self.begin_tasks(host);
    }

    /// What the partitions of a task come to, from what lies where the hub said.
    fn compute(&mut self, host: usize, task: &Assignment) -> Result<(BTreeMap<u32, u64>, Code), Failure<Error>> {
        let Some(code) = self.hosts[host].codes.get(&task.code).copied() else {
            let text = format!("{} has no code for {}", self.hosts[host].name, task.task.attempt);
            return Err(Failure::Final(Error::Bug(text)));
        };
        let (name, parents) = match code {
            Code::Pool(stage) => (stage as u64, &self.workload.pool[stage].parents),
            Code::Results(plan) => (result_name(self.workload.jobs[plan].id), &self.workload.jobs[plan].parents),
        };
        let (mut inputs, mut missing) = (Vec::new(), Vec::new());
        for parent in parents {
            let output = OutputId(task.session.global(*parent as u64 + 1));
            let places = self.hosts[host].places.get(&output).map_or(&[][..], Vec::as_slice);
            for partition in 0..self.workload.pool[*parent].partitions {
                let at = places.partition_point(|place| place.0 <= partition);
                let nowhere = (0, EngineId(0), AttemptId(0));
                let (_, engine, made_by) = at.checked_sub(1).map_or(nowhere, |at| places[at]);
                let there = self.hosts.iter().find_map(|other| other.blocks.get(&made_by));
                match there.filter(|block| block.output == output).and_then(|block| block.values.get(&partition)) {
                    Some(value) => inputs.push(*value),
                    None => missing.push(FetchFailure { output, partition, engine, made_by }),
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

    fn made(&mut self, host: usize, task: &Assignment, values: BTreeMap<u32, u64>, code: Code) -> FromEngine {
        let attempt = task.task.attempt;
        let reports = values.values().map(|value| PartitionReport { bytes: 8, rows: 1, checksum: *value });
        let buckets = match code {
            Code::Pool(stage) => self.workload.pool[stage].buckets,
            Code::Results(_) => 0,
        };
        let report = Report { partitions: reports.collect(), bucket_bytes: vec![8; buckets as usize] };
        let mut results = Vec::new();
        let of = &mut self.hosts[host];
        match task.code {
            CodeId::Output(output) => {
                let partitions = task.task.partitions.clone();
                of.blocks.insert(attempt, Block { output, partitions, values, report: report.clone() });
            }
            CodeId::Results(job) => {
                let part =
                    |(partition, value): (&u32, &u64)| (*partition, ResultPart::Here(value.to_le_bytes().into()));
                results = values.iter().map(part).collect();
                let held = HeldResult { job, session: task.session, attempt, parts: results.clone() };
                of.results.insert(attempt, held);
            }
        }
        FromEngine::Done { attempt, report, results, kept: Vec::new(), span: (0, 1_000) }
    }
}
