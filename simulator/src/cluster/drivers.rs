//! Simulated drivers: they submit jobs, come back to their session after their connection was cut, and are run again
//! when they end.

use super::engines::Code;
use super::network::{End, said};
use super::{Bug, Happening, MS, SECOND, World};
use crate::checkers::Violation;
use std::collections::BTreeMap;
use std::time::Duration;
use tryworks_base::ids::{ExchangeId, JobId, OutputId, SessionId};
use tryworks_base::{Action, Error};
use tryworks_protocol::driver::{FromDriver, NewJob, Part, Program, ToDriver, Welcome};
use tryworks_protocol::{Hello, HostInfo, Opening, Purpose, decode, opening};
use tryworks_scheduler::{JobSpec, Limits, Time};
use tryworks_transport::PeerId;

/// A job, as its driver sees it.
#[derive(Debug)]
pub(super) struct Job {
    pub plan: usize,
    pub name: Option<String>,
    /// The time to submit it has come.
    due: bool,
    /// The driver's number for it in this session.
    ticket: Option<u64>,
    pub number: Option<JobId>,
    pub got: BTreeMap<u32, u64>,
    /// An earlier run of the driver was told that the detached job is accepted.
    pub promised: Option<JobId>,
    pub through: bool,
}

impl Job {
    pub fn new(plan: usize, name: Option<String>) -> Self {
        Job { plan, name, due: false, ticket: None, number: None, got: BTreeMap::new(), promised: None, through: false }
    }

    /// Another session, or another run of the program, submits it from the beginning.
    fn begin_anew(&mut self) {
        if self.name.is_some() && self.number.is_some() {
            self.promised = self.number;
        }
        (self.ticket, self.number) = (None, None);
        self.got.clear();
    }
}

#[derive(Debug)]
pub(super) struct Driver {
    name: String,
    pub life: u32,
    alive: bool,
    pub peer: Option<PeerId>,
    welcome: bool,
    pub session: Option<(SessionId, [u8; 16])>,
    epoch: u64,
    tickets: u64,
    /// Since when it has had no connection that it knows to be good.
    pub away: Option<Time>,
    pub jobs: Vec<Job>,
    left: bool,
}

impl Driver {
    pub fn new(at: usize) -> Self {
        Driver {
            name: format!("driver-{at}"),
            life: 0,
            alive: true,
            peer: None,
            welcome: false,
            session: None,
            epoch: 0,
            tickets: 0,
            away: None,
            jobs: Vec::new(),
            left: false,
        }
    }

    pub fn lives(&self, life: u32, peer: PeerId) -> bool {
        self.alive && self.life == life && self.peer == Some(peer)
    }

    /// It has all results that it wanted.
    pub fn is_through(&self) -> bool {
        self.left
    }

    /// The jobs that have not ended.
    pub fn waits_for(&self) -> impl Iterator<Item = String> + '_ {
        let waiting = self.jobs.iter().filter(|job| !job.through);
        waiting.map(|job| format!("job {} of {} ({:?}, has {})", job.plan, self.name, job.number, job.got.len()))
    }
}

impl World {
    pub(super) fn dial_driver(&mut self, driver: usize, life: u32) {
        let of = &self.drivers[driver];
        if of.life != life || !of.alive || of.peer.is_some() || of.left {
            return;
        }
        if self.hub.is_none() {
            return self.soon(50 * MS, 200 * MS, Happening::DialDriver(driver, life));
        }
        let peer = self.connect(End::Driver(driver, life));
        let of = &mut self.drivers[driver];
        (of.peer, of.welcome) = (Some(peer), false);
        let info = HostInfo { id: of.name.clone(), name: of.name.clone(), ..HostInfo::default() };
        let mut again = of.session;
        if let (Some((_, secret)), Some(Bug::GiveUpEarly)) = (&mut again, self.options.bug) {
            self.outcome.planted += 1;
            secret[0] ^= 1;
        }
        let purpose = Purpose::Drive { again, program: Program::default() };
        let hello = Hello { version: "simulated".into(), host: info, purpose };
        let bytes = hello.to_bytes().unwrap_or_else(|error| panic!("a hello cannot be encoded: {error}"));
        self.send_to_hub(peer, bytes);
        self.after(SECOND, Happening::Beat(peer));
    }

    pub(super) fn driver_without_hub(&mut self, driver: usize) {
        let now = self.now;
        let of = &mut self.drivers[driver];
        of.peer = None;
        of.away.get_or_insert(now);
        let life = of.life;
        // Some networks are cut for longer than a hub waits.
        let away = if !self.is_calm() && self.rng.chance(60) { 45 * SECOND } else { 200 * MS };
        self.soon(away / 10, away, Happening::DialDriver(driver, life));
    }

    pub(super) fn end_driver(&mut self, driver: usize, back_after: u64) {
        let of = &mut self.drivers[driver];
        if of.left {
            return;
        }
        self.outcome.drivers_ended += 1;
        of.life += 1;
        of.session = None;
        of.away = None;
        of.jobs.iter_mut().filter(|job| !job.through).for_each(Job::begin_anew);
        let (peer, life) = (of.peer.take(), of.life);
        self.client_is_gone(peer);
        self.after(back_after, Happening::DialDriver(driver, life));
    }

    fn driver_says(&mut self, driver: usize, messages: &[FromDriver]) {
        if let Some(peer) = self.drivers[driver].peer {
            self.send_to_hub(peer, said(messages));
        }
    }

    pub(super) fn submit(&mut self, driver: usize, job: usize) {
        self.drivers[driver].jobs[job].due = true;
        if self.drivers[driver].welcome && self.drivers[driver].peer.is_some() {
            self.submit_now(driver, job);
        }
    }

    /// Submits a job, or asks for the results that it still lacks.
    fn submit_now(&mut self, driver: usize, at: usize) {
        let of = &mut self.drivers[driver];
        let Some((session, _)) = of.session else { return };
        let job = &mut of.jobs[at];
        if job.through || !job.due {
            return;
        }
        let ticket = *job.ticket.get_or_insert_with(|| {
            of.tickets += 1;
            of.tickets
        });
        let plan = &self.workload.jobs[job.plan];
        let mut spec: JobSpec = plan.spec.clone();
        spec.label = format!("job {} at simulator", job.plan);
        let global = |output: OutputId| session.output(ExchangeId(output.0 + 1));
        spec.stages.iter_mut().for_each(|stage| stage.output = stage.output.map(global));
        spec.limits = Limits {
            max_attempts: 1,
            max_worker_deaths: u32::MAX,
            max_losses: u32::MAX,
            max_stage_attempts: u32::MAX,
            max_result_bytes: u64::MAX,
            no_engine_grace: Duration::from_secs(100_000),
            ..spec.limits
        };
        spec.wanted = spec.wanted.iter().filter(|partition| !job.got.contains_key(partition)).collect();
        spec.delivered = job.got.len() as u32;
        let code = |stage: usize| match plan.stages.get(stage) {
            Some(pool) => Code::Pool(*pool),
            None => Code::Results(job.plan),
        };
        let codes = (0..spec.stages.len()).map(|stage| (stage as u32, code(stage).bytes())).collect();
        let action = Action { name: spec.label.clone(), aspects: Vec::new() };
        let (detached, token, caches) = (job.name.clone(), String::new(), Vec::new());
        let new = NewJob { ticket, job: job.number, detached, action, token, spec, codes, caches };
        self.driver_says(driver, &[FromDriver::Submit(Box::new(new))]);
    }

    pub(super) fn driver_hears(&mut self, driver: usize, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        if !self.drivers[driver].welcome {
            return match opening::<Welcome>(bytes) {
                Ok(Opening::Welcome(welcome)) => self.welcomed(driver, &welcome),
                // The journal cannot be written, for example: the driver tries again.
                Ok(Opening::Refused(_)) => {
                    self.driver_without_hub(driver);
                    Ok(())
                }
                Err(error) => Err(format!("{peer:?} was answered with what cannot be read: {error}")),
            };
        }
        let batch = decode::<ToDriver>(bytes).map_err(|error| format!("{peer:?} cannot read: {error}"))?;
        for message in batch {
            self.driver_is_told(driver, message)?;
        }
        self.leave_if_through(driver);
        Ok(())
    }

    fn welcomed(&mut self, driver: usize, welcome: &Welcome) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        of.welcome = true;
        let before = of.session.map(|(session, _)| session);
        let away = of.away.take();
        if before == Some(welcome.session) {
            self.outcome.came_back += 1;
            let open = of.jobs.iter().filter(|job| !job.through);
            let tickets: Vec<u64> = open.filter_map(|job| job.ticket).collect();
            let outputs =
                (1..=self.workload.pool.len() as u64).map(|own| welcome.session.output(ExchangeId(own))).collect();
            self.outcome.resubmitted += tickets.len() as u64;
            self.driver_says(driver, &[FromDriver::Holds { tickets, outputs, caches: Vec::new() }]);
        } else {
            of.session = Some((welcome.session, welcome.secret));
            of.jobs.iter_mut().filter(|job| !job.through).for_each(Job::begin_anew);
            if let (Some(before), Some(away)) = (before, away) {
                self.outcome.given_up += 1;
                self.checks.given_up(before, self.now.since(away))?;
            }
        }
        self.drivers[driver].epoch = welcome.epoch;
        for job in 0..self.drivers[driver].jobs.len() {
            self.submit_now(driver, job);
        }
        self.leave_if_through(driver);
        Ok(())
    }

    fn driver_is_told(&mut self, driver: usize, message: ToDriver) -> Result<(), Violation> {
        let by = |jobs: &[Job], ticket: u64| jobs.iter().position(|job| job.ticket == Some(ticket) && !job.through);
        match message {
            ToDriver::Accepted { ticket, job: number } => {
                let Some(at) = by(&self.drivers[driver].jobs, ticket) else { return Ok(()) };
                let job = &mut self.drivers[driver].jobs[at];
                self.checks.accepted(number, job)?;
                job.number = Some(number);
            }
            ToDriver::Results { ticket, attempt, parts } => {
                let Some(at) = by(&self.drivers[driver].jobs, ticket) else { return Ok(()) };
                let job = &mut self.drivers[driver].jobs[at];
                let plan = &self.workload.jobs[job.plan];
                for (partition, part) in parts {
                    let Part::Here(bytes) = part else { return Err("a small result stays with its engine".into()) };
                    let value = bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
                    let right = self.workload.answer(plan, partition);
                    if value != right {
                        return Err(format!(
                            "partition {partition} of job {} came to {value:x}; a sequential run gives {right:x}",
                            job.plan
                        ));
                    }
                    job.got.insert(partition, value);
                }
                self.driver_says(driver, &[FromDriver::Received { attempts: vec![attempt] }]);
            }
            ToDriver::Ended { ticket, end } => {
                let Some(at) = by(&self.drivers[driver].jobs, ticket) else { return Ok(()) };
                self.driver_says(driver, &[FromDriver::Close { ticket }]);
                self.ended(driver, at, end)?;
            }
            ToDriver::Progress { .. }
            | ToDriver::Found { .. }
            | ToDriver::Cached { .. }
            | ToDriver::Output(_)
            | ToDriver::Notice(_)
            | ToDriver::Answer { .. } => {}
        }
        Ok(())
    }

    fn ended(&mut self, driver: usize, at: usize, end: Result<(), Error>) -> Result<(), Violation> {
        let full = self.disk.was_full;
        let job = &mut self.drivers[driver].jobs[at];
        let plan = job.plan;
        match end {
            Ok(()) => {
                let spec = &self.workload.jobs[plan].spec;
                if let Some(partition) = spec.wanted.iter().find(|partition| !job.got.contains_key(partition)) {
                    return Err(format!("job {plan} is done, but its partition {partition} was never told"));
                }
                job.through = true;
                self.outcome.done += 1;
                self.outcome.collected += u64::from(job.promised.is_some());
                Ok(())
            }
            // The driver asks for it again, under another number.
            Err(Error::Storage { .. }) if full => {
                self.outcome.refused += 1;
                if let Some(promised) = job.number.filter(|_| job.name.is_some()) {
                    return Err(format!("{promised} was accepted, and is lost: the disk was full"));
                }
                job.begin_anew();
                self.soon(100 * MS, SECOND, Happening::Submit(driver, at));
                Ok(())
            }
            Err(error) if job.promised.is_some() => {
                Err(format!("{:?} was accepted, and is lost: {error}", job.promised))
            }
            Err(error) => Err(format!("job {plan} ({:?}) failed for nothing that happened: {error}", job.number)),
        }
    }

    fn leave_if_through(&mut self, driver: usize) {
        let of = &mut self.drivers[driver];
        if of.welcome && of.peer.is_some() && !of.left && of.jobs.iter().all(|job| job.through) {
            of.left = true;
            self.driver_says(driver, &[FromDriver::Leave]);
        }
    }
}
