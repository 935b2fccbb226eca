//! The programs of drivers: which jobs each wants, and what it does with the results.

use super::checks::Checks;
use super::engines::Code;
use super::{Bug, Happening, MS, SECOND, World};
use crate::checkers::Violation;
use crate::rng::mix;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::ids::{ExchangeId, JobId, OutputId, SessionId};
use tryworks_base::{Action, Error};
use tryworks_protocol::driver::Part;
use tryworks_protocol::engine::BlockPlace;
use tryworks_runtime::driver::state::{Next, StageCode, Work};
use tryworks_scheduler::{JobSpec, Limits, Partitions, Time};

/// How long a driver stays after it has got all that it wanted. In this time late messages arrive, and the effects of
/// cuts end.
const LINGER: u64 = 30 * SECOND;

const RETURN: Duration = Duration::from_secs(10);

/// A job, as its program knows it.
#[derive(Debug)]
pub(super) struct Job {
    pub plan: usize,
    pub name: Option<String>,
    /// The program wants it from now on.
    due: bool,
    /// The driver's number for it in this session.
    pub ticket: Option<u64>,
    pub number: Option<JobId>,
    pub got: BTreeMap<u32, u64>,
    /// The number of the detached job, if an earlier session or run of the program learned that it was accepted.
    pub promised: Option<JobId>,
    /// The hub has given up the job's session.
    pub given_up: bool,
    /// The program has cancelled it.
    cancelled: bool,
    /// A result is being fetched from its engine. The program looks at no other results meanwhile.
    fetching: bool,
    /// Results that could not be fetched.
    lost: BTreeSet<u32>,
    pub through: bool,
}

impl Job {
    pub fn new(plan: usize, name: Option<String>) -> Self {
        Job {
            plan,
            name,
            due: false,
            ticket: None,
            number: None,
            got: BTreeMap::new(),
            promised: None,
            given_up: false,
            cancelled: false,
            fetching: false,
            lost: BTreeSet::new(),
            through: false,
        }
    }

    /// Another session, or another run of the program, submits the job again.
    pub fn start_over(&mut self) {
        if self.name.is_some() && self.number.is_some() {
            self.promised = self.number;
        }
        (self.ticket, self.number, self.given_up, self.cancelled, self.fetching) = (None, None, false, false, false);
        self.got.clear();
        self.lost.clear();
    }
}

/// A large result that a program fetches from its engine.
#[derive(Debug)]
pub(super) struct Fetch {
    driver: usize,
    life: u32,
    job: usize,
    ticket: u64,
    place: BlockPlace,
    /// When its driver learned of it.
    learned: Time,
}

impl World {
    /// Whether a result of a job is large, so that it stays with its engine.
    pub(super) fn is_large(&self, plan: usize, partition: u32) -> bool {
        self.large && mix(plan as u64, partition.into()).is_multiple_of(2)
    }

    pub(super) fn submit(&mut self, driver: usize, job: usize) -> Result<(), Violation> {
        self.drivers[driver].jobs[job].due = true;
        self.submit_now(driver, job)?;
        self.driver_says(driver)
    }

    /// Submits a job, unless the driver has never met a hub.
    pub(super) fn submit_now(&mut self, driver: usize, at: usize) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        let session = of.state.id();
        let job = &mut of.jobs[at];
        if session == SessionId(0) || job.through || !job.due || job.ticket.is_some() {
            return Ok(());
        }
        let wanted = self.workload.jobs[job.plan].spec.wanted.clone();
        let ticket = self.submit_part(driver, at, wanted)?;
        self.drivers[driver].jobs[at].ticket = Some(ticket);
        Ok(())
    }

    /// Submits a job for these results.
    fn submit_part(&mut self, driver: usize, at: usize, wanted: Partitions) -> Result<u64, Violation> {
        let of = &mut self.drivers[driver];
        let session = of.state.id();
        let job = &of.jobs[at];
        let plan = &self.workload.jobs[job.plan];
        let mut spec: JobSpec = plan.spec.clone();
        spec.label = format!("job {} at simulator", job.plan);
        spec.wanted = wanted;
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
        let code = |at: usize| {
            let (exchange, bytes) = match plan.stages.get(at) {
                Some(pool) => (Some(ExchangeId(*pool as u64 + 1)), Code::Pool(*pool).bytes()),
                None => (None, Code::Results(job.plan).bytes()),
            };
            StageCode { at: at as u32, exchange, bytes }
        };
        let codes = (0..spec.stages.len()).map(code).collect();
        let action = Action { name: spec.label.clone(), aspects: Vec::new() };
        let (detached, token, caches) = (job.name.clone(), String::new(), Vec::new());
        let work = Work { detached, action, token, spec, codes, caches };
        let ticket = of.state.submit(work);
        ticket.map_err(|error| format!("job {} cannot be submitted: {error}", job.plan))
    }

    /// A program cancels a job.
    pub(super) fn cancel(&mut self, driver: usize, at: usize) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        let job = &mut of.jobs[at];
        let Some(ticket) = job.ticket.filter(|_| job.name.is_none()) else { return Ok(()) };
        job.cancelled = true;
        of.state.cancel(ticket);
        self.driver_says(driver)
    }

    /// A program takes all results that have arrived.
    pub(super) fn take_results(&mut self, driver: usize) -> Result<(), Violation> {
        for job in 0..self.drivers[driver].jobs.len() {
            self.take_results_of(driver, job)?;
        }
        self.leave_if_through(driver);
        Ok(())
    }

    fn take_results_of(&mut self, driver: usize, at: usize) -> Result<(), Violation> {
        loop {
            let of = &mut self.drivers[driver];
            let job = &mut of.jobs[at];
            let Some(ticket) = job.ticket.filter(|_| !job.fetching) else { return Ok(()) };
            match of.state.next(ticket) {
                Ok(Next::Wait) => return Ok(()),
                Ok(Next::Part { partition, part: Part::Here(bytes), .. }) => {
                    if self.is_large(self.drivers[driver].jobs[at].plan, partition) {
                        return Err("a large result arrived in a message".into());
                    }
                    let value = bytes[..].try_into().map(u64::from_le_bytes).unwrap_or_default();
                    self.given(driver, at, partition, value)?;
                }
                Ok(Next::Part { part: Part::At { place, .. }, .. }) => {
                    job.fetching = true;
                    let fetch = Fetch { driver, life: of.life, job: at, ticket, place, learned: self.now };
                    self.soon(MS, 100 * MS, Happening::Fetch(Box::new(fetch)));
                    return Ok(());
                }
                Ok(Next::Replan(missing)) => {
                    if !missing.iter().all(|partition| job.lost.contains(&partition)) {
                        return Err(never_told(job.plan, &missing));
                    }
                    job.lost.clear();
                    self.outcome.replanned += 1;
                    let new = self.submit_part(driver, at, missing)?;
                    let of = &mut self.drivers[driver];
                    of.state.replaced(ticket, new);
                    (of.jobs[at].ticket, of.jobs[at].number) = (Some(new), None);
                }
                Ok(Next::End) => return self.job_done(driver, at, ticket),
                Err(error) => return self.job_failed(driver, at, ticket, &error),
            }
        }
    }

    /// A large result is fetched from its engine, if that has it.
    pub(super) fn fetch(&mut self, fetch: &Fetch) -> Result<(), Violation> {
        let Fetch { driver, life, job: at, ticket, ref place, learned } = *fetch;
        let value = self.hosts.iter().find_map(|host| host.result(place));
        let lives = self.hosts.iter().any(|host| host.has_key(&place.store.key));
        let of = &mut self.drivers[driver];
        if of.life != life || of.jobs[at].ticket != Some(ticket) {
            return Ok(());
        }
        of.jobs[at].fetching = false;
        // If the driver was connected all the time since then, it has sent no message that lets the engine delete the
        // result.
        if value.is_none() && lives && of.promises.together(self.now) > self.now.since(learned) {
            return Err(format!("{place:?} was deleted before its driver had it"));
        }
        let cut = !self.is_calm() && self.rng.chance(50);
        let of = &mut self.drivers[driver];
        let attempt = place.attempt;
        match value.filter(|_| !cut) {
            Some(value) => {
                self.outcome.fetched += 1;
                of.state.fetched(ticket, attempt, place.partition);
                self.given(driver, at, place.partition, value)?;
            }
            None => {
                self.outcome.fetches_lost += 1;
                of.jobs[at].lost.insert(place.partition);
                let gone = Error::Lost { what: "a large result cannot be fetched".into(), details: String::new() };
                if let Err(error) = of.state.unfetched(ticket, attempt, place.partition, gone) {
                    self.job_failed(driver, at, ticket, &error)?;
                }
            }
        }
        self.take_results(driver)?;
        self.driver_says(driver)
    }

    /// A program gets a result.
    fn given(&mut self, driver: usize, at: usize, partition: u32, value: u64) -> Result<(), Violation> {
        let bug = self.options.bug == Some(Bug::CountTwice);
        self.outcome.planted += u64::from(bug);
        let job = &mut self.drivers[driver].jobs[at];
        let plan = &self.workload.jobs[job.plan];
        let right = self.workload.answer(plan, partition);
        if value != right {
            return Err(format!(
                "partition {partition} of job {} came to {value:x}; a sequential run gives {right:x}",
                job.plan
            ));
        }
        for _ in 0..=u32::from(bug) {
            if job.got.insert(partition, value).is_some() {
                return Err(format!("partition {partition} of job {} was given to its program twice", job.plan));
            }
        }
        Ok(())
    }

    fn job_done(&mut self, driver: usize, at: usize, ticket: u64) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        of.promises.ends(ticket)?;
        let job = &mut of.jobs[at];
        let wanted = &self.workload.jobs[job.plan].spec.wanted;
        let missing: Partitions = wanted.iter().filter(|partition| !job.got.contains_key(partition)).collect();
        if !missing.is_empty() {
            return Err(never_told(job.plan, &missing));
        }
        (job.through, job.ticket) = (true, None);
        of.collected.extend(job.number.zip(job.name.clone()));
        self.outcome.done += 1;
        self.outcome.collected += u64::from(job.promised.is_some());
        of.state.close(ticket);
        if self.rng.chance(500) {
            self.release_exchanges(driver);
        }
        Ok(())
    }

    fn job_failed(&mut self, driver: usize, at: usize, ticket: u64, error: &Error) -> Result<(), Violation> {
        let (full, broken) = (self.disk.was_full, self.drivers[driver].state.usable().is_err());
        let of = &mut self.drivers[driver];
        of.promises.ends(ticket)?;
        of.state.close(ticket);
        let job = &mut of.jobs[at];
        let (plan, promised) = (job.plan, job.promised.or(job.number).filter(|_| job.name.is_some()));
        match error {
            // The job ends with its program, which is run again.
            Error::Cluster { .. } if broken => Ok(()),
            Error::Cancelled if job.cancelled => {
                (job.through, job.ticket) = (true, None);
                self.outcome.cancelled += 1;
                Ok(())
            }
            Error::Cluster { .. } if job.given_up => {
                self.outcome.lost_with_session += 1;
                job.start_over();
                self.after(0, Happening::Submit(driver, at));
                Ok(())
            }
            // The engine with a large result was gone when the driver asked for it. The job is submitted again, to
            // recompute it.
            Error::Lost { .. } if !job.lost.is_empty() || job.name.is_some() && self.checks.are_lost(job.number) => {
                self.outcome.results_lost += 1;
                job.start_over();
                job.promised = None;
                self.soon(100 * MS, SECOND, Happening::Submit(driver, at));
                Ok(())
            }
            // The job is submitted again, under another number.
            Error::Storage { .. } if full && promised.is_none() => {
                self.outcome.refused += 1;
                job.start_over();
                self.soon(100 * MS, SECOND, Happening::Submit(driver, at));
                Ok(())
            }
            Error::Bug(text) if text.contains("without its results") => {
                Err(format!("job {plan} is done, but its program never got some results: {text}"))
            }
            error => match promised {
                Some(promised) => Err(format!("{promised} was accepted, and is lost: {error}")),
                None => Err(format!(
                    "job {plan} ({:?}) failed, although nothing in this run explains it: {error}",
                    job.number
                )),
            },
        }
    }

    /// A program releases the exchanges that none of its jobs will read any more.
    fn release_exchanges(&mut self, driver: usize) {
        let of = &mut self.drivers[driver];
        let open = of.jobs.iter().filter(|job| !job.through);
        let used: BTreeSet<_> = open.flat_map(|job| self.workload.jobs[job.plan].stages.iter().copied()).collect();
        for stage in (0..self.workload.pool.len()).filter(|stage| !used.contains(stage)) {
            self.outcome.released += u64::from(of.state.release_exchange(ExchangeId(stage as u64 + 1)));
        }
    }

    fn leave_if_through(&mut self, driver: usize) {
        let of = &mut self.drivers[driver];
        if of.left || of.stays || !of.is_connected() || !of.jobs.iter().all(|job| job.through) {
            return;
        }
        if !std::mem::take(&mut of.lingers) {
            of.left = true;
            return of.state.stop();
        }
        of.stays = true;
        let (life, until) = (of.life, self.now.0.max(self.calm.0) + LINGER);
        self.release_exchanges(driver);
        self.after(until - self.now.0, Happening::Leave(driver, life));
    }

    /// Ends a driver that has had all that it wanted for a while. Checks before that no engine holds anything for it.
    pub(super) fn leave_at_last(&mut self, driver: usize, life: u32) -> Result<(), Violation> {
        if self.drivers[driver].life != life {
            // An earlier run of the program planned this, and that run has ended.
            return Ok(());
        }
        let of = &self.drivers[driver];
        // If the driver has just reconnected, its releases are still on their way.
        if of.promises.together(self.now) < RETURN {
            self.after(RETURN.as_nanos() as u64, Happening::Leave(driver, life));
            return Ok(());
        }
        of.collected.iter().try_for_each(|(job, name)| Checks::is_let_go(*job, name, &self.disk))?;
        let session = of.state.id();
        let to_collect = self.checks.to_collect(&self.disk)?;
        if let Some(held) = self.hosts.iter().find_map(|host| host.holds(session, &to_collect)) {
            return Err(format!("{session} has released everything, but {held}"));
        }
        self.outcome.lingered += 1;
        self.drivers[driver].state.stop();
        self.drivers[driver].left = true;
        self.driver_says(driver)
    }
}

fn never_told(plan: usize, missing: &Partitions) -> Violation {
    format!("job {plan} is done, but its program never got the results {missing:?}")
}
