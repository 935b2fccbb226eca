//! Results on their way to drivers. They are sent at once, sent again to drivers that attach later, and kept until a
//! driver has acknowledged them.

use super::Hub;
use super::jobs::{Attached, Job, Phase};
use super::{Lookup, Order};
use crate::journal::Entry;
use std::collections::BTreeMap;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_base::{Action, Error, Result};
use tryworks_protocol::driver::{Part, ToDriver};
use tryworks_protocol::engine::{BlockPlace, HeldResult, ResultPart, ToEngine};
use tryworks_protocol::results_of;
use tryworks_scheduler::Partitions;

/// How many times lost results of a detached job are recomputed before the job fails.
const REMADE: u32 = 4;

impl Hub {
    pub(crate) fn commit(&mut self, job: JobId, attempt: AttemptId, engine: EngineId, partitions: &Partitions) {
        let mut parts = self.launches.reported.remove(&attempt).unwrap_or_default();
        parts.retain(|(partition, _)| partitions.contains(*partition));
        self.deliver(job, engine, attempt, parts);
    }

    /// The scheduler has accepted results: sends them to the job's drivers.
    pub(crate) fn deliver(&mut self, id: JobId, engine: EngineId, attempt: AttemptId, parts: Vec<(u32, ResultPart)>) {
        let parts = self.placed(id, engine, attempt, parts);
        let Some(job) = self.jobs.get(&id).filter(|_| !parts.is_empty()) else {
            return self.tell_engine(engine, ToEngine::Received { attempts: vec![attempt] });
        };
        if job.detached.is_some() {
            self.hold(id, engine, attempt, &parts);
        } else {
            self.jobs.deliver(id, attempt, engine, parts.clone());
        }
        self.tell_job(id, |ticket| ToDriver::Results { ticket, attempt, parts: parts.clone() });
    }

    /// Results in the form in which drivers get them: large results as the location where the driver fetches them.
    fn placed(
        &self,
        id: JobId,
        engine: EngineId,
        attempt: AttemptId,
        parts: Vec<(u32, ResultPart)>,
    ) -> Vec<(u32, Part)> {
        let part = |(partition, part)| {
            let part = match part {
                ResultPart::Here(bytes) => Part::Here(bytes),
                ResultPart::Kept(len) => {
                    let store = self.engines.store_of(engine).ok()?;
                    Part::At { place: BlockPlace { store, output: results_of(id), partition, attempt }, len }
                }
            };
            Some((partition, part))
        };
        parts.into_iter().filter_map(part).collect()
    }

    /// Notes results of a detached job in the journal, for drivers that collect the job later. Large results stay with
    /// the engine, and the journal notes only their lengths.
    fn hold(&mut self, id: JobId, engine: EngineId, attempt: AttemptId, parts: &[(u32, Part)]) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut stay = Vec::new();
        let mut entries = Vec::new();
        for (partition, part) in parts {
            let part = match part {
                Part::Here(bytes) => {
                    job.held.insert(*partition);
                    job.kept.remove(partition);
                    ResultPart::Here(bytes.clone())
                }
                Part::At { len, .. } => {
                    job.kept.insert(*partition, attempt);
                    stay.push((*partition, part.clone()));
                    ResultPart::Kept(*len)
                }
            };
            entries.push(Entry::Result { job: id, partition: *partition, attempt, part });
        }
        if !stay.is_empty() {
            job.delivered.insert(attempt, (engine, stay));
            return entries.into_iter().for_each(|entry| self.out.note(entry));
        }
        let last = entries.pop();
        for entry in entries {
            self.out.note(entry);
        }
        if let Some(last) = last {
            // Until the journal has committed them, the engine's copy is the only safe one.
            self.out.order(Order::NoteResult { entry: last, engine, attempt });
        }
    }

    /// All results of a job were accepted. Results of a detached job that stayed with an engine may have been lost with
    /// it, before any driver fetched them. They are recomputed now, while the job's codes are still here.
    pub(crate) fn job_done(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.detached.is_some()) else {
            return self.end_job(id, Ok(()));
        };
        let lost: Partitions = job.spec.wanted.iter().filter(|partition| !job.has(*partition)).collect();
        if lost.is_empty() {
            return self.end_job(id, Ok(()));
        }
        if job.cancelled {
            return self.end_job(id, Err(Error::Cancelled));
        }
        if job.remade == REMADE {
            let what = format!(
                "{} results of {id} are lost with their engines, and had been recomputed {REMADE} times already",
                lost.len()
            );
            let details = "run the program again once the engines stay".into();
            return self.end_job(id, Err(Error::Lost { what, details }));
        }
        job.remade += 1;
        let text = format!("{} results of {id} were lost with their engines and are recomputed", lost.len());
        self.tell_job(id, |_| ToDriver::Notice(text.clone()));
        self.hand_in(id);
    }

    /// An engine that joined offers a result that it holds from before.
    pub(crate) fn offer_result(&mut self, engine: EngineId, held: HeldResult) {
        let Some(job) = self.jobs.get_mut(&held.job) else {
            if self.sessions.may_ask_for(held.session, held.job) {
                self.known.offered.results.entry(held.job).or_default().push((engine, held));
            } else if self.sessions.all.contains_key(&held.session) {
                self.tell_engine(engine, ToEngine::Received { attempts: vec![held.attempt] });
            }
            return;
        };
        if let Some((by, _)) = job.delivered.get_mut(&held.attempt) {
            *by = engine;
            return;
        }
        let HeldResult { job: id, attempt, mut parts, .. } = held.clone();
        parts.retain(|(partition, _)| job.kept.get(partition) == Some(&attempt));
        if !parts.is_empty() {
            let parts = self.placed(id, engine, attempt, parts);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.delivered.insert(attempt, (engine, parts.clone()));
            }
            return self.tell_job(id, |ticket| ToDriver::Results { ticket, attempt, parts: parts.clone() });
        }
        if job.phase == Phase::Begun {
            // The job went on without these results.
            return self.tell_engine(engine, ToEngine::Received { attempts: vec![attempt] });
        }
        self.known.offered.results.entry(id).or_default().push((engine, held));
    }

    /// Releases the results that engines offered for a job, because no driver will ask for them.
    pub(crate) fn drop_offered(&mut self, job: JobId) {
        for (engine, held) in self.known.offered.results.remove(&job).unwrap_or_default() {
            self.tell_engine(engine, ToEngine::Received { attempts: vec![held.attempt] });
        }
    }

    /// A reconnected driver has now asked for all the jobs that it wants. Releases the other results that engines
    /// offered for its session.
    pub(crate) fn drop_unclaimed(&mut self, session: SessionId) {
        let own = |held: &[(EngineId, HeldResult)]| held.iter().any(|(_, held)| held.session == session);
        let unclaimed = self.known.offered.results.iter().filter(|(job, held)| {
            own(held) && !self.jobs.contains_key(job) && !self.sessions.may_ask_for(session, **job)
        });
        let unclaimed: Vec<_> = unclaimed.map(|(job, _)| *job).collect();
        unclaimed.into_iter().for_each(|job| self.drop_offered(job));
    }

    /// A driver acknowledges results, so that engines can release them. Results of detached jobs stay until the job is
    /// collected.
    pub(crate) fn received(&mut self, session: SessionId, attempts: &[AttemptId]) {
        let mut by_engine = BTreeMap::<_, Vec<_>>::new();
        for attempt in attempts {
            if let Some(engine) = self.jobs.receive(session, *attempt) {
                by_engine.entry(engine).or_default().push(*attempt);
            }
        }
        for (engine, attempts) in by_engine {
            self.tell_engine(engine, ToEngine::Received { attempts });
        }
    }

    /// A driver asks for a detached job of another session, or for one of its own under a new ticket.
    pub(crate) fn attach_to(&mut self, session: SessionId, ticket: u64, id: JobId, action: &Action, token: &str) {
        let refused = match self.same_as(id, action) {
            Ok(known) if known.token == token => return self.attach(session, ticket, id),
            Ok(_) => Error::cluster(
                format!("{id} of the same name was submitted while this program prepared to save"),
                "run the program again: it then gets the results of that job",
            ),
            Err(error) => error,
        };
        self.tell_driver(session, ToDriver::Ended { ticket, end: Err(refused) });
    }

    /// Attaches a driver to a known job. Either it was cut off and asks again under the same ticket, or the job is
    /// detached.
    pub(crate) fn attach(&mut self, session: SessionId, ticket: u64, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.drivers.retain(|driver| (driver.session, driver.ticket) != (session, ticket));
        job.drivers.push(Attached { session, ticket, paused: false, replay: None, whole: false });
        let (phase, progress, detached) = (job.phase, job.progress, job.detached.is_some());
        if let Some(session) = self.sessions.all.get_mut(&session) {
            session.tickets.insert(ticket, id);
        }
        // The journal does not have the job yet. The driver learns that it is accepted when it does.
        if phase == Phase::Noting {
            return;
        }
        self.tell_driver(session, ToDriver::Accepted { ticket, job: id });
        self.tell_driver(session, ToDriver::Progress { ticket, progress });
        // If the job has begun, the journal's results are sent now. Otherwise they are sent when it begins.
        if phase == Phase::Begun && detached {
            return self.replay_to(id, session, ticket);
        }
        if phase == Phase::Begun {
            self.tell_delivered(id, session, ticket);
            self.tell_end(id, session, ticket);
        }
    }

    fn tell_delivered(&mut self, id: JobId, session: SessionId, ticket: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let parts: Vec<_> = job.delivered.iter().map(|(attempt, (_, parts))| (*attempt, parts.clone())).collect();
        for (attempt, parts) in parts {
            self.tell_driver(session, ToDriver::Results { ticket, attempt, parts });
        }
    }

    fn tell_end(&mut self, id: JobId, session: SessionId, ticket: u64) {
        if let Some(end) = self.jobs.get(&id).and_then(|job| job.end.clone()) {
            self.tell_driver(session, ToDriver::Ended { ticket, end });
        }
    }

    /// Sends each driver of a detached job the results that the journal has.
    pub(crate) fn replay_to_all(&mut self, id: JobId) {
        let Some(job) =
            self.jobs.get(&id).filter(|job| job.detached.is_some() && !job.held.is_empty() || job.end.is_some())
        else {
            return;
        };
        for driver in job.drivers.clone() {
            self.replay_to(id, driver.session, driver.ticket);
        }
    }

    fn replay_to(&mut self, id: JobId, session: SessionId, ticket: u64) {
        self.tell_delivered(id, session, ticket);
        let replay = self.jobs.next_replay();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let whole = job.end.is_some();
        for driver in job.drivers.iter_mut().filter(|driver| (driver.session, driver.ticket) == (session, ticket)) {
            (driver.replay, driver.whole) = (Some(replay), whole);
        }
        self.look_up(Lookup::Results { job: id, replay });
    }

    fn who_hears(&self, id: JobId, replay: u64) -> Option<(&Job, Attached)> {
        let job = self.jobs.get(&id)?;
        Some((job, *job.drivers.iter().find(|driver| driver.replay == Some(replay))?))
    }

    /// The journal hands over one result.
    pub(crate) fn replay(&mut self, id: JobId, replay: u64, attempt: AttemptId, partition: u32, bytes: Vec<u8>) {
        let Some((_, Attached { session, ticket, .. })) = self.who_hears(id, replay) else { return };
        let parts = vec![(partition, Part::Here(bytes))];
        self.tell_driver(session, ToDriver::Results { ticket, attempt, parts });
    }

    /// The journal has handed over all the results that it had when it was asked.
    pub(crate) fn replayed(&mut self, id: JobId, replay: u64, count: Result<u64>) {
        let Some((job, Attached { session, ticket, whole, .. })) = self.who_hears(id, replay) else { return };
        let here = job.kept.values().filter(|attempt| job.delivered.contains_key(attempt)).count() as u64;
        // If the job ended only after the journal was asked, its last results were sent directly.
        let lost = |count: u64| whole && job.end == Some(Ok(())) && count + here < job.results;
        let end = match count {
            Err(error) => Some(Err(error)),
            Ok(count) if lost(count) => Some(Err(Error::Lost {
                what: format!(
                    "results of {id} are lost: the engine that held them is gone, or they were not collected in time"
                ),
                details: "its name is free now: run the program again to recompute them".into(),
            })),
            Ok(_) => job.end.clone(),
        };
        let drivers = self.jobs.get_mut(&id).into_iter().flat_map(|job| &mut job.drivers);
        for driver in drivers.filter(|driver| driver.replay == Some(replay)) {
            driver.replay = None;
        }
        if let Some(end) = end {
            self.tell_driver(session, ToDriver::Ended { ticket, end });
        }
    }

    /// A driver has collected a job, or no longer wants it.
    pub(crate) fn close_ticket(&mut self, session: SessionId, ticket: u64) {
        self.end_seek(session, ticket);
        let Some(id) = self.leave_job(session, ticket) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // The job may still be running. The previous hub told the driver of its end, and died before the journal had
        // that.
        job.collected = job.detached.is_some();
        match job.detached {
            None => self.close_job(id),
            Some(_) => self.close_if_collected(id),
        }
    }

    /// Stops sending a driver messages about a job.
    pub(crate) fn detach(&mut self, session: SessionId, ticket: u64) {
        if let Some(id) = self.leave_job(session, ticket) {
            self.close_if_collected(id);
        }
    }

    fn leave_job(&mut self, session: SessionId, ticket: u64) -> Option<JobId> {
        let id = self.sessions.all.get_mut(&session)?.tickets.remove(&ticket)?;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.drivers.retain(|driver| (driver.session, driver.ticket) != (session, ticket));
        }
        Some(id)
    }

    /// Closes a detached job that has ended and that a driver has collected, unless another driver is connected that may
    /// be collecting it.
    pub(crate) fn close_if_collected(&mut self, id: JobId) {
        let here = |driver: &Attached| self.sessions.all.get(&driver.session).is_some_and(|other| other.peer.is_some());
        let over = |job: &Job| job.collected && job.end.is_some() && !job.drivers.iter().any(here);
        if self.jobs.get(&id).is_some_and(over) {
            self.close_job(id);
        }
    }
}
