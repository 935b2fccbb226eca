//! The state of the hub: who is there, what runs, and what is waiting to be sent. It does no I/O: messages come in, and
//! what is to go out is left in its outboxes.

use crate::admin::Recent;
use crate::drivers::Session;
use crate::engines::Engine;
use crate::jobs::Job;
use crate::launch::{Code, Launched};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tryworks_core::Error;
use tryworks_core::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_engine::protocol::driver::ToDriver;
use tryworks_engine::protocol::engine::{CodeId, ResultPart, ToEngine};
use tryworks_engine::scheduler::{Action, Cancelled, Config, Event, KnownBlock, Scheduler, Time};
use tryworks_transport::PeerId;

/// What a hub is told when it is started.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an engine may be silent before it counts as lost. Engines speak four times as often, and at least
    /// every second.
    pub engine_silence: Duration,
    /// How long a driver that is gone may take to come back before its jobs are cancelled.
    pub driver_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { engine_silence: Duration::from_secs(10), driver_grace: Duration::from_secs(30) }
    }
}

/// Who sits at the other end of a driver's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A driver.
    Driver(SessionId),
    /// The command line.
    Administrator,
}

/// What engines brought with them that a job may want.
#[derive(Default)]
pub(crate) struct Offered {
    /// Blocks, until a job names their output.
    pub(crate) blocks: HashMap<OutputId, Vec<KnownBlock>>,
    /// Results, until their job comes again.
    pub(crate) results: HashMap<JobId, Vec<(EngineId, AttemptId, Vec<(u32, ResultPart)>)>>,
}

/// The hub.
pub(crate) struct Hub {
    pub(crate) cluster: String,
    pub(crate) limits: Limits,
    pub(crate) epoch: u64,
    pub(crate) began: Instant,
    pub(crate) scheduler: Scheduler<Error>,
    pub(crate) events: Vec<Event<Error>>,
    pub(crate) clients: HashMap<PeerId, Client>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) engine_peers: HashMap<PeerId, EngineId>,
    pub(crate) engines: BTreeMap<EngineId, Engine>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) codes: HashMap<CodeId, Code>,
    /// What is out, with what its report will mean.
    pub(crate) launched: HashMap<AttemptId, Launched>,
    /// Results that were reported and are not accepted yet.
    pub(crate) reported: HashMap<AttemptId, Vec<(u32, ResultPart)>>,
    /// Counts the changes of where an output's blocks are.
    pub(crate) moves: HashMap<OutputId, u64>,
    /// Who keeps which partition of a cache.
    pub(crate) caches: BTreeMap<u64, BTreeMap<u32, EngineId>>,
    pub(crate) offered: Offered,
    pub(crate) next: Numbers,
    pub(crate) recent: Recent,
    /// The hub's own data port.
    pub(crate) data_address: Option<String>,
    pub(crate) to_clients: Vec<(PeerId, Vec<u8>)>,
    pub(crate) to_engines: Vec<(PeerId, Vec<u8>)>,
    /// Engines to hang up on.
    pub(crate) hang_up: Vec<PeerId>,
    /// Drivers to hang up on, who said that they leave.
    pub(crate) hang_up_clients: Vec<PeerId>,
    pub(crate) for_drivers: BTreeMap<SessionId, Vec<ToDriver>>,
    pub(crate) for_engines: BTreeMap<EngineId, Vec<ToEngine>>,
    /// When the scheduler wants to be woken.
    pub(crate) wake: Option<Time>,
    /// When an engine joined last.
    pub(crate) joined: Instant,
    pub(crate) stopping: bool,
}

/// The next number of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) job: u64,
    pub(crate) session: u32,
    pub(crate) engine: u32,
}

impl Hub {
    pub(crate) fn new(cluster: String, limits: Limits) -> Self {
        Hub {
            cluster,
            limits,
            epoch: 1,
            began: Instant::now(),
            scheduler: Scheduler::new(Config { prefetch: 16, launched: 0 }),
            events: Vec::new(),
            clients: HashMap::new(),
            sessions: BTreeMap::new(),
            engine_peers: HashMap::new(),
            engines: BTreeMap::new(),
            jobs: BTreeMap::new(),
            codes: HashMap::new(),
            launched: HashMap::new(),
            reported: HashMap::new(),
            moves: HashMap::new(),
            caches: BTreeMap::new(),
            offered: Offered::default(),
            next: Numbers { job: 1, session: 1, engine: 1 },
            recent: Recent::default(),
            data_address: None,
            to_clients: Vec::new(),
            to_engines: Vec::new(),
            hang_up: Vec::new(),
            hang_up_clients: Vec::new(),
            for_drivers: BTreeMap::new(),
            for_engines: BTreeMap::new(),
            wake: None,
            joined: Instant::now(),
            stopping: false,
        }
    }

    /// The scheduler's clock.
    pub(crate) fn now(&self) -> Time {
        Time(self.began.elapsed().as_nanos() as u64)
    }

    /// Hands what happened to the scheduler and carries out what it decides, until nothing is left to say.
    pub(crate) fn settle(&mut self) {
        self.admit();
        while !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            let mut actions = Vec::new();
            self.scheduler.handle_all(self.now(), events, &mut actions);
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    /// Something that depends on time may be due.
    pub(crate) fn tick(&mut self) {
        let now = self.now();
        if self.wake.is_some_and(|wake| wake <= now) {
            self.wake = None;
            self.events.push(Event::Tick);
        }
        self.lose_silent_engines();
        self.drop_lost_drivers();
        self.tell_progress();
        self.dismiss_drained();
        self.settle();
    }

    fn carry_out(&mut self, action: Action<Error>) {
        match action {
            Action::Launch { engine, tasks } => self.launch(engine, &tasks),
            Action::Kill { engine, attempt } => self.tell_engine(engine, ToEngine::Kill { attempt }),
            Action::Discard { engine, attempt } => {
                self.reported.remove(&attempt);
                self.tell_engine(engine, ToEngine::Discard { attempt });
            }
            Action::DeleteOutput { engine, output } => self.tell_engine(engine, ToEngine::DeleteOutput { output }),
            Action::Commit { job, attempt, engine, partitions } => self.commit(job, attempt, engine, &partitions),
            Action::JobDone { job } => self.end_job(job, Ok(())),
            Action::JobFailed { job, reason } => self.end_job(job, Err(tryworks_engine::verdict::told(reason))),
            Action::JobCancelled { job, report } => {
                let count = |of: fn(&Cancelled) -> u32| report.iter().map(of).sum::<u32>();
                let (done, stopped, waiting) = (count(|s| s.done), count(|s| s.stopped), count(|s| s.not_started));
                if self.jobs.get(&job).is_some_and(|job| job.verdict.is_none() && done + stopped + waiting > 0) {
                    let text = format!(
                        "{job} was cancelled: {done} partitions were done, {stopped} were with engines and are stopped, \
                         {waiting} had not been given out"
                    );
                    self.tell_job(job, |_| ToDriver::Notice(text));
                }
                self.end_job(job, Err(Error::Cancelled));
            }
            Action::StageStarted { job, stage, stage_attempt, tasks } => {
                self.stage_started(job, stage, stage_attempt, tasks);
            }
            Action::StageFinished { job, stage, stage_attempt } => self.stage_finished(job, stage, stage_attempt),
            Action::Nondeterministic { job, stage, partition, declared } => {
                if !declared {
                    self.tell_job(job, |_| {
                        ToDriver::Notice(format!(
                            "stage {stage} is not deterministic: partition {partition} was made again and came out \
                             different; what depends on it is made again whole"
                        ))
                    });
                }
            }
            Action::Move(what) => {
                self.introduce_store(what.to, what.from);
                self.tell_engine(what.to, ToEngine::Move(what));
            }
            Action::Drained { engine } => {
                if let Some(engine) = self.engines.get_mut(&engine) {
                    engine.drained = true;
                }
            }
            Action::WakeAt { time } => self.wake = Some(self.wake.map_or(time, |wake| wake.min(time))),
        }
    }

    pub(crate) fn tell_engine(&mut self, engine: EngineId, message: ToEngine) {
        if self.engines.contains_key(&engine) {
            self.for_engines.entry(engine).or_default().push(message);
        }
    }

    pub(crate) fn tell_driver(&mut self, session: SessionId, message: ToDriver) {
        if self.sessions.get(&session).is_some_and(|session| session.peer.is_some()) {
            self.for_drivers.entry(session).or_default().push(message);
        }
    }

    /// Tells the driver of a job something, given the driver's number for it.
    pub(crate) fn tell_job(&mut self, job: JobId, message: impl FnOnce(u64) -> ToDriver) {
        if let Some((session, ticket)) = self.jobs.get(&job).and_then(|job| job.driver) {
            self.tell_driver(session, message(ticket));
        }
    }

    /// Everything that is to be sent, by connection.
    pub(crate) fn outgoing(&mut self) -> (Vec<(PeerId, Vec<u8>)>, Vec<(PeerId, Vec<u8>)>) {
        let mut clients = std::mem::take(&mut self.to_clients);
        for (session, batch) in std::mem::take(&mut self.for_drivers) {
            if let Some(peer) = self.sessions.get(&session).and_then(|session| session.peer) {
                clients.extend(encoded(&batch).map(|bytes| (peer, bytes)));
            }
        }
        let mut engines = std::mem::take(&mut self.to_engines);
        for (engine, batch) in std::mem::take(&mut self.for_engines) {
            if let Some(engine) = self.engines.get(&engine) {
                engines.extend(encoded(&batch).map(|bytes| (engine.peer, bytes)));
            }
        }
        (clients, engines)
    }
}

/// The bytes of a batch: our own types can always be encoded.
fn encoded<M: serde::Serialize>(batch: &[M]) -> Option<Vec<u8>> {
    tryworks_engine::protocol::encode(batch)
        .inspect_err(|error| tracing::error!("a message could not be encoded: {error}"))
        .ok()
}
