//! The checkers watch from outside. They compare what the hub sends with what it received and with what its journal
//! has.

use super::disk::Disk;
use super::programs::Job;
use crate::checkers::Violation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_hub::journal::Counter;
use tryworks_hub::state::Limits;
use tryworks_protocol::driver::{FromDriver, NewJob, Part, ToDriver, Welcome};
use tryworks_protocol::engine::{FromEngine, ResultPart, ToEngine, Welcome as EngineWelcome};
use tryworks_protocol::{Hello, Opening, Purpose, decode, opening};
use tryworks_scheduler::Partitions;
use tryworks_transport::PeerId;

#[derive(Debug, Default)]
pub(super) struct Checks {
    launches: BTreeSet<u64>,
    engines: BTreeSet<EngineId>,
    /// The sessions that drivers got, and the session of each connection.
    sessions: BTreeSet<SessionId>,
    who: BTreeMap<PeerId, SessionId>,
    asked: BTreeMap<PeerId, Option<SessionId>>,
    /// The jobs of the workload, by the hub's numbers.
    jobs: BTreeMap<JobId, usize>,
    /// The names of detached jobs: as drivers asked for them, and as the hub accepted them.
    submitted: BTreeMap<(SessionId, u64), String>,
    names: BTreeMap<JobId, String>,
    closed: BTreeSet<JobId>,
    /// Those of them that drivers closed at the current hub.
    closed_here: BTreeSet<JobId>,
    /// The session whose workers run a job.
    owners: BTreeMap<JobId, SessionId>,
    /// The connection on which the hub last learned that an engine keeps results of a launch.
    kept: BTreeMap<AttemptId, PeerId>,
    /// Detached jobs of which the hub said that results are lost.
    lost: BTreeSet<JobId>,
    tickets: BTreeMap<(SessionId, u64), JobId>,
    /// The labels of jobs, and the jobs of this hub that have not ended, by their labels.
    labels: BTreeMap<(SessionId, u64), String>,
    running: BTreeMap<(SessionId, String), (u64, JobId)>,
    tasks: BTreeMap<AttemptId, (JobId, Partitions)>,
    /// What engines reported while the hub listened to them.
    reported: BTreeSet<AttemptId>,
    /// The connection on which the hub learned that a launch is done.
    done: BTreeMap<AttemptId, PeerId>,
    /// Results that drivers have acknowledged to the hub.
    received: BTreeSet<(SessionId, AttemptId, u32)>,
    /// The last result that was sent to each driver.
    last: BTreeMap<PeerId, ToDriver>,
}

/// How much later than the hub a driver may notice that its connection is cut.
const LATE: Duration = Duration::from_secs(12);

fn are_kept(parts: &[(u32, ResultPart)]) -> bool {
    parts.iter().any(|(_, part)| matches!(part, ResultPart::Kept(_)))
}

fn reserved(disk: &Disk, counter: Counter, number: u64) -> Result<(), Violation> {
    match number <= disk.reserved[counter as usize] {
        true => Ok(()),
        false => Err(format!("number {number} of {counter:?} leaves the hub before it is reserved")),
    }
}

impl Checks {
    /// The hub receives a message of an engine. Returns how many blocks and results it offers.
    pub fn engine_said(&mut self, peer: PeerId, bytes: &[u8]) -> (u64, u64) {
        if let Ok(Hello { purpose: Purpose::Serve(offer), .. }) = Hello::from_bytes(bytes, "") {
            self.reported.extend(offer.results.iter().map(|held| held.attempt));
            let kept = offer.results.iter().filter(|held| are_kept(&held.parts));
            self.kept.extend(kept.map(|held| (held.attempt, peer)));
            return (offer.held.len() as u64, offer.results.len() as u64);
        }
        for message in decode::<FromEngine>(bytes).unwrap_or_default() {
            if let FromEngine::Done { attempt, results, .. } = message {
                self.reported.insert(attempt);
                self.kept.extend(are_kept(&results).then_some((attempt, peer)));
                self.done.insert(attempt, peer);
            }
        }
        (0, 0)
    }

    pub fn driver_said(&mut self, peer: PeerId, bytes: &[u8]) {
        if let Ok(Hello { purpose: Purpose::Drive { again, .. }, .. }) = Hello::from_bytes(bytes, "") {
            self.asked.insert(peer, again.map(|(session, _)| session));
            return;
        }
        let Some(&session) = self.who.get(&peer) else { return };
        for message in decode::<FromDriver>(bytes).unwrap_or_default() {
            match message {
                FromDriver::Submit(job) => {
                    self.wants(session, &job);
                    self.labels.insert((session, job.ticket), job.spec.label.clone());
                    self.submitted.extend(job.detached.map(|name| ((session, job.ticket), name)));
                }
                FromDriver::Attach { ticket, job, .. } => {
                    let name = self.names.get(&job).cloned();
                    self.tickets.insert((session, ticket), job);
                    self.submitted.extend(name.map(|name| ((session, ticket), name)));
                }
                FromDriver::Received { attempts } => {
                    for attempt in attempts {
                        let partitions =
                            self.tasks.get(&attempt).into_iter().flat_map(|(_, partitions)| partitions.iter());
                        self.received.extend(partitions.map(|partition| (session, attempt, partition)));
                    }
                }
                FromDriver::Close { ticket } => {
                    let job = self.tickets.get(&(session, ticket));
                    self.closed.extend(job);
                    self.closed_here.extend(job);
                    self.runs_no_more(session, ticket);
                }
                FromDriver::Detach { ticket } => self.runs_no_more(session, ticket),
                _ => {}
            }
        }
    }

    /// A driver asks for a job again, and wants only the results that it does not have. It may have acknowledged one of
    /// these, because that one could not be fetched.
    fn wants(&mut self, session: SessionId, new: &NewJob) {
        let Some(number) = new.job else { return };
        let tasks = &self.tasks;
        self.received.retain(|(of, attempt, partition)| {
            let is_of_it = *of == session && tasks.get(attempt).is_some_and(|(job, _)| *job == number);
            !(is_of_it && new.spec.wanted.contains(*partition))
        });
    }

    /// Whether this hub was told that a job is collected. If it dies, it may not have noted that.
    pub fn heard_collected(&self, job: JobId) -> bool {
        self.closed_here.contains(&job)
    }

    /// Fails if the hub still has a job that its driver has collected.
    pub fn is_let_go(job: JobId, name: &str, disk: &Disk) -> Result<(), Violation> {
        let row = disk.journal.reader().detached(name).map_err(|error| error.to_string())?;
        match row.is_some_and(|row| row.job == job) {
            true => Err(format!("{job}, `{name}`, is collected, but the hub still has it")),
            false => Ok(()),
        }
    }

    /// The hub dies, and runs nothing any more.
    pub fn hub_dies(&mut self) {
        self.running.clear();
        self.closed_here.clear();
    }

    /// The hub accepts a job. Its driver may ask for the same job several times, but it must run only once.
    fn runs(&mut self, session: SessionId, ticket: u64, job: JobId) -> Result<(), Violation> {
        let Some(label) = self.labels.get(&(session, ticket)) else { return Ok(()) };
        match self.running.insert((session, label.clone()), (ticket, job)) {
            Some((_, other)) if other != job => {
                Err(format!("`{label}` of {session} runs as two jobs: {other} and {job}"))
            }
            _ => Ok(()),
        }
    }

    fn runs_no_more(&mut self, session: SessionId, ticket: u64) {
        self.running.retain(|(of, _), (by, _)| (*of, *by) != (session, ticket));
    }

    pub fn driver_is_greeted(&mut self, peer: PeerId, bytes: &[u8], disk: &Disk) -> Result<(), Violation> {
        let Ok(Opening::Welcome(Welcome { session, .. })) = opening(bytes) else { return Ok(()) };
        self.who.insert(peer, session);
        reserved(disk, Counter::Sessions, session.0.into())?;
        let again = self.asked.get(&peer).copied().flatten() == Some(session);
        match self.sessions.insert(session) || again {
            true => Ok(()),
            false => Err(format!("{session} was used before")),
        }
    }

    pub fn engine_is_greeted(&mut self, bytes: &[u8], disk: &Disk) -> Result<(), Violation> {
        let Ok(Opening::Welcome(EngineWelcome { engine, .. })) = opening(bytes) else { return Ok(()) };
        reserved(disk, Counter::Engines, engine.0.into())?;
        match self.engines.insert(engine) {
            true => Ok(()),
            false => Err(format!("{engine} was used before")),
        }
    }

    pub fn driver_is_told(&mut self, peer: PeerId, message: &ToDriver, disk: &Disk) -> Result<(), Violation> {
        let Some(&session) = self.who.get(&peer) else { return Ok(()) };
        match message {
            ToDriver::Accepted { ticket, job } => {
                reserved(disk, Counter::Jobs, job.0)?;
                self.tickets.insert((session, *ticket), *job);
                self.runs(session, *ticket, *job)?;
                let Some(name) = self.submitted.get(&(session, *ticket)) else { return Ok(()) };
                self.names.insert(*job, name.clone());
                let row = disk.journal.reader().detached(name).map_err(|error| error.to_string())?;
                match row.is_some_and(|row| row.job == *job) {
                    true => Ok(()),
                    false => Err(format!("{job}, `{name}`, is accepted before the journal has it")),
                }
            }
            ToDriver::Results { ticket, attempt, parts } => {
                self.last.insert(peer, message.clone());
                if !self.reported.contains(attempt) {
                    return Err(format!(
                        "a driver gets results of {attempt}, which no engine that the hub listens to has reported"
                    ));
                }
                let detached = self.submitted.contains_key(&(session, *ticket));
                let mut had =
                    parts.iter().filter(|(partition, _)| self.received.contains(&(session, *attempt, *partition)));
                match had.next().filter(|_| !detached) {
                    Some((partition, _)) => Err(format!(
                        "{attempt} is sent again to {session}, which has acknowledged its partition {partition}"
                    )),
                    None => Ok(()),
                }
            }
            ToDriver::Ended { ticket, .. } => {
                self.runs_no_more(session, *ticket);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn engine_is_told(&mut self, peer: PeerId, message: &ToEngine, disk: &Disk) -> Result<(), Violation> {
        match message {
            ToEngine::Launch { tasks } => {
                for task in tasks {
                    let attempt = task.task.attempt;
                    reserved(disk, Counter::Launches, attempt.sequence())?;
                    if !self.launches.insert(attempt.sequence()) {
                        return Err(format!("the number of {attempt} was used before"));
                    }
                    self.tasks.insert(attempt, (task.task.job, task.task.partitions.clone()));
                    self.owners.insert(task.task.job, task.session);
                }
                Ok(())
            }
            ToEngine::Received { attempts } => {
                let here = attempts.iter().filter(|attempt| self.done.get(attempt) == Some(&peer));
                here.copied().try_for_each(|attempt| self.may_drop(attempt, disk))
            }
            _ => Ok(()),
        }
    }

    /// An engine may drop results of a detached job when the journal has them, or when no driver will ask for them.
    /// Results that it offered on another connection are not checked, because the hub may have given them up.
    fn may_drop(&self, attempt: AttemptId, disk: &Disk) -> Result<(), Violation> {
        let Some((job, partitions)) = self.tasks.get(&attempt) else { return Ok(()) };
        if !self.names.contains_key(job) || self.closed.contains(job) {
            return Ok(());
        }
        let held = disk.journal.reader().held(*job).map_err(|error| error.to_string())?;
        match partitions.iter().find(|partition| !held.iter().any(|held| held.partition == *partition)) {
            None => Ok(()),
            Some(partition) => Err(format!("partition {partition} of {job} may be dropped before the journal has it")),
        }
    }

    /// The detached jobs whose large results may stay with engines, each with its session. As far as the hub knows, no
    /// driver has collected them: a hub that died may not have noted a collection.
    pub fn to_collect(&self, disk: &Disk) -> Result<BTreeMap<JobId, SessionId>, Violation> {
        let mut jobs = BTreeMap::new();
        for (job, name) in self.names.iter().filter(|(job, _)| !self.closed_here.contains(job)) {
            let row = disk.journal.reader().detached(name).map_err(|error| error.to_string())?;
            if row.is_some_and(|row| row.job == *job) {
                jobs.extend(self.owners.get(job).map(|session| (*job, *session)));
            }
        }
        Ok(jobs)
    }

    /// The hub says that results of a detached job are lost. That is right only if it has no connection to an engine
    /// that kept some.
    pub fn says_lost(&mut self, peer: PeerId, ticket: u64, lives: impl Fn(PeerId) -> bool) -> Result<(), Violation> {
        let job = self.who.get(&peer).and_then(|session| self.tickets.get(&(*session, ticket)));
        let Some(&job) = job else {
            return Err("the hub says that results are lost of a job that it did not accept".into());
        };
        let of_it = |attempt: &AttemptId| self.tasks.get(attempt).is_some_and(|(of, _)| *of == job);
        if !self.kept.iter().any(|(attempt, peer)| of_it(attempt) && !lives(*peer)) {
            return Err(format!(
                "the hub says that results of {job} are lost, but the engines that kept them are connected"
            ));
        }
        self.lost.insert(job);
        Ok(())
    }

    /// Whether the hub said that results of a job are lost.
    pub fn are_lost(&self, job: Option<JobId>) -> bool {
        job.is_some_and(|job| self.lost.contains(&job))
    }

    /// A driver learns the number of its job.
    pub fn accepted(&mut self, number: JobId, job: &Job) -> Result<(), Violation> {
        if let Some(before) = job.number.or(job.promised).filter(|before| *before != number) {
            return Err(format!("{before} was accepted, and is lost: it is {number} now"));
        }
        match self.jobs.insert(number, job.plan) {
            Some(plan) if plan != job.plan => Err(format!("{number} was used before")),
            _ => Ok(()),
        }
    }

    /// A driver learns that its session is over.
    pub fn given_up(&self, session: SessionId, away: Duration) -> Result<(), Violation> {
        // The driver may have noticed the cut later than the hub, by up to `LATE`.
        let grace = Limits::default().driver_grace.saturating_sub(LATE);
        match away >= grace {
            true => Ok(()),
            false => Err(format!("{session} was given up, but its driver was away for only {away:?}")),
        }
    }

    /// The last result that was sent to a driver, if the driver has acknowledged it.
    pub fn told_before(&self, peer: PeerId) -> Option<ToDriver> {
        let session = self.who.get(&peer)?;
        let last = self.last.get(&peer)?;
        let ToDriver::Results { attempt, parts, .. } = last else { return None };
        let had = |(partition, _): &(u32, Part)| self.received.contains(&(*session, *attempt, *partition));
        parts.iter().any(had).then(|| last.clone())
    }
}
