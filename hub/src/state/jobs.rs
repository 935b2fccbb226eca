//! Jobs: how they are submitted, begin and end. Some are submitted again after a connection or a hub was lost, and some
//! continue without a driver.

use super::Hub;
use super::known::StageCode;
use super::{Order, ShelfOrder};
use crate::journal::{Counter, Detached, Entry, Submitted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tryworks_base::home::check_label;
use tryworks_base::ids::{AttemptId, EngineId, GlobalCacheId, JobId, SessionId};
use tryworks_base::{Action, Error, Progress, Result};
use tryworks_protocol::admin::JobRow;
use tryworks_protocol::driver::{NewJob, Part, ToDriver};
use tryworks_protocol::engine::{CodeBytes, CodeId, ToEngine};
use tryworks_scheduler::{Event, JobSpec, Run, StageSpec, Time};

/// A job that has not been closed.
pub(crate) struct Job {
    /// The session whose workers run it.
    pub(crate) session: SessionId,
    /// The ticket under which that session's driver submitted it.
    pub(crate) ticket: u64,
    /// The drivers that get its results. A detached job may have none, or several.
    pub(crate) drivers: Vec<Attached>,
    pub(crate) detached: Option<String>,
    /// Which action this is; a driver that asks for the job must name the same one. `None` if another version of the
    /// hub wrote the journal.
    pub(crate) identity: Option<Identity>,
    pub(crate) spec: Arc<JobSpec>,
    /// Stages that read cached partitions, each with the cache it reads.
    pub(crate) caches: Vec<(u32, GlobalCacheId)>,
    pub(crate) submitted: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) end: Option<Result<(), Error>>,
    /// Accepted results that the driver has not acknowledged, and the engine that holds them. Of a detached job, only
    /// the results that stay with an engine are here: the journal has the others.
    pub(crate) delivered: BTreeMap<AttemptId, (EngineId, Vec<(u32, Part)>)>,
    /// The partitions of a detached job whose results are in the journal, or on their way to it.
    pub(crate) held: BTreeSet<u32>,
    /// The partitions of a detached job whose results stay with an engine, and the launch that made each.
    pub(crate) kept: BTreeMap<u32, AttemptId>,
    /// How many times lost results of this detached job were recomputed.
    pub(crate) remade: u32,
    /// The scheduler was asked to cancel it.
    pub(crate) cancelled: bool,
    /// A driver has collected this detached job. Other drivers may still be collecting it.
    pub(crate) collected: bool,
    /// The total number of results.
    pub(crate) results: u64,
    pub(crate) progress: Progress,
    /// The progress that drivers last received, and when the journal last noted it.
    pub(crate) reported: Progress,
    pub(crate) noted: u64,
    pub(crate) phase: Phase,
}

/// What identifies a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) action: Action,
    /// Distinguishes the files that it saves from those of other jobs.
    pub(crate) token: String,
}

/// Where a submitted job comes from.
enum Origin {
    /// A new job.
    New,
    /// It ran under the previous hub, and this is what the journal knows of it.
    Orphan(JobRow),
    /// It ran under an earlier hub, and the journal does not know it.
    Unknown,
}

/// How far a job has come towards beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is detached, and its entry is on its way to the journal.
    Noting,
    /// It ran when the previous hub died, and waits for the engines that were connected then.
    Waiting,
    /// It is running, or has ended.
    Begun,
}

/// A driver that gets the results of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    pub(crate) session: SessionId,
    /// The driver's ticket for the job.
    pub(crate) ticket: u64,
    /// The driver has reconnected, and has not yet asked for this job on its new connection. When it asks, the hub
    /// sends it everything.
    pub(crate) paused: bool,
    /// The journal's results are being sent to this driver. This is the number of that question to the journal.
    pub(crate) replay: Option<u64>,
    /// The journal's results are complete: the job had already ended when the journal was asked.
    pub(crate) whole: bool,
}

impl Job {
    /// A job that has just been submitted, at this time.
    pub(crate) fn new(session: SessionId, ticket: u64, detached: Option<String>, spec: JobSpec, at: u64) -> Self {
        Job {
            session,
            ticket,
            drivers: Vec::new(),
            detached,
            identity: None,
            results: u64::from(spec.wanted.len()),
            spec: Arc::new(spec),
            caches: Vec::new(),
            submitted: at,
            ended: None,
            end: None,
            delivered: BTreeMap::new(),
            held: BTreeSet::new(),
            kept: BTreeMap::new(),
            remade: 0,
            cancelled: false,
            collected: false,
            progress: Progress::default(),
            reported: Progress::default(),
            noted: 0,
            phase: Phase::Begun,
        }
    }

    /// The job ran under the previous hub: keeps the submission time and the counts from there.
    pub(crate) fn go_on_from(&mut self, submitted: u64, before: &Progress) {
        self.submitted = submitted;
        // A hub that dies right after the submission has noted no counts.
        if before.partitions > 0 {
            self.progress = Progress { stages_done: 0, partitions_done: 0, running: 0, ..*before };
        }
    }

    /// Whether the result of a partition of a detached job is in the journal, or with a connected engine.
    pub(crate) fn has(&self, partition: u32) -> bool {
        let here = |attempt| self.delivered.contains_key(attempt);
        self.held.contains(&partition) || self.kept.get(&partition).is_some_and(here)
    }
}

/// How long a restarted hub waits for the engines it knew. Then jobs that ran before the restart continue without them.
const RETURN: Duration = Duration::from_secs(5);
/// The id of the code that runs a stage of a job.
pub(crate) fn code_of(stage: &StageSpec, job: JobId) -> CodeId {
    stage.output.map_or(CodeId::Results(job), CodeId::Output)
}

impl Hub {
    pub(crate) fn submit(&mut self, session: SessionId, new: NewJob) {
        let ticket = new.ticket;
        if let Some(job) = self.job_of(session, ticket) {
            return self.attach(session, ticket, job);
        }
        if let Some(job) = new.detached.as_ref().and_then(|name| self.detached_as(name)) {
            self.keep_codes(session, &new);
            return self.attach_to(session, ticket, job, &new.action, &new.token);
        }
        let end = match self.not_collected(&new).and_then(|()| self.take_in(session, new)) {
            Ok(()) => return,
            Err(error) => Err(error),
        };
        self.tell_driver(session, ToDriver::Ended { ticket, end });
    }

    /// Refuses a detached save that a driver submits again although another driver has collected it. The hub no longer
    /// has that job. The files are saved, and no results are left for this driver.
    fn not_collected(&self, new: &NewJob) -> Result<()> {
        let Some(id) = new.job.filter(|_| new.detached.is_some() && !new.token.is_empty()) else { return Ok(()) };
        Err(Error::cluster(
            format!(
                "{id} is not there any more: another driver has collected it, or the hub has begun with an empty journal"
            ),
            "look at what was saved, and run the program again if it is not there",
        ))
    }

    fn take_in(&mut self, session: SessionId, mut new: NewJob) -> Result<()> {
        let foreign = new.spec.stages.iter().filter_map(|stage| stage.output);
        if foreign.into_iter().any(|output| output.session() != session) {
            return Err(Error::Bug("a job names the outputs of another session".into()));
        }
        if let Some(name) = &new.detached {
            check_label("a detached job", name).map_err(|error| Error::cluster(error, "give it another one"))?;
        }
        let (id, origin) = match self.number_for(session, &new) {
            Ok(found) => found,
            Err(error) => {
                self.keep_codes(session, &new);
                return Err(error);
            }
        };
        let ticket = new.ticket;
        let mut job = Job::new(session, ticket, new.detached.clone(), new.spec.clone(), self.clock());
        job.drivers.push(Attached { session, ticket, paused: false, replay: None, whole: false });
        job.identity = Some(Identity { action: new.action.clone(), token: new.token.clone() });
        job.caches.clone_from(&new.caches);
        job.progress = self.work_of(&new.spec);
        if let Origin::Orphan(row) = &origin {
            job.go_on_from(row.submitted, &row.progress);
        }
        job.phase = match &new.detached {
            Some(_) => Phase::Noting,
            None => Phase::Waiting,
        };
        let detached = new.detached.clone().map(|name| {
            new.job = Some(id);
            let program =
                self.sessions.all.get(&session).and_then(|session| session.program.clone()).unwrap_or_default();
            Detached { name, submission: new.clone(), program }
        });
        let label = new.spec.label.clone();
        let entry = Submitted { job: id, session, ticket, label, at: job.submitted, detached };
        let entry = Entry::Job(Box::new(entry));
        self.learn_codes(id, &new.spec, new.codes)?;
        self.jobs.insert(id, job);
        if let Some(session) = self.sessions.all.get_mut(&session) {
            session.tickets.insert(ticket, id);
        }
        if let Some(name) = &new.detached {
            // The driver may leave as soon as it reads that the job is accepted. So the journal must have the job
            // first.
            self.out.order(Order::NoteJob { entry, job: id });
            self.name_is_taken(name);
            return Ok(());
        }
        self.out.note(entry);
        self.tell_driver(session, ToDriver::Accepted { ticket, job: id });
        if self.engines.all.is_empty() {
            self.tell_of_no_engine(id);
        }
        // Blocks of a session that is older than this hub may be on engines that have not reconnected yet.
        if matches!(origin, Origin::New) && (self.engines.awaited.is_empty() || session >= self.first.1) {
            self.begin_job(id);
        }
        Ok(())
    }

    /// The number of a job: its old number if the job was submitted before, or else the next one.
    fn number_for(&mut self, session: SessionId, new: &NewJob) -> Result<(JobId, Origin)> {
        if let Some(row) = self.sessions.all.get_mut(&session).and_then(|session| session.orphans.remove(&new.ticket)) {
            return Ok((row.job, Origin::Orphan(row)));
        }
        let orphans =
            |id: &JobId| self.sessions.all.values().any(|known| known.orphans.values().any(|row| row.job == *id));
        let older = |id: &JobId| *id < self.first.0 && !self.jobs.contains_key(id) && !orphans(id);
        match new.job.filter(older) {
            Some(id) => Ok((id, Origin::Unknown)),
            None => Ok((JobId(self.next(Counter::Jobs)?), Origin::New)),
        }
    }

    /// The journal has committed a detached job, or could not.
    pub(crate) fn written(&mut self, id: JobId, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.end_job(id, Err(error));
            // The job was never accepted, and the journal does not have it. Its name must be free again.
            return self.close_job(id);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        if job.end.is_some() || job.phase != Phase::Noting {
            return;
        }
        self.jobs.wait(id);
        self.tell_job(id, |ticket| ToDriver::Accepted { ticket, job: id });
        if id >= self.first.0 {
            self.begin_job(id);
        }
    }

    /// Registers the codes that come with a job, and counts the job as a user of every code that it names.
    ///
    /// # Errors
    /// If a code that was uploaded to the data port is no longer there, or a stage has no code.
    pub(crate) fn learn_codes(&mut self, id: JobId, spec: &JobSpec, codes: Vec<(u32, CodeBytes)>) -> Result<()> {
        for (_, bytes) in &codes {
            let CodeBytes::AtHub { id, .. } = bytes else { continue };
            self.out.order(Order::Shelf(ShelfOrder::UseSent(*id)));
            if !self.programs.contains(id) {
                let what = "what a job captures is no longer at the hub: there was no space for it, or its \
                            directory was emptied";
                return Err(Error::cluster(what, "run the program again"));
            }
        }
        let brought: BTreeSet<_> = codes.iter().map(|(stage, _)| *stage as usize).collect();
        let known = |(at, stage)| brought.contains(&at) || self.known.codes.contains_key(&code_of(stage, id));
        if !spec.stages.iter().enumerate().all(known) {
            let what = "the code of a stage is not at the hub: the job that should have sent it was refused";
            return Err(Error::cluster(what, "run the program again"));
        }
        for (stage, bytes) in codes {
            let Some(stage) = spec.stages.get(stage as usize) else { continue };
            let held = stage.output.is_some();
            self.known.codes.entry(code_of(stage, id)).or_insert(StageCode { bytes, users: 0, held });
        }
        for stage in &spec.stages {
            if let Some(code) = self.known.codes.get_mut(&code_of(stage, id)) {
                code.users += 1;
            }
        }
        Ok(())
    }

    /// Keeps the codes of exchanges that come with a job, although the job was refused. The driver counts these codes
    /// as sent, and submits its next jobs without them.
    fn keep_codes(&mut self, session: SessionId, new: &NewJob) {
        for (stage, bytes) in &new.codes {
            let output = new.spec.stages.get(*stage as usize).and_then(|stage| stage.output);
            let Some(output) = output.filter(|output| output.session() == session) else { continue };
            if let CodeBytes::AtHub { id, .. } = bytes {
                self.out.order(Order::Shelf(ShelfOrder::UseSent(*id)));
                if !self.programs.contains(id) {
                    continue;
                }
            }
            let code = StageCode { bytes: bytes.clone(), users: 0, held: true };
            self.known.codes.entry(CodeId::Output(output)).or_insert(code);
        }
    }

    /// Begins the jobs that waited for engines, once the engines are back or [`RETURN`] is over.
    pub(crate) fn admit(&mut self) {
        if !self.engines.awaited.is_empty() && self.now.since(Time(0)) < RETURN {
            return;
        }
        self.give_up_engines();
        for id in self.jobs.take_waiting() {
            self.begin_job(id);
        }
    }

    fn begin_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.phase = Phase::Begun;
        let ended = job.end.is_some();
        self.replay_to_all(id);
        if ended {
            return self.drop_offered(id);
        }
        self.hand_in(id);
    }

    /// Hands a job to the scheduler, without the work that is already done.
    pub(crate) fn hand_in(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (mut spec, caches) = ((*job.spec).clone(), job.caches.clone());
        // The scheduler remembers on which engines a program does not start. Workers belong to sessions, so each
        // session counts as a program.
        spec.program = job.session.0.into();
        let mut done: BTreeSet<u32> = spec.wanted.iter().filter(|partition| job.has(*partition)).collect();
        let mut missing = 0;
        for at in 0..spec.stages.len() {
            let Some(output) = spec.stages[at].output else { continue };
            let mut known = self.scheduler.places(output).iter().filter(|place| place.exists()).count() as u64;
            if let Some(found) = self.known.offered.outputs.remove(&output) {
                known += found.blocks.iter().map(|block| u64::from(block.partitions.len())).sum::<u64>();
                self.know(&spec, at, output, found);
            }
            missing += u64::from(spec.stages[at].partitions).saturating_sub(known);
        }
        for (engine, held) in self.known.offered.results.remove(&id).unwrap_or_default() {
            let mut fresh = held.parts;
            fresh.retain(|(partition, _)| spec.wanted.contains(*partition) && done.insert(*partition));
            self.deliver(id, engine, held.attempt, fresh);
        }
        if !done.is_empty() {
            spec.delivered += done.len() as u32;
            spec.wanted = spec.wanted.iter().filter(|partition| !done.contains(partition)).collect();
        }
        missing += u64::from(spec.wanted.len());
        if let Some(job) = self.jobs.get_mut(&id) {
            job.progress.partitions_done = job.progress.partitions.saturating_sub(missing);
        }
        self.place_caches(&caches, &mut spec);
        self.events.push(Event::JobSubmitted { job: id, spec });
    }

    /// Tells the scheduler which engines have cached partitions, so that it places their readers there.
    fn place_caches(&self, caches: &[(u32, GlobalCacheId)], spec: &mut JobSpec) {
        for (stage, cache) in caches {
            let (Some(stage), Some(kept)) = (spec.stages.get_mut(*stage as usize), self.known.caches.get(cache)) else {
                continue;
            };
            let cached = kept.iter().map(|(partition, engine)| (Run::new(*partition, partition + 1), *engine));
            stage.local_to.extend(cached);
        }
    }

    pub(crate) fn detached_as(&self, name: &str) -> Option<JobId> {
        self.jobs.named(name)
    }

    /// Finds a job by its number, its name or its label.
    pub(crate) fn find_job(&self, name: &str) -> Option<JobId> {
        let number = name.parse().ok().map(JobId).filter(|id| self.jobs.contains_key(id));
        let labelled = || self.jobs.iter().rev().find(|(_, job)| job.spec.label == name).map(|(id, _)| *id);
        number.or_else(|| self.detached_as(name)).or_else(labelled)
    }

    /// Stops a job.
    pub(crate) fn cancel_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.end.is_none()) else { return };
        if job.phase != Phase::Begun {
            // The scheduler does not know the job yet.
            return self.end_job(id, Err(Error::Cancelled));
        }
        job.cancelled = true;
        self.events.push(Event::JobCancelled { job: id });
    }

    pub(crate) fn end_job(&mut self, id: JobId, end: Result<(), Error>) {
        let at = self.clock();
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.end.is_none()) else { return };
        job.ended = Some(at);
        job.phase = Phase::Begun;
        job.progress.running = 0;
        if end.is_ok() {
            job.progress.stages_done = job.progress.stages;
            job.progress.partitions_done = job.progress.partitions;
        }
        job.end = Some(end.clone());
        let progress = job.progress;
        let (spec, session, detached) = (job.spec.clone(), job.session, job.detached.is_some());
        let drivers = job.drivers.clone();
        for stage in &spec.stages {
            self.leave_code(code_of(stage, id));
        }
        self.drop_offered(id);
        self.out.note(Entry::JobEnded { job: id, at, progress, end: end.clone().map_err(Box::new) });
        for driver in drivers.into_iter().filter(|driver| !driver.paused) {
            self.tell_driver(driver.session, ToDriver::Progress { ticket: driver.ticket, progress });
            // If the journal's results are still being sent to this driver, the end follows after them.
            if driver.replay.is_none() {
                self.tell_driver(driver.session, ToDriver::Ended { ticket: driver.ticket, end: end.clone() });
            }
        }
        if detached && self.sessions.all.get(&session).is_some_and(|session| session.left) {
            self.end_session(session);
        }
        self.close_if_collected(id);
    }

    /// Removes a job that no driver wants any more.
    pub(crate) fn close_job(&mut self, id: JobId) {
        self.cancel_job(id);
        self.settle();
        let Some(job) = self.jobs.remove(&id) else { return };
        let mut by_engine = BTreeMap::<_, Vec<_>>::new();
        for (attempt, (engine, _)) in &job.delivered {
            by_engine.entry(*engine).or_default().push(*attempt);
        }
        for (engine, attempts) in by_engine {
            self.tell_engine(engine, ToEngine::Received { attempts });
        }
        // The driver of the job's session may not have asked for it since the hub restarted.
        let drivers = job.drivers.iter().map(|driver| (driver.session, driver.ticket));
        for (session, ticket) in drivers.chain([(job.session, job.ticket)]) {
            if let Some(session) = self.sessions.all.get_mut(&session)
                && session.tickets.get(&ticket) == Some(&id)
            {
                session.tickets.remove(&ticket);
            }
        }
        if job.detached.is_some() {
            let at = self.clock();
            self.out.note(Entry::Collected { job: id, at });
            if self.sessions.all.get(&job.session).is_some_and(|session| session.left) {
                self.end_session(job.session);
            }
        }
    }
}
