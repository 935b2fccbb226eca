//! The world around the real scheduler: a virtual clock, a bad network, and the hub's side of that network.

mod agenda;
mod engines;
mod hub;
mod network;

use super::{
    Bug, Outcome,
    checkers::{Checkers, Violation},
    faults::{Disaster, Faults, MS},
    host::{Host, Inputs, Order},
    rng::Rng,
    workload::{POOLS, Workload, output},
};
use network::{Envelope, Letter};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};
use tryworks_base::outlet;
use tryworks_scheduler::*;

const BEAT: u64 = 40 * MS;
/// The hub gives an engine up after this silence; an engine gives the hub up after a longer one.
const LEASE: u64 = 200 * MS;
const ENGINE_LEASE: u64 = 300 * MS;
/// An important message is sent again after this time.
const RESEND: u64 = 30 * MS;
/// Every job ends within this time after the last fault.
const PATIENCE: u64 = 60_000 * MS;
/// This long after the last job, every trace of the jobs is gone.
const SETTLING: u64 = 1_500 * MS;

#[derive(Debug)]
enum Happening {
    Send(Envelope),
    Arrive(Envelope),
    Beat(usize),
    HubLooksRound,
    SocketClosed(EngineId),
    Start(usize),
    Disaster(usize, Disaster),
    Gate(EngineId, Gate),
    NotGone(EngineId, bool),
    /// A copy of a block arrives, asked for by a hub of this generation.
    Fetched(usize, u32, Move),
    HubStarts(bool),
    Resubmit(JobId),
    Read(usize, EngineId, AttemptId),
    Finish(usize, EngineId, AttemptId),
    Submit(usize),
    Cancel(JobId),
    Release(OutputId),
    Tick,
}

#[derive(Debug)]
struct Session {
    host: usize,
    alive: bool,
    /// The previous hub knew it. This hub has not learned yet what it holds.
    pending: bool,
    last_heard: u64,
    orders: u64,
}

pub(super) struct World {
    now: Time,
    rng: Rng,
    /// The happenings to come, by time, and at one time in the order of planning.
    agenda: BTreeMap<(Time, u64), Happening>,
    planned: u64,
    scheduler: Scheduler<String>,
    config: Config,
    pools: [PoolSpec; 3],
    workload: Workload,
    faults: Faults,
    hosts: Vec<Host>,
    sessions: BTreeMap<EngineId, Session>,
    started: u32,
    /// How many more times the user's code fails at a partition. A poisoned partition kills its worker every time.
    errors_left: BTreeMap<(u64, u32), u32>,
    poison: Vec<(u64, u32)>,
    released: Vec<bool>,
    /// How many times the hub was restarted, and whether it runs.
    generation: u32,
    down: bool,
    /// Jobs that were not submitted again yet since the hub restarted, and whether the hub first waits for all engines.
    returning: Vec<JobId>,
    /// Attempts to be stopped or deleted, and their engines. The hub's journal has them.
    void: BTreeSet<(EngineId, AttemptId)>,
    patient: bool,
    checkers: Checkers,
    bug: Option<Bug>,
    trace: bool,
    outcome: Outcome,
    actions: Vec<Action<String>>,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let hosts: Vec<Host> = (0..rng.within(1, 6)).map(|_| Host::new(rng.within(1, 4) as u32)).collect();
        let faults = Faults::random(&mut rng, hosts.len());
        let workload = Workload::random(&mut rng, faults.fickle);
        let prefetch = if rng.chance(500) { rng.within(1, 2) as u32 } else { 0 };
        let exclusion = rng.chance(300).then(|| Exclusion {
            failures: rng.within(1, 3) as u32,
            window: Duration::from_millis(200),
            lasts: Duration::from_millis(rng.within(10, 3_000)),
        });
        let config = Config { prefetch, launched: 0, exclusion };
        let mut world = Self {
            now: Time(0),
            agenda: BTreeMap::new(),
            planned: 0,
            scheduler: Scheduler::new(config),
            config,
            pools: [PoolSpec::default(); 3],
            released: vec![false; workload.pool.len()],
            hosts,
            sessions: BTreeMap::new(),
            started: 0,
            generation: 0,
            down: false,
            returning: Vec::new(),
            void: BTreeSet::new(),
            patient: false,
            errors_left: BTreeMap::new(),
            poison: Vec::new(),
            checkers: Checkers::default(),
            bug,
            trace,
            outcome: Outcome::default(),
            actions: Vec::new(),
            rng,
            workload,
            faults,
        };
        world.pools = POOLS.map(|_| PoolSpec {
            weight: world.rng.below(4) as u32,
            min_share: world.rng.below(3) as u32,
            priority: world.rng.below(2) as i32,
        });
        world.define_pools();
        world.plan_the_run();
        world
    }

    fn define_pools(&mut self) {
        for (pool, spec) in POOLS.into_iter().zip(self.pools) {
            let event = Event::PoolDefined { pool: pool.into(), spec };
            self.scheduler.handle(self.now, event, &mut Vec::new());
        }
    }

    /// Runs until every job has ended and every trace of the jobs is gone.
    pub fn run(mut self) -> Result<Outcome, Violation> {
        let mut settled: Option<Time> = None;
        while let Some(((now, _), happening)) = self.agenda.pop_first() {
            self.now = now;
            if settled.is_none() && self.checkers.all_ended(self.workload.jobs.len()) {
                self.faults.end = self.faults.end.min(now);
                settled = Some(Time(now.0 + SETTLING));
                for stage in 0..self.released.len() {
                    self.after(0, Happening::Release(output(stage)));
                }
            }
            if settled.is_some_and(|settled| now > settled) {
                self.nothing_is_left()?;
                self.outcome.seconds = now.0 / 1_000_000_000;
                self.outcome.launched = self.scheduler.launched();
                self.outcome.copies_won = self.checkers.copies_won();
                self.outcome.changed_since = self.checkers.changed_since();
                return Ok(self.outcome);
            }
            if settled.is_none() && now.0 > self.faults.end.0 + PATIENCE {
                let stuck = self.checkers.not_ended();
                return Err(format!("{stuck:?} did not end; {}", self.why(stuck.first().copied())));
            }
            self.happen(happening)?;
        }
        Err("nothing is planned any more".into())
    }

    fn why(&self, job: Option<JobId>) -> String {
        let Some(job) = job else { return "no job was submitted".into() };
        let stages = self.workload.jobs[job.0 as usize - 1].spec.stages.iter().zip(0..);
        let waits = stages.flat_map(|(s, stage)| (0..s.partitions).map(move |partition| (stage, partition)));
        let waits = waits.filter_map(|(stage, p)| Some(((stage, p), self.scheduler.why(job, stage, p)?)));
        format!("its tasks wait for {:?}", waits.collect::<Vec<_>>())
    }

    fn nothing_is_left(&self) -> Result<(), Violation> {
        let census = Census { engines: 0, ..self.scheduler.census() };
        if census != Census::default() {
            return Err(format!("all jobs ended, and yet the scheduler holds {census:?}"));
        }
        if let Some(pool) = POOLS.into_iter().find(|pool| self.scheduler.pool_running(pool) != Some(0)) {
            return Err(format!("all jobs ended, and yet tasks of pool {pool:?} are counted"));
        }
        let stuck = |id: &&EngineId| self.scheduler.draining(**id).is_some_and(|draining| !draining.drained);
        if let Some(engine) = self.sessions.keys().find(stuck) {
            return Err(format!("nothing is needed any more, and yet {engine} may not go"));
        }
        for host in
            self.hosts.iter().filter(|host| self.sessions.get(&host.session).is_some_and(|s| s.alive && host.alive))
        {
            if !(host.blocks.is_empty() && host.queue.is_empty() && host.running.is_empty()) {
                let left: Vec<_> = host.blocks.iter().map(|(attempt, block)| (*attempt, block.output)).collect();
                return Err(format!("all jobs ended, and yet {} holds {left:?}", host.session));
            }
        }
        Ok(())
    }

    fn after(&mut self, nanos: u64, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((Time(self.now.0 + nanos), self.planned), happening);
    }

    /// Hands an event to the scheduler, and carries out its actions.
    fn tell(&mut self, event: Event<String>) -> Result<(), Violation> {
        self.tell_all(vec![event])
    }

    fn tell_all(&mut self, events: Vec<Event<String>>) -> Result<(), Violation> {
        for event in &events {
            if self.trace {
                outlet::ERR.write(format!("{:?} {event:?}\n", self.now).as_bytes());
            }
            self.checkers.event(event, self.config.prefetch);
        }
        self.outcome.events += events.len() as u64;
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.handle_all(self.now, events, &mut actions);
        if let Some(bug) = self.bug {
            bug.plant(&mut actions, &mut self.outcome.planted);
        }
        for action in actions.drain(..) {
            if self.trace {
                outlet::ERR.write(format!("{:?}     {action:?}\n", self.now).as_bytes());
            }
            self.checkers.action(&self.workload, &action)?;
            self.outcome.count(&action);
            self.obey(action)?;
        }
        self.actions = actions;
        Ok(())
    }

    fn obey(&mut self, action: Action<String>) -> Result<(), Violation> {
        if let Action::Kill { engine, attempt } | Action::Discard { engine, attempt } = action {
            self.void.insert((engine, attempt));
        }
        match action {
            Action::Launch { engine, tasks } => {
                for task in tasks.iter() {
                    let inputs = self.locate(task)?;
                    self.order(engine, Order::Run(task.clone(), inputs));
                }
            }
            Action::Kill { engine, attempt } => self.order(engine, Order::Kill(attempt)),
            Action::Discard { engine, attempt } => self.order(engine, Order::Discard(attempt)),
            Action::DeleteOutput { engine, output } => self.order(engine, Order::Delete(output)),
            Action::Move(what) => self.order(what.to, Order::Fetch(what)),
            // The engine leaves, and comes back as another one.
            Action::Drained { engine } => self.after(MS, Happening::NotGone(engine, true)),
            Action::WakeAt { time } => self.after(time.0.saturating_sub(self.now.0), Happening::Tick),
            _ => {}
        }
        Ok(())
    }

    /// Looks up what a task reads, as a shell does at the launch: as far as the hub knows, all of it must exist.
    fn locate(&self, task: &Task) -> Result<Inputs, Violation> {
        let job = &self.workload.jobs[task.job.0 as usize - 1];
        let pool = job.stages.get(task.stage as usize).map(|&stage| &self.workload.pool[stage]);
        let parents = pool.map_or(&job.parents, |stage| &stage.parents);
        let mut inputs = Vec::new();
        for &parent in parents {
            let places = self.scheduler.places(output(parent));
            let here: Vec<_> = places.iter().filter_map(MapPartition::location).collect();
            if here.len() != self.workload.pool[parent].partitions as usize {
                return Err(format!("{} is launched, but its input {} is not complete", task.attempt, output(parent)));
            }
            inputs.push((parent, here.iter().map(|at| (at.engine, at.made_by)).collect()));
        }
        Ok(Rc::new(inputs))
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        if self.down && self.needs_hub(&happening) {
            self.wait_for_hub(happening);
            return Ok(());
        }
        match happening {
            Happening::Send(envelope) => {
                if self.sender_lives(&envelope) {
                    self.send(envelope);
                }
            }
            Happening::Arrive(envelope) if envelope.to_hub => self.hub_receives(envelope)?,
            Happening::Arrive(envelope) => self.host_receives(envelope),
            Happening::Beat(host) => self.beat(host),
            Happening::HubLooksRound => self.look_round()?,
            Happening::SocketClosed(session) => self.give_up(session)?,
            Happening::Start(host) => self.start(host),
            Happening::Disaster(host, disaster) => self.strike(host, disaster),
            Happening::Gate(engine, gate) => self.tell(Event::EngineGate { engine, gate })?,
            Happening::NotGone(session, kill) => self.not_gone(session, kill)?,
            Happening::Fetched(host, generation, what) => self.fetched(host, generation, what),
            Happening::HubStarts(patient) => self.hub_starts(patient)?,
            Happening::Resubmit(job) => self.resubmit(job)?,
            Happening::Read(host, session, attempt) => self.read(host, session, attempt),
            Happening::Finish(host, session, attempt) => self.finish(host, session, attempt),
            Happening::Submit(job) => {
                let (job, spec) = (self.workload.jobs[job].id, self.workload.jobs[job].spec.clone());
                self.tell(Event::JobSubmitted { job, spec })?;
            }
            Happening::Cancel(job) => self.tell(Event::JobCancelled { job })?,
            // A job that the hub has postponed still names it.
            Happening::Release(output) if self.will_be_named(output) => self.after(RESEND, Happening::Release(output)),
            Happening::Release(output) => {
                if !std::mem::replace(&mut self.released[output.0 as usize], true) {
                    self.tell(Event::OutputReleased { output })?;
                }
            }
            Happening::Tick => self.tell(Event::Tick)?,
        }
        Ok(())
    }
}
