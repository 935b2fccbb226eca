//! The state of the hub: who is there, what runs, and what is waiting to be sent. It does no I/O: messages come in, and
//! what is to go out is left in its outboxes.

use crate::engines::Engine;
use crate::history::{Lookup, Told};
use crate::jobs::Phase;
use crate::journal::{Journal, Recovered, Remembered};
use crate::launch::{Code, Launched};
use crate::open::Jobs;
use crate::output::UnderWay;
use crate::programs::Shelf;
use crate::recent::Recent;
use crate::sessions::Session;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_protocol::admin::Answer;
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{Assignment, CodeId, HeldResult, ResultPart, ToEngine};
use tryworks_protocol::messages;
use tryworks_scheduler::{
    Action, Cancelled, Config, Event, Exclusion, Failure, KnownBlock, Partitions, Scheduler, Time,
};
use tryworks_transport::{Backlog, PeerId};

/// What a hub is told when it is started.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an engine may be silent before it counts as lost. Engines speak four times as often, and at least
    /// every second.
    pub engine_silence: Duration,
    /// How long a driver may be silent before its connection is given up.
    pub driver_silence: Duration,
    /// How long a driver that is gone may take to come back before its jobs are cancelled.
    pub driver_grace: Duration,
    /// What comes in from other machines, by the gateway and the data port together.
    pub doors: tryworks_transport::Limits,
    /// What may wait for drivers and engines that do not read, for all of them together.
    pub backlog: Backlog,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            engine_silence: Duration::from_secs(10),
            driver_silence: Duration::from_secs(10),
            driver_grace: Duration::from_secs(30),
            doors: Default::default(),
            backlog: Backlog::default(),
        }
    }
}

/// How many tasks an engine may hold beyond its slots before it is known how long they take.
const PREFETCH: u32 = 2;
/// An engine on which so many different tasks fail within a minute gets none for a minute.
const EXCLUSION: Exclusion =
    Exclusion { failures: 10, window: Duration::from_secs(60), lasts: Duration::from_secs(60) };

/// Who sits at the other end of a driver's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A driver.
    Driver(SessionId),
    /// The command line.
    Administrator,
}

/// What is there from before of an output.
#[derive(Default)]
pub(crate) struct Found {
    /// What engines have of it.
    pub(crate) blocks: Vec<KnownBlock>,
    /// What the journal knows of it.
    pub(crate) remembered: Remembered,
}

/// What is there from before that a job may want.
#[derive(Default)]
pub(crate) struct Offered {
    /// Until a job names them.
    pub(crate) outputs: BTreeMap<OutputId, Found>,
    /// Results, until their job comes again.
    pub(crate) results: HashMap<JobId, Vec<(EngineId, HeldResult)>>,
}

/// What the hub remembers by, and what it is told by that.
pub(crate) struct Memory {
    pub(crate) journal: Journal,
    /// For questions to the journal.
    pub(crate) desk: Sender<Lookup>,
    /// Where answers go, and what was written down.
    pub(crate) told: UnboundedSender<Told>,
}

/// The hub.
pub(crate) struct Hub {
    pub(crate) cluster: String,
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    pub(crate) epoch: u64,
    /// Smaller numbers are of jobs and sessions of the hubs before this one.
    pub(crate) first: (JobId, SessionId),
    /// The names of engines that were there when the hub before this one died, and that have not come back.
    pub(crate) awaited: BTreeSet<String>,
    pub(crate) began: Instant,
    pub(crate) scheduler: Scheduler<Error>,
    pub(crate) events: Vec<Event<Error>>,
    pub(crate) clients: HashMap<PeerId, Client>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) engine_peers: HashMap<PeerId, EngineId>,
    pub(crate) engines: BTreeMap<EngineId, Engine>,
    pub(crate) jobs: Jobs,
    pub(crate) codes: BTreeMap<CodeId, Code>,
    /// What is out, with what its report will mean.
    pub(crate) launched: HashMap<AttemptId, Launched>,
    /// Results that were reported and are not accepted yet.
    pub(crate) reported: HashMap<AttemptId, Vec<(u32, ResultPart)>>,
    /// Partitions of outputs that were reported and not noted yet.
    pub(crate) made: Vec<(OutputId, Partitions)>,
    /// Counts the changes of where an output's blocks are.
    pub(crate) moves: HashMap<OutputId, u64>,
    /// Why blocks of an output could not be read, when that was tried last.
    pub(crate) unreadable: HashMap<OutputId, String>,
    /// Who keeps which partition of a cache.
    pub(crate) caches: BTreeMap<u64, BTreeMap<u32, EngineId>>,
    pub(crate) offered: Offered,
    /// How often results were asked of the journal.
    pub(crate) replays: u64,
    pub(crate) recent: Recent,
    /// Output of tasks on its way to drivers.
    pub(crate) under_way: UnderWay,
    pub(crate) shelf: Shelf,
    /// Something on the shelf is needed no more, since it was tidied.
    pub(crate) untidy: bool,
    /// The hub's own data port.
    pub(crate) data_address: Option<String>,
    pub(crate) to_clients: Vec<(PeerId, Vec<u8>)>,
    pub(crate) to_engines: Vec<(PeerId, Vec<u8>)>,
    /// Drivers to hang up on once all is written, and engines.
    pub(crate) hang_up_clients: Vec<PeerId>,
    pub(crate) hang_up_engines: Vec<PeerId>,
    pub(crate) for_drivers: BTreeMap<SessionId, Vec<ToDriver>>,
    pub(crate) for_engines: BTreeMap<EngineId, Vec<ToEngine>>,
    /// When the scheduler wants to be woken.
    pub(crate) wake: Option<Time>,
    /// What was last said of the journal's health.
    pub(crate) trouble: Option<Error>,
    pub(crate) stopping: bool,
    /// Who asked for new certificates, and by which question.
    pub(crate) renew: Option<(PeerId, u64)>,
}

impl Hub {
    /// A hub that knows nothing but what its journal `recovered`.
    pub(crate) fn new(cluster: String, limits: Limits, memory: Memory, shelf: Shelf, recovered: Recovered) -> Self {
        let mut hub = Hub {
            cluster,
            limits,
            memory,
            epoch: recovered.epoch,
            first: recovered.first,
            awaited: BTreeSet::new(),
            began: Instant::now(),
            scheduler: Scheduler::new(Config {
                prefetch: PREFETCH,
                launched: recovered.launched,
                exclusion: Some(EXCLUSION),
            }),
            events: Vec::new(),
            clients: HashMap::new(),
            sessions: BTreeMap::new(),
            engine_peers: HashMap::new(),
            engines: BTreeMap::new(),
            jobs: Jobs::default(),
            codes: BTreeMap::new(),
            launched: HashMap::new(),
            reported: HashMap::new(),
            made: Vec::new(),
            moves: HashMap::new(),
            unreadable: HashMap::new(),
            caches: BTreeMap::new(),
            offered: Offered::default(),
            replays: 0,
            recent: Recent::default(),
            under_way: UnderWay::default(),
            shelf,
            untidy: false,
            data_address: None,
            to_clients: Vec::new(),
            to_engines: Vec::new(),
            hang_up_clients: Vec::new(),
            hang_up_engines: Vec::new(),
            for_drivers: BTreeMap::new(),
            for_engines: BTreeMap::new(),
            wake: None,
            trouble: None,
            stopping: false,
            renew: None,
        };
        hub.recover(recovered);
        hub
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
            self.note_launches(&actions);
            self.note_made();
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
        self.tidy();
        self.tell_progress();
        self.tell_of_missed();
        self.look_after_journal();
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
            Action::DeleteOutput { engine, output } => {
                self.unreadable.remove(&output);
                self.tell_engine(engine, ToEngine::DeleteOutput { output });
            }
            Action::Commit { job, attempt, engine, partitions } => self.commit(job, attempt, engine, &partitions),
            Action::JobDone { job } => self.end_job(job, Ok(())),
            Action::JobFailed { job, reason } => {
                let mut error = Error::from(reason);
                if let Error::Fetch { exchange, message, .. } = &mut error
                    && let Some(why) = self.unreadable.get(&OutputId(*exchange))
                {
                    *message += &format!("; the last time: {why}");
                }
                self.end_job(job, Err(error));
            }
            Action::JobCancelled { job, report } => {
                let count = |of: fn(&Cancelled) -> u32| report.iter().map(of).sum::<u32>();
                let (done, stopped, waiting) = (count(|s| s.done), count(|s| s.stopped), count(|s| s.not_started));
                if done + stopped + waiting > 0 {
                    let text = format!(
                        "{job} was cancelled: {done} partitions were done, {stopped} were with engines and are stopped, \
                         {waiting} had not been given out"
                    );
                    self.tell_job(job, |_| ToDriver::Notice(text.clone()));
                }
                self.end_job(job, Err(Error::Cancelled));
            }
            Action::StageStarted { job, stage, stage_attempt, tasks } => {
                self.stage_started(job, stage, stage_attempt, tasks);
            }
            Action::StageFinished { job, stage, stage_attempt } => self.stage_finished(job, stage, stage_attempt),
            Action::Nondeterministic { job, stage, partition, declared } => {
                self.note_change(job, stage);
                if !declared {
                    let text = format!(
                        "stage {stage} is not deterministic: partition {partition} was made again and came out \
                         different; what depends on it is made again whole"
                    );
                    self.tell_job(job, |_| ToDriver::Notice(text.clone()));
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

    pub(crate) fn is_connected(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.peer.is_some())
    }

    pub(crate) fn tell_driver(&mut self, session: SessionId, message: ToDriver) {
        if self.is_connected(session) {
            self.for_drivers.entry(session).or_default().push(message);
        }
    }

    /// Tells the drivers of a job something, given each one's number for it.
    pub(crate) fn tell_job(&mut self, job: JobId, message: impl Fn(u64) -> ToDriver) {
        let drivers = self.jobs.get(&job).map(|job| job.drivers.clone()).unwrap_or_default();
        for driver in drivers {
            self.tell_driver(driver.session, message(driver.ticket));
        }
    }

    /// No launch leaves before its number is known never to be used again.
    fn note_launches(&mut self, actions: &[Action<Error>]) {
        let tasks = actions.iter().flat_map(|action| match action {
            Action::Launch { tasks, .. } => &tasks[..],
            _ => &[],
        });
        if let Some(last) = tasks.map(|task| task.attempt.sequence()).max()
            && let Err(error) = self.memory.journal.launched(last)
        {
            tracing::error!(%error, "launches cannot be written down: should the hub die, their numbers may come again");
        }
    }

    /// Says in the log when the journal cannot be written, and when it can again.
    fn look_after_journal(&mut self) {
        let error = self.memory.journal.health().error;
        match (&error, &self.trouble) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                tracing::error!(error = %now, "the journal cannot be written: should the hub die, jobs are lost");
            }
            (None, Some(_)) => tracing::info!("the journal is written again"),
            _ => return,
        }
        self.trouble = error;
    }

    /// Asks the journal, once all that was noted is in it.
    pub(crate) fn look_up(&self, lookup: Lookup) {
        let desk = self.memory.desk.clone();
        self.memory.journal.after(move |_| drop(desk.send(lookup)));
    }

    /// Takes in what the journal or its reader says.
    pub(crate) fn hear(&mut self, told: Told) {
        match told {
            Told::Submitted { job, outcome } => self.written(job, outcome),
            Told::Kept { engine, attempt, outcome: Ok(()) } => {
                self.tell_engine(engine, ToEngine::Received { attempts: vec![attempt] });
            }
            // The engine goes on holding them.
            Told::Kept { .. } => {}
            Told::Answer { peer, number, answer } => self.tell_answer(peer, number, answer),
            Told::Ran { peer, number, engine, ran } => {
                let answer = ran.map(|ran| Answer::Logs(self.recent.lines(engine, Some(ran))));
                self.tell_answer(peer, number, answer.unwrap_or_else(|no| no));
            }
            Told::Result { job, replay, attempt, partition, bytes } => {
                self.replay(job, replay, attempt, partition, bytes);
            }
            Told::Replayed { job, replay, count } => self.replayed(job, replay, count),
        }
    }

    /// Everything that is to be sent, by connection.
    pub(crate) fn outgoing(&mut self) -> (Vec<(PeerId, Bytes)>, Vec<(PeerId, Bytes)>) {
        let ready = |answers: Vec<(PeerId, Vec<u8>)>| answers.into_iter().map(|(peer, bytes)| (peer, bytes.into()));
        let mut clients: Vec<_> = ready(std::mem::take(&mut self.to_clients)).collect();
        let mut engines: Vec<_> = ready(std::mem::take(&mut self.to_engines)).collect();
        // What cannot be said has others told something.
        while !(self.for_drivers.is_empty() && self.for_engines.is_empty()) {
            let mut unsaid = Vec::new();
            for (session, batch) in std::mem::take(&mut self.for_drivers) {
                let Some(peer) = self.sessions.get(&session).and_then(|session| session.peer) else { continue };
                let said = messages(&batch, &mut |what, error| unsaid.push((session, about(what), error)));
                clients.extend(said.into_iter().map(|bytes| (peer, bytes)));
            }
            for (session, ticket, error) in unsaid {
                tracing::error!("a driver could not be told something: {error}");
                if let Some(ticket) = ticket {
                    let job = self.job_of(session, ticket);
                    job.into_iter().for_each(|job| self.fail_job(job, &error));
                    self.tell_driver(session, ToDriver::Ended { ticket, end: Err(error) });
                }
            }
            let mut unsaid = Vec::new();
            for (id, batch) in std::mem::take(&mut self.for_engines) {
                let Some(engine) = self.engines.get(&id) else { continue };
                let said = messages(&batch, &mut |what: &ToEngine, error| unsaid.push((id, what.clone(), error)));
                engines.extend(said.into_iter().map(|bytes| (engine.peer, bytes)));
            }
            unsaid.into_iter().for_each(|(engine, what, error)| self.unsaid_to_engine(engine, what, &error));
            self.settle();
        }
        (clients, engines)
    }

    /// An engine could not be told something, since it fits into no message: the jobs that need it fail.
    fn unsaid_to_engine(&mut self, engine: EngineId, what: ToEngine, error: &Error) {
        tracing::error!("{engine} could not be told something: {error}");
        let session = match what {
            ToEngine::Launch { tasks } => {
                for Assignment { task, .. } in tasks {
                    self.task_failed(engine, task.attempt, Failure::Final(error.clone()), (0, 0));
                }
                return;
            }
            ToEngine::Code { session, .. } | ToEngine::Session { session, .. } => session,
            ToEngine::Places { output, .. } => SessionId::split(output.0).0,
            _ => return,
        };
        let jobs: Vec<_> = self.jobs.of(session).filter(|(_, job)| job.end.is_none()).map(|(id, _)| id).collect();
        jobs.into_iter().for_each(|job| self.fail_job(job, error));
    }

    /// Stops a job for something that is not its tasks' doing.
    pub(crate) fn fail_job(&mut self, id: JobId, error: &Error) {
        let begun = self.jobs.get(&id).is_some_and(|job| job.phase == Phase::Begun && job.end.is_none());
        self.end_job(id, Err(error.clone()));
        if begun {
            self.events.push(Event::JobCancelled { job: id });
        }
    }
}

/// The job that a message is about, by its driver's number.
fn about(what: &ToDriver) -> Option<u64> {
    match what {
        ToDriver::Results { ticket, .. } | ToDriver::Ended { ticket, .. } => Some(*ticket),
        _ => None,
    }
}
