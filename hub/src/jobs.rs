//! Jobs: submitted, delivered, ended; those that come again after a connection or a hub was lost; those that go on
//! without a driver.

use crate::hub::Hub;
use crate::launch::{Code, Launched};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tryworks_core::Error;
use tryworks_core::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_core::runner::Progress;
use tryworks_engine::protocol::admin::{JobRow, StageRow, TaskRow};
use tryworks_engine::protocol::driver::{NewJob, Part, ToDriver};
use tryworks_engine::protocol::engine::{BlockPlace, CodeId, ResultPart, ToEngine};
use tryworks_engine::scheduler::{Event, Failure, JobSpec, KnownBlock, Partitions, Report, Run, StageSpec};

/// A job that has not been closed.
pub(crate) struct Job {
    /// The session whose workers run it.
    pub(crate) session: SessionId,
    /// Who gets its results, and the number it has there.
    pub(crate) driver: Option<(SessionId, u64)>,
    pub(crate) detached: Option<String>,
    pub(crate) spec: Arc<JobSpec>,
    /// Stages that read kept partitions, and of which caches.
    pub(crate) caches: Vec<(u32, u64)>,
    pub(crate) submitted: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) end: Option<Result<(), Error>>,
    /// Why it is being stopped, if not because it was cancelled.
    pub(crate) verdict: Option<Error>,
    /// Accepted results that nobody has said to have received, and who has them.
    pub(crate) delivered: BTreeMap<AttemptId, (EngineId, Vec<(u32, Part)>)>,
    pub(crate) progress: Progress,
    pub(crate) stages: Vec<StageRow>,
    /// What the driver was told last.
    pub(crate) told: Progress,
    /// It may go on without the blocks that engines offer, or waits for engines that come back.
    pub(crate) admitted: bool,
}

impl Job {
    /// Whether it needs its session although the driver is gone.
    pub(crate) fn goes_on(&self) -> bool {
        self.detached.is_some() && self.end.is_none()
    }
}

/// Engines get so long to come back before a job that was running when the hub died goes on without them.
const RETURN: Duration = Duration::from_millis(1000);
/// The last of them may have brought others along.
const SETTLE: Duration = Duration::from_millis(300);

/// Microseconds since 1970.
pub(crate) fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

impl Hub {
    pub(crate) fn submit(&mut self, session: SessionId, new: NewJob) {
        let ticket = new.ticket;
        if let Some(job) = self.job_of(session, ticket) {
            return self.resume(session, ticket, job);
        }
        if let Some(name) = &new.detached
            && let Some(job) = self.detached_as(name)
        {
            return self.resume(session, ticket, job);
        }
        let foreign = new.spec.stages.iter().filter_map(|stage| stage.output);
        if foreign.into_iter().any(|output| SessionId::split(output.0).0 != session) {
            let end = Err(Error::Bug("a job names the outputs of another session".into()));
            return self.tell_driver(session, ToDriver::Ended { ticket, end });
        }
        let id = match new.job.filter(|id| !self.jobs.contains_key(id)) {
            Some(id) => id,
            None => {
                let id = JobId(self.next.job);
                self.next.job += 1;
                id
            }
        };
        self.next.job = self.next.job.max(id.0 + 1);
        for (stage, bytes) in new.codes {
            let Some(stage) = new.spec.stages.get(stage as usize) else { continue };
            let code = stage.output.map_or(CodeId::Results(id), CodeId::Output);
            let held = stage.output.is_some();
            self.codes.entry(code).or_insert(Code { bytes: Arc::new(bytes), users: 0, held });
        }
        let names = |stage: &StageSpec| stage.output.map_or(CodeId::Results(id), CodeId::Output);
        for stage in &new.spec.stages {
            if let Some(code) = self.codes.get_mut(&names(stage)) {
                code.users += 1;
            }
        }
        let made = |stage: &&StageSpec| {
            let places = stage.output.map_or(&[][..], |output| self.scheduler.places(output));
            places.is_empty() || !places.iter().all(|place| place.exists())
        };
        let runs: Vec<_> = new.spec.stages.iter().filter(made).collect();
        let maps: u64 =
            runs.iter().filter(|stage| stage.output.is_some()).map(|stage| u64::from(stage.partitions)).sum();
        let progress = Progress {
            stages: runs.len() as u32,
            partitions: maps + u64::from(new.spec.wanted.len()),
            ..Progress::default()
        };
        let stages = (0..new.spec.stages.len() as u32).map(|stage| StageRow { stage, ..StageRow::default() });
        let job = Job {
            session,
            driver: Some((session, ticket)),
            detached: new.detached,
            stages: stages.collect(),
            spec: Arc::new(new.spec),
            caches: new.caches,
            submitted: clock(),
            ended: None,
            end: None,
            verdict: None,
            delivered: BTreeMap::new(),
            progress,
            told: Progress::default(),
            admitted: false,
        };
        let comes_again = new.job.is_some();
        self.jobs.insert(id, job);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.tickets.insert(ticket, id);
        }
        self.tell_driver(session, ToDriver::Accepted { ticket, job: id });
        if self.engines.is_empty() {
            self.tell_of_no_engine(id);
        }
        if !comes_again {
            self.begin_job(id);
        }
    }

    /// Lets jobs that came again begin, once the engines had time to come back.
    pub(crate) fn admit(&mut self) {
        let waiting = self.jobs.iter().filter(|(_, job)| !job.admitted && job.end.is_none());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        if !waiting.is_empty() && self.began.elapsed() >= RETURN && self.joined.elapsed() >= SETTLE {
            waiting.into_iter().for_each(|id| self.begin_job(id));
        }
    }

    fn begin_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.admitted = true;
        let (mut spec, caches) = ((*job.spec).clone(), job.caches.clone());
        for at in 0..spec.stages.len() {
            let Some(output) = spec.stages[at].output else { continue };
            if let Some(blocks) = self.offered.blocks.remove(&output) {
                self.know(&spec, at, output, blocks);
            }
        }
        let mut done = BTreeSet::new();
        for (engine, attempt, parts) in self.offered.results.remove(&id).unwrap_or_default() {
            let fresh: Vec<_> = parts
                .into_iter()
                .filter(|(partition, _)| spec.wanted.contains(*partition) && done.insert(*partition))
                .collect();
            self.deliver(id, engine, attempt, fresh);
        }
        if !done.is_empty() {
            spec.wanted = spec.wanted.iter().filter(|partition| !done.contains(partition)).collect();
        }
        self.place_caches(&caches, &mut spec);
        self.events.push(Event::JobSubmitted { job: id, spec });
    }

    /// Blocks of an output that a job names are there from before.
    fn know(&mut self, spec: &JobSpec, at: usize, output: OutputId, blocks: Vec<KnownBlock>) {
        let stage = &spec.stages[at];
        let parents = stage.parents.iter().filter_map(|parent| spec.stages[*parent].output).collect();
        let (partitions, buckets) = (stage.partitions, stage.buckets);
        self.moved(output);
        self.events.push(Event::OutputKnown { output, partitions, buckets, parents, blocks });
    }

    /// An engine has a block from before.
    pub(crate) fn offer_block(&mut self, output: OutputId, block: KnownBlock) {
        let named = self.jobs.values().filter(|job| job.admitted && job.end.is_none()).find_map(|job| {
            let at = job.spec.stages.iter().position(|stage| stage.output == Some(output))?;
            Some((job.spec.clone(), at))
        });
        match named {
            Some((spec, at)) => self.know(&spec, at, output, vec![block]),
            None => self.offered.blocks.entry(output).or_default().push(block),
        }
    }

    /// Says where kept partitions are, so that what reads them goes there.
    fn place_caches(&self, caches: &[(u32, u64)], spec: &mut JobSpec) {
        for (stage, cache) in caches {
            let (Some(stage), Some(kept)) = (spec.stages.get_mut(*stage as usize), self.caches.get(cache)) else {
                continue;
            };
            let near = kept.iter().map(|(partition, engine)| (Run::new(*partition, partition + 1), *engine));
            stage.near.extend(near);
        }
    }

    /// A driver asks again for a job that is known: by the same number after it was cut off, or by its name.
    fn resume(&mut self, session: SessionId, ticket: u64, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.driver = Some((session, ticket));
        let parts: Vec<_> = job.delivered.iter().map(|(attempt, (_, parts))| (*attempt, parts.clone())).collect();
        let end = job.end.clone();
        if let Some(session) = self.sessions.get_mut(&session) {
            session.tickets.insert(ticket, id);
        }
        self.tell_driver(session, ToDriver::Accepted { ticket, job: id });
        for (attempt, parts) in parts {
            self.tell_driver(session, ToDriver::Results { ticket, attempt, parts });
        }
        if let Some(end) = end {
            self.tell_driver(session, ToDriver::Ended { ticket, end });
        }
    }

    fn detached_as(&self, name: &str) -> Option<JobId> {
        self.jobs.iter().find(|(_, job)| job.detached.as_deref() == Some(name)).map(|(id, _)| *id)
    }

    /// A job by its number or its name.
    pub(crate) fn find_job(&self, name: &str) -> Option<JobId> {
        let number = name.parse().ok().map(JobId).filter(|id| self.jobs.contains_key(id));
        let labelled = || self.jobs.iter().rev().find(|(_, job)| job.spec.label == name).map(|(id, _)| *id);
        number.or_else(|| self.detached_as(name)).or_else(labelled)
    }

    pub(crate) fn commit(&mut self, job: JobId, attempt: AttemptId, engine: EngineId, partitions: &Partitions) {
        let mut parts = self.reported.remove(&attempt).unwrap_or_default();
        parts.retain(|(partition, _)| partitions.contains(*partition));
        self.deliver(job, engine, attempt, parts);
    }

    fn deliver(&mut self, id: JobId, engine: EngineId, attempt: AttemptId, parts: Vec<(u32, ResultPart)>) {
        let parts = parts.into_iter().filter_map(|(partition, part)| {
            let part = match part {
                ResultPart::Here(bytes) => Part::Here(bytes),
                ResultPart::Kept(len) => {
                    let store = self.store_of(engine).ok()?;
                    Part::At { place: BlockPlace { store, output: result_of(id), partition, attempt }, len }
                }
            };
            Some((partition, part))
        });
        let parts: Vec<_> = parts.collect();
        let Some(job) = self.jobs.get_mut(&id) else {
            return self.tell_engine(engine, ToEngine::Received { attempts: vec![attempt] });
        };
        job.delivered.insert(attempt, (engine, parts.clone()));
        if let Some((session, ticket)) = job.driver {
            self.tell_driver(session, ToDriver::Results { ticket, attempt, parts });
        }
    }

    pub(crate) fn end_job(&mut self, id: JobId, end: Result<(), Error>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let end = match (end, job.verdict.take()) {
            (Err(Error::Cancelled), Some(verdict)) => Err(verdict),
            (end, _) => end,
        };
        job.ended = Some(clock());
        job.progress.running = 0;
        if end.is_ok() {
            job.progress.stages_done = job.progress.stages;
            job.progress.partitions_done = job.progress.partitions;
        }
        job.end = Some(end.clone());
        let progress = job.progress;
        let stages = job.spec.stages.iter().map(|stage| stage.output.map_or(CodeId::Results(id), CodeId::Output));
        let codes: Vec<_> = stages.collect();
        let (driver, session, detached) = (job.driver, job.session, job.detached.is_some());
        codes.into_iter().for_each(|code| self.leave_code(code));
        if let Some((session, ticket)) = driver {
            self.tell_driver(session, ToDriver::Progress { ticket, progress });
            self.tell_driver(session, ToDriver::Ended { ticket, end });
        }
        // The session of a detached job whose driver left was kept for it.
        if detached
            && self.sessions.get(&session).is_some_and(|session| session.peer.is_none() && session.lost.is_none())
        {
            self.end_session(session);
        }
    }

    /// Nobody asks for a job any more.
    pub(crate) fn close_job(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(Job::goes_on) {
            return;
        }
        let Some(job) = self.jobs.remove(&id) else { return };
        if job.end.is_none() {
            self.events.push(Event::JobCancelled { job: id });
            self.jobs.insert(id, job);
            self.settle();
            self.jobs.remove(&id);
        } else {
            let mut by_engine = BTreeMap::<_, Vec<_>>::new();
            job.delivered
                .iter()
                .for_each(|(attempt, (engine, _))| by_engine.entry(*engine).or_default().push(*attempt));
            for (engine, attempts) in by_engine {
                self.tell_engine(engine, ToEngine::Received { attempts });
            }
        }
        for session in self.sessions.values_mut() {
            session.tickets.retain(|_, job| *job != id);
        }
        self.offered.results.remove(&id);
    }

    pub(crate) fn stage_started(&mut self, job: JobId, stage: u32, stage_attempt: u32, _tasks: u32) {
        if let Some(row) = self.jobs.get_mut(&job).and_then(|job| job.stages.get_mut(stage as usize)) {
            row.attempts = row.attempts.max(stage_attempt + 1);
            row.began.get_or_insert(clock());
        }
    }

    pub(crate) fn stage_finished(&mut self, job: JobId, stage: u32, _stage_attempt: u32) {
        if let Some(row) = self.jobs.get_mut(&job).and_then(|job| job.stages.get_mut(stage as usize)) {
            row.ended = Some(clock());
        }
    }

    /// Counts what became of a task.
    pub(crate) fn note_task(
        &mut self,
        launched: &Launched,
        attempt: AttemptId,
        span: (u64, u64),
        end: Result<&Report, &Failure<Error>>,
    ) {
        let Some(job) = self.jobs.get_mut(&launched.job) else { return };
        let (mut rows, mut bytes) = (0, 0);
        match end {
            Ok(report) => {
                rows = report.partitions.iter().map(|made| made.rows).sum();
                bytes = report.partitions.iter().map(|made| made.bytes).sum();
                job.progress.partitions_done += u64::from(launched.partitions.len());
            }
            Err(Failure::Killed) => {}
            Err(_) => job.progress.failed += 1,
        }
        if let Some(row) = job.stages.get_mut(launched.stage as usize) {
            row.tasks += u32::from(end.is_ok());
            row.failed += u32::from(end.is_err());
            row.busy += span.1.saturating_sub(span.0);
            row.rows += rows;
            row.bytes += bytes;
        }
        let error = end.err().map(|failure| match failure {
            Failure::User(error) | Failure::Panic(error) | Failure::Final(error) => error.to_string(),
            Failure::Fetch(lost) => format!("{} blocks could not be fetched", lost.len()),
            Failure::Killed => "stopped".into(),
        });
        let row = TaskRow {
            stage: launched.stage,
            attempt: attempt.sequence(),
            first: launched.partitions.first(),
            partitions: launched.partitions.len(),
            engine: launched.engine,
            span,
            rows,
            bytes,
            error,
        };
        self.note_row(launched.job, row);
    }

    pub(crate) fn tell_progress(&mut self) {
        let mut news = Vec::new();
        for (id, job) in &mut self.jobs {
            if job.end.is_some() {
                continue;
            }
            if let Some(now) = self.scheduler.progress(*id) {
                let skipped = now.stages.saturating_sub(job.progress.stages);
                job.progress.stages_done = now.stages_done.saturating_sub(skipped);
                job.progress.running = now.tasks_running;
            }
            if job.told != job.progress {
                job.told = job.progress;
                news.extend(job.driver.map(|(session, ticket)| (session, ticket, job.progress)));
            }
        }
        for (session, ticket, progress) in news {
            self.tell_driver(session, ToDriver::Progress { ticket, progress });
        }
    }

    pub(crate) fn job_row(&self, id: JobId, job: &Job) -> JobRow {
        let state = match &job.end {
            None if !job.admitted => "waiting for engines",
            None => "running",
            Some(Ok(())) => "done",
            Some(Err(Error::Cancelled)) => "cancelled",
            Some(Err(_)) => "failed",
        };
        JobRow {
            job: id,
            label: job.spec.label.clone(),
            detached: job.detached.clone(),
            state: state.into(),
            submitted: job.submitted,
            ended: job.ended,
            progress: job.progress,
            error: job.end.as_ref().and_then(|end| end.as_ref().err()).map(ToString::to_string),
        }
    }
}

/// The name that block stores have for the results of a job.
pub(crate) fn result_of(job: JobId) -> u64 {
    job.0 | 1 << 63
}
