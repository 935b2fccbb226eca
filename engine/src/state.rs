//! What an engine knows: sessions, their workers, what each runs; blocks and results that it made and somebody may still
//! want. It does no I/O of its own: messages come in, what is to be sent is left in its outboxes.

use super::Options;
use super::deaths::{Guilt, killed};
use super::flow::{Flow, own_number};
use super::made::Made;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tryworks_base::Shipment;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_protocol::driver::{Program, Written};
use tryworks_protocol::engine::{
    Assignment, CodeBytes, CodeId, FromEngine, HeldBlock, HeldResult, Offer, StorePlace, ToEngine,
};
use tryworks_protocol::worker::{ToWorker, Wanted, Welcome};
use tryworks_scheduler::{Move, Partitions};
use tryworks_store::blocks::BlockStore;
use tryworks_store::running;
use tryworks_transport::PeerId;

/// The engine.
pub(super) struct Engine {
    pub(super) options: Options,
    pub(super) id: EngineId,
    /// How often the hub wants to hear that it is there.
    pub(super) beat_every: Duration,
    pub(super) store: BlockStore,
    pub(super) place: StorePlace,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) workers: BTreeMap<u64, Worker>,
    pub(super) peers: HashMap<PeerId, u64>,
    pub(super) stores: HashMap<EngineId, StorePlace>,
    codes: HashMap<CodeId, (SessionId, CodeBytes)>,
    places: BTreeMap<OutputId, (u64, Vec<(u32, EngineId, AttemptId)>)>,
    /// Counts what the hub said of places.
    changes: u64,
    /// What was said last of each output, by that count.
    changed: BTreeMap<u64, OutputId>,
    /// What finished launches left, as they reported it.
    pub(super) made: Made,
    pub(super) results: BTreeMap<AttemptId, HeldResult>,
    next_worker: u64,
    /// What workers wrote last.
    pub(super) recent: VecDeque<(SessionId, Written)>,
    /// What that takes, in bytes.
    pub(super) recent_bytes: usize,
    /// The hub was told that memory is short.
    short: bool,
    pub(super) for_hub: Vec<FromEngine>,
    pub(super) for_workers: BTreeMap<u64, Vec<ToWorker>>,
    pub(super) orders: Vec<Order>,
    pub(super) leaving: bool,
    /// When it last looked at what depends on time.
    pub(super) ticked: Instant,
}

/// Something that takes I/O.
pub(super) enum Order {
    /// Start a worker.
    Start { worker: u64, program: Box<Program>, host: String, address: Option<String> },
    /// Kill a worker.
    Kill { worker: u64 },
    /// Bring blocks for a worker.
    Bring { peer: PeerId, number: u64, wanted: Vec<Wanted> },
    /// Get a file of the driver's for a worker.
    GetFile { peer: PeerId, number: u64, session: SessionId, shipment: Shipment, address: Option<String> },
    /// A session is over: the files of its driver go.
    DropFiles { session: SessionId },
    /// A file that was got for a session is not needed any more.
    DropFile { session: SessionId, id: [u8; 32] },
    /// Take over a block from another engine.
    TakeOver { what: Move },
}

/// A driver's session, as an engine knows it.
pub(super) struct Session {
    program: Box<Program>,
    host: String,
    pub(super) address: Option<String>,
    pub(super) worker: Option<u64>,
    /// Workers that died before they did anything, in a row.
    pub(super) failed_starts: u32,
    /// Partitions of caches that its worker keeps.
    pub(super) kept: BTreeSet<(u64, u32)>,
}

/// A worker.
pub(super) struct Worker {
    pub(super) session: SessionId,
    pub(super) peer: Option<PeerId>,
    pub(super) pid: u32,
    /// No other worker ever has this number, of whatever engine.
    pub(super) run: u64,
    /// What it was given and has not reported, in order.
    pub(super) assigned: VecDeque<Assigned>,
    codes: HashSet<CodeId>,
    stores: HashSet<EngineId>,
    /// How much of what the hub said of places it was told.
    told: u64,
    /// The most memory that it was seen to hold.
    pub(super) peak: u64,
    pub(super) resident: u64,
    /// Its standard output and its error output.
    pub(super) flows: [Arc<Flow>; 2],
    pub(super) last_words: Vec<u8>,
    /// When its start was asked for.
    pub(super) since: Instant,
    /// It has said something since its hello: it could begin to serve.
    pub(super) serves: bool,
    /// When something was heard of it last.
    pub(super) heard: Instant,
    /// Its connection ended, then.
    pub(super) cut: Option<Instant>,
    /// It is being ended on purpose.
    pub(super) ending: bool,
    /// Why it was killed, if it was for something that it did.
    pub(super) guilt: Option<Guilt>,
}

pub(super) struct Assigned {
    pub(super) attempt: AttemptId,
    pub(super) session: SessionId,
    pub(super) job: JobId,
    pub(super) code: CodeId,
    pub(super) partitions: Partitions,
    /// It was asked to stop, then.
    pub(super) stopping: Option<Instant>,
    /// The hub that launched it is gone: nobody waits for its report.
    pub(super) orphan: bool,
}

impl Engine {
    pub(super) fn new(options: Options, store: BlockStore, place: StorePlace) -> Self {
        Engine {
            options,
            id: EngineId(0),
            beat_every: Duration::from_secs(1),
            store,
            place,
            sessions: BTreeMap::new(),
            workers: BTreeMap::new(),
            peers: HashMap::new(),
            stores: HashMap::new(),
            codes: HashMap::new(),
            places: BTreeMap::new(),
            changes: 0,
            changed: BTreeMap::new(),
            made: Made::default(),
            results: BTreeMap::new(),
            next_worker: 1,
            recent: VecDeque::new(),
            recent_bytes: 0,
            short: false,
            for_hub: Vec::new(),
            for_workers: BTreeMap::new(),
            orders: Vec::new(),
            leaving: false,
            ticked: Instant::now(),
        }
    }

    pub(super) fn offer(&self) -> Offer {
        Offer {
            name: self.options.name.clone(),
            slots: self.options.slots,
            memory: self.options.memory,
            store: self.place.clone(),
            held: self.made.iter().cloned().collect(),
            results: self.results.values().cloned().collect(),
            sessions: self.known_sessions().into_iter().collect(),
            kept: self.sessions.values().flat_map(|session| session.kept.iter().copied()).collect(),
        }
    }

    /// The sessions of which anything is here.
    fn known_sessions(&self) -> BTreeSet<SessionId> {
        let results = self.results.values().map(|held| held.session);
        self.sessions.keys().copied().chain(self.made.sessions()).chain(results).collect()
    }

    /// The hub is there, or there again: what the last one launched is of no use to it, and it names engines anew.
    pub(super) fn joined(&mut self, id: EngineId) {
        self.id = id;
        self.for_hub.clear();
        // Whoever has it already knows so by its offset.
        let again = self.recent.iter().cloned().map(|(session, written)| FromEngine::Wrote { session, written });
        self.for_hub.extend(again);
        self.stores.clear();
        self.places.clear();
        self.changed.clear();
        let now = Instant::now();
        let mut kill = Vec::new();
        for (number, worker) in &mut self.workers {
            worker.stores.clear();
            worker.flows.iter().for_each(|flow| flow.begin_anew());
            for assigned in &mut worker.assigned {
                assigned.orphan = true;
                assigned.stopping.get_or_insert(now);
                kill.push((*number, assigned.attempt));
            }
        }
        for (worker, attempt) in kill {
            self.tell_worker(worker, ToWorker::Kill { attempt });
        }
    }

    fn tell_worker(&mut self, worker: u64, message: ToWorker) {
        self.for_workers.entry(worker).or_default().push(message);
    }

    /// The messages for a worker that is connected.
    pub(super) fn outgoing(&mut self) -> Vec<(PeerId, Vec<ToWorker>)> {
        let mut out = Vec::new();
        let ready: Vec<u64> = self.for_workers.keys().copied().collect();
        for worker in ready {
            match self.workers.get(&worker).map(|worker| worker.peer) {
                Some(Some(peer)) => out.extend(self.for_workers.remove(&worker).map(|batch| (peer, batch))),
                Some(None) => {}
                None => drop(self.for_workers.remove(&worker)),
            }
        }
        out
    }

    pub(super) fn hub_says(&mut self, message: ToEngine) {
        match message {
            ToEngine::Session { session, program, host, address } => {
                match self.sessions.get_mut(&session) {
                    // A hub that began anew may be reached elsewhere.
                    Some(known) => known.address = address,
                    None => {
                        let kept = BTreeSet::new();
                        let known = Session { program, host, address, worker: None, failed_starts: 0, kept };
                        self.sessions.insert(session, known);
                    }
                }
                self.worker_of(session);
            }
            ToEngine::EndSession { session } => self.end_session(session),
            ToEngine::Code { session, code, bytes } => drop(self.codes.insert(code, (session, bytes))),
            ToEngine::ForgetCode { code } => {
                let gone = self.codes.remove(&code);
                if let Some((session, CodeBytes::AtHub { id, .. })) = gone
                    && !self
                        .codes
                        .values()
                        .any(|(_, other)| matches!(other, CodeBytes::AtHub { id: same, .. } if *same == id))
                {
                    self.orders.push(Order::DropFile { session, id });
                }
                let having: Vec<_> =
                    self.workers.iter_mut().filter_map(|(id, w)| w.codes.remove(&code).then_some(*id)).collect();
                having.into_iter().for_each(|worker| self.tell_worker(worker, ToWorker::ForgetCode { code }));
            }
            ToEngine::Peer { engine, store } => drop(self.stores.insert(engine, *store)),
            ToEngine::Places { output, places } => {
                self.forget_places(output);
                self.changes += 1;
                self.changed.insert(self.changes, output);
                self.places.insert(output, (self.changes, places));
            }
            ToEngine::Launch { tasks } => self.launch(tasks),
            ToEngine::Kill { attempt } => self.kill(attempt),
            ToEngine::Discard { attempt } => {
                self.made.remove(attempt);
                self.results.remove(&attempt);
                self.store.delete_attempt(attempt.0);
            }
            ToEngine::DeleteOutput { output } => {
                self.made.remove_output(output);
                self.forget_places(output);
                self.store.delete_output(output.0);
                self.tell_session(SessionId::split(output.0).0, ToWorker::DeleteOutput { output });
            }
            ToEngine::DeleteCache { cache } => {
                let session = SessionId::split(cache).0;
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.kept.retain(|(kept, _)| *kept != cache);
                }
                self.tell_session(session, ToWorker::DeleteCache { cache });
            }
            ToEngine::Received { attempts } => {
                for attempt in attempts {
                    if self.results.remove(&attempt).is_some() {
                        self.store.delete_attempt(attempt.0);
                    }
                }
            }
            ToEngine::Heard { session, run, stderr, offset } => {
                let worker = self.working_for(session).filter(|known| known.run == run);
                worker.into_iter().for_each(|known| known.flows[usize::from(stderr)].heard(offset));
            }
            ToEngine::Unheard { session } => {
                let flows = self.working_for(session).into_iter().flat_map(|worker| &worker.flows);
                flows.for_each(|flow| flow.begin_anew());
            }
            ToEngine::Move(what) => self.orders.push(Order::TakeOver { what }),
            ToEngine::Leave => self.leaving = true,
        }
    }

    fn working_for(&self, session: SessionId) -> Option<&Worker> {
        self.workers.get(&self.sessions.get(&session)?.worker?)
    }

    fn tell_session(&mut self, session: SessionId, message: ToWorker) {
        if let Some(worker) = self.sessions.get(&session).and_then(|session| session.worker) {
            self.tell_worker(worker, message);
        }
    }

    /// The worker of a session, which is started if there is none.
    pub(super) fn worker_of(&mut self, id: SessionId) -> Option<u64> {
        let session = self.sessions.get_mut(&id)?;
        if let Some(worker) = session.worker {
            return Some(worker);
        }
        let number = self.next_worker;
        self.next_worker += 1;
        session.worker = Some(number);
        let (program, host, address) = (session.program.clone(), session.host.clone(), session.address.clone());
        let worker = Worker {
            session: id,
            peer: None,
            pid: 0,
            run: own_number(),
            assigned: VecDeque::new(),
            codes: HashSet::new(),
            stores: HashSet::new(),
            told: 0,
            peak: 0,
            resident: 0,
            flows: Default::default(),
            last_words: Vec::new(),
            since: Instant::now(),
            serves: false,
            heard: Instant::now(),
            cut: None,
            ending: false,
            guilt: None,
        };
        self.workers.insert(number, worker);
        self.orders.push(Order::Start { worker: number, program, host, address });
        Some(number)
    }

    fn launch(&mut self, tasks: Vec<Assignment>) {
        let mut batches = BTreeMap::<u64, Vec<Assignment>>::new();
        for assignment in tasks {
            let attempt = assignment.task.attempt;
            let Some(worker) = self.worker_of(assignment.session) else {
                self.for_hub.push(killed(attempt));
                continue;
            };
            let assigned = Assigned {
                attempt,
                session: assignment.session,
                job: assignment.task.job,
                code: assignment.code,
                partitions: assignment.task.partitions.clone(),
                stopping: None,
                orphan: false,
            };
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.assigned.push_back(assigned);
            }
            batches.entry(worker).or_default().push(assignment);
        }
        for (worker, tasks) in batches {
            self.prepare(worker, &tasks);
            let room = self.store.room();
            self.tell_worker(worker, ToWorker::Launch { tasks, room });
        }
    }

    /// Sends a worker the codes of tasks and all that is known of where blocks are, as far as it has not got them.
    fn prepare(&mut self, number: u64, tasks: &[Assignment]) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let mut news = Vec::new();
        for code in tasks.iter().map(|task| task.code) {
            if let Some((_, bytes)) = self.codes.get(&code)
                && worker.codes.insert(code)
            {
                news.push(ToWorker::Code { code, bytes: bytes.clone() });
            }
        }
        for (engine, store) in &self.stores {
            if worker.stores.insert(*engine) {
                news.push(ToWorker::Peer { engine: *engine, store: Box::new(store.clone()) });
            }
        }
        for output in self.changed.range(worker.told + 1..).map(|(_, output)| output) {
            if SessionId::split(output.0).0 == worker.session
                && let Some((_, places)) = self.places.get(output)
            {
                news.push(ToWorker::Places { output: *output, places: places.clone() });
            }
        }
        worker.told = self.changes;
        news.into_iter().for_each(|message| self.tell_worker(number, message));
    }

    fn forget_places(&mut self, output: OutputId) {
        if let Some((change, _)) = self.places.remove(&output) {
            self.changed.remove(&change);
        }
    }

    fn kill(&mut self, attempt: AttemptId) {
        let found = self.workers.iter_mut().find_map(|(number, worker)| {
            let assigned = worker.assigned.iter_mut().find(|assigned| assigned.attempt == attempt)?;
            assigned.stopping.get_or_insert_with(Instant::now);
            Some(*number)
        });
        if let Some(worker) = found {
            self.tell_worker(worker, ToWorker::Kill { attempt });
        }
    }

    fn end_session(&mut self, id: SessionId) {
        if let Some(number) = self.sessions.remove(&id).and_then(|session| session.worker) {
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.ending = true;
            }
            self.orders.push(Order::Kill { worker: number });
        }
        self.orders.push(Order::DropFiles { session: id });
        self.recent.retain(|(session, _)| *session != id);
        self.codes.retain(|_, (session, _)| *session != id);
        let own = OutputId(id.global(0))..=OutputId(id.global(u64::MAX));
        for (_, (change, _)) in self.places.extract_if(own.clone(), |_, _| true) {
            self.changed.remove(&change);
        }
        self.made.end_session(id);
        // Those too that no launch has reported, such as of a move that came to nothing.
        self.store.delete_outputs(own.start().0..=own.end().0);
        let results = self.results.extract_if(.., |_, held| held.session == id);
        results.for_each(|(attempt, _)| self.store.delete_attempt(attempt.0));
    }

    /// What a worker is told when it says hello.
    pub(super) fn greet(&mut self, number: u64, peer: PeerId) -> Option<Welcome> {
        let sessions = self.sessions.len().max(1) as u64;
        // What a task starts may be the same program with the same environment, and is no worker.
        let worker = self.workers.get_mut(&number).filter(|worker| worker.peer.is_none())?;
        worker.peer = Some(peer);
        worker.heard = Instant::now();
        self.peers.insert(peer, number);
        Some(Welcome {
            session: worker.session,
            engine: self.id,
            name: self.options.name.clone(),
            slots: self.options.slots,
            memory: self.options.memory / sessions,
            spill_directory: self.options.directory.display().to_string(),
            running: running::path_of(&self.options.directory, number).display().to_string(),
            store: self.place.clone(),
            room: self.store.room(),
        })
    }

    /// Whether a worker that was started is still wanted.
    pub(super) fn started(&mut self, number: u64, pid: u32) -> bool {
        let Some(worker) = self.workers.get_mut(&number) else { return false };
        worker.pid = pid;
        !worker.ending
    }

    /// What is told with every beat.
    pub(super) fn beat(&mut self) -> FromEngine {
        let resident = self.workers.values().map(|worker| worker.resident).sum();
        // What holds more than it may with nothing to do would hold it for ever: then one task at a time goes on.
        self.short = resident > self.options.memory && !self.is_idle();
        FromEngine::Beat { resident, blocks: self.store.used(), short: self.short }
    }

    /// Tells the hub at once that there is room again for a task, if it was told that there is none.
    pub(super) fn tell_room(&mut self) {
        if self.short && self.is_idle() {
            let beat = self.beat();
            self.for_hub.push(beat);
        }
    }

    fn is_idle(&self) -> bool {
        self.workers.values().all(|worker| worker.assigned.is_empty())
    }

    /// Whether a block was taken over is told to the hub.
    pub(super) fn took_over(&mut self, what: Move, held: Option<HeldBlock>) {
        let here = held.is_some();
        if let Some(held) = held {
            self.made.insert(held);
        }
        self.for_hub.push(FromEngine::Moved { what, here });
    }
}
