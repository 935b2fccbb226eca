//! The state that the threads share: the scheduler, its jobs and their results. The scheduler's actions are carried out
//! here.

mod existing;
mod held;
mod sweep;

use super::Settings;
use super::host::LocalHost;
use crate::event_log::{EventLog, Record};
use crate::execute::{OpenedStage, Part};
use crate::job_spec::stage_spec;
use crate::queue::TaskQueue;
use crate::shielded::Shielded;
use existing::Existing;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar};
use sweep::Released;
use tracing::Span;
use tryworks_base::ids::{AttemptId, EngineId, ExchangeId, JobId, OutputId};
use tryworks_base::lock::Lock;
use tryworks_base::time::Clock;
use tryworks_base::{Error, Progress, Result};
use tryworks_core::host::{BlockValue, CachedPartition};
use tryworks_core::lineage::Node;
use tryworks_core::runner::JobRequest;
use tryworks_planner::{Plan, plan};
use tryworks_scheduler::{
    Action, Config, Event, Failure, JobSpec, Limits, MapPartition, Partitions, Scheduler, Task, Time,
};

/// The one engine: this process.
pub(super) const HERE: EngineId = EngineId(1);

/// How many results wake a waiting driver, so that a large job does not wake it for every single one.
const WAKE_EVERY: usize = 1024;

pub(super) struct Shared {
    state: Lock<State>,
    /// Notified when there are tasks to run, or the runtime stops.
    work: Condvar,
    /// Notified when a job has results or has ended.
    results: Condvar,
    released: Released,
    pub(super) host: Arc<LocalHost>,
    limits: Limits,
    checks_rows: bool,
    clock: Clock,
}

pub(super) struct State {
    scheduler: Scheduler<Error>,
    actions: Vec<Action<Error>>,
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    queue: TaskQueue<Task>,
    /// Results that were reported and are not accepted yet.
    reported: HashMap<AttemptId, Vec<Part>>,
    garbage: Garbage,
    stopped: bool,
    log: Option<EventLog>,
}

/// What is to be dropped. It may have many small allocations, and users' types may run any code when they are dropped,
/// so it is dropped without the lock.
#[derive(Default)]
struct Garbage {
    blocks: Vec<Shielded<BlockValue>>,
    cached: Vec<Shielded<CachedPartition>>,
    parts: Vec<Part>,
}

impl Garbage {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.cached.is_empty() && self.parts.is_empty()
    }
}

struct Job {
    label: String,
    stages: Arc<[OpenedStage]>,
    results: VecDeque<Part>,
    /// How it ended, once it has.
    end: Option<Result<()>>,
    /// The last progress, for use after its end.
    progress: Progress,
    /// The number of partitions over all stages that run.
    partitions: u64,
    partitions_done: u64,
    failed: u32,
    waiting: bool,
    span: Span,
    /// The spans of its stages, while they run.
    stage_spans: Vec<Span>,
}

/// A task ready to run.
pub(super) struct Launch {
    pub(super) task: Task,
    pub(super) code: OpenedStage,
    pub(super) cancelled: Arc<AtomicBool>,
    /// The span of its stage.
    pub(super) span: Span,
}

impl Shared {
    pub(super) fn new(settings: &Settings, host: Arc<LocalHost>, log: Option<EventLog>) -> Arc<Self> {
        // Eight tasks wait for each thread, so that a thread need not wait for the others to get its next task.
        let mut scheduler = Scheduler::new(Config { prefetch: settings.threads as u32 * 8, ..Config::default() });
        scheduler.handle(
            Time(0),
            Event::EngineJoined { engine: HERE, slots: settings.threads as u32 },
            &mut Vec::new(),
        );
        let state = State {
            scheduler,
            actions: Vec::new(),
            jobs: BTreeMap::new(),
            next_job: 1,
            queue: TaskQueue::default(),
            reported: HashMap::new(),
            garbage: Garbage::default(),
            stopped: false,
            log,
        };
        Arc::new(Shared {
            state: Lock::new(state),
            work: Condvar::new(),
            results: Condvar::new(),
            released: Released::default(),
            host,
            limits: Limits {
                max_attempts: settings.max_attempts,
                max_result_bytes: settings.max_result_bytes,
                ..Limits::default()
            },
            checks_rows: settings.checks_rows,
            clock: Clock::begin(),
        })
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    /// Hands events to the scheduler and carries out its decisions.
    fn handle(&self, state: &mut State, events: impl IntoIterator<Item = Event<Error>>) {
        let mut actions = std::mem::take(&mut state.actions);
        state.scheduler.handle_all(self.now(), events, &mut actions);
        let before = state.queue.waiting().len();
        for action in actions.drain(..) {
            self.carry_out(state, action);
        }
        state.actions = actions;
        match state.queue.waiting().len().saturating_sub(before) {
            0 => {}
            1 => self.work.notify_one(),
            _ => self.work.notify_all(),
        }
    }

    fn carry_out(&self, state: &mut State, action: Action<Error>) {
        match action {
            Action::Launch { tasks, .. } => tasks.iter().for_each(|task| state.queue.add(task.attempt, task.clone())),
            Action::Kill { attempt, .. } => {
                if state.queue.stop(attempt) {
                    // It never began, so it is reported at once.
                    let failed = Event::TaskFailed { attempt, failure: Failure::Killed };
                    let mut more = Vec::new();
                    state.scheduler.handle(self.now(), failed, &mut more);
                    for action in more {
                        self.carry_out(state, action);
                    }
                }
            }
            Action::Discard { attempt, .. } => {
                state.garbage.parts.extend(state.reported.remove(&attempt).into_iter().flatten());
                // It may have put blocks into an exchange that was deleted meanwhile.
                state.garbage.blocks.extend(self.host.discard(attempt));
            }
            Action::DeleteOutput { output, .. } => state.garbage.blocks.extend(self.host.take(ExchangeId(output.0))),
            Action::Commit { job, attempt, .. } => {
                let parts = state.reported.remove(&attempt).unwrap_or_default();
                let Some(job) = state.jobs.get_mut(&job) else { return state.garbage.parts.extend(parts) };
                job.results.extend(parts);
                if job.waiting && job.results.len() >= WAKE_EVERY {
                    self.results.notify_all();
                }
            }
            Action::JobDone { job } => self.end(state, job, Ok(())),
            Action::JobFailed { job, reason } => self.end(state, job, Err(reason.into())),
            Action::JobCancelled { job, .. } => {
                let why = if state.stopped { Error::Stopped } else { Error::Cancelled };
                self.end(state, job, Err(why));
            }
            Action::StageStarted { job, stage, stage_attempt, tasks } => {
                if let Some(job) = state.jobs.get_mut(&job) {
                    let span = tracing::info_span!(parent: &job.span, "stage", stage, stage_attempt, tasks);
                    job.stage_spans[stage as usize] = span;
                }
                self.note(state, |at| Record::StageStarted { at, job: job.0, stage, stage_attempt, tasks });
            }
            Action::StageFinished { job, stage, stage_attempt } => {
                if let Some(job) = state.jobs.get_mut(&job) {
                    job.stage_spans[stage as usize] = Span::none();
                }
                self.note(state, |at| Record::StageFinished { at, job: job.0, stage, stage_attempt });
            }
            Action::Nondeterministic { job, stage, partition, declared } => {
                if !declared {
                    tracing::warn!(
                        job = job.0,
                        stage,
                        partition,
                        "user code is not deterministic: everything that depends on this stage is recomputed"
                    );
                }
            }
            // The only engine is always there, so there is nothing to wait for and nothing to move.
            Action::WakeAt { .. } | Action::Move(_) | Action::Drained { .. } => {}
        }
    }

    fn end(&self, state: &mut State, id: JobId, end: Result<()>) {
        let outcome = match &end {
            Ok(()) => "done".to_string(),
            Err(error) => error.to_string(),
        };
        self.note(state, |at| Record::JobFinished { at, job: id.0, outcome });
        if let Some(job) = state.jobs.get_mut(&id) {
            job.progress.running = 0;
            if end.is_ok() {
                job.progress.stages_done = job.progress.stages;
                job.partitions_done = job.partitions;
            }
            job.stage_spans.clear();
            job.span = Span::none();
            job.end = Some(end);
            self.results.notify_all();
        }
    }

    fn note(&self, state: &mut State, record: impl FnOnce(u64) -> Record) {
        if let Some(log) = &mut state.log {
            log.write(&record(self.micros()));
        }
    }

    /// Whether tasks check every row that they hand over.
    pub(super) fn checks_rows(&self) -> bool {
        self.checks_rows
    }

    /// Plans a job without running it.
    pub(super) fn plan(&self, node: &Arc<Node>) -> Result<Plan> {
        let state = self.lock();
        plan(node, &Existing(&state, &self.host))
    }

    pub(super) fn submit(&self, request: JobRequest) -> Result<JobId> {
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::Stopped);
        }
        // Planned under the lock of the submission, so that nothing the plan relies on is released in between.
        let plan = plan(&request.node, &Existing(&state, &self.host))?;
        let id = JobId(state.next_job);
        state.next_job += 1;
        let checks_rows = self.checks_rows;
        let codes = plan.stages.iter().map(|stage| OpenedStage::of(stage, &request, checks_rows));
        let wanted = Partitions::from(request.partitions.clone());
        let runs = plan.stages.iter().filter(|stage| stage.runs());
        let map_partitions: u64 =
            runs.clone().filter(|stage| stage.exchange.is_some()).map(|stage| u64::from(stage.partitions)).sum();
        let label = format!("{} at {}", request.op.name, request.op.site);
        let job = Job {
            label: label.clone(),
            stages: codes.collect(),
            results: VecDeque::new(),
            end: None,
            progress: Progress { stages: runs.count() as u32, ..Progress::default() },
            partitions: map_partitions + u64::from(wanted.len()),
            partitions_done: 0,
            failed: 0,
            waiting: false,
            span: tracing::info_span!(parent: None, "job", job = id.0, label),
            stage_spans: vec![Span::none(); plan.stages.len()],
        };
        self.note(&mut state, |at| Record::JobStarted {
            at,
            job: id.0,
            label: label.clone(),
            stages: plan.stages.len() as u32,
        });
        let spec = JobSpec {
            label,
            stages: plan.stages.iter().map(|stage| stage_spec(stage, |exchange| OutputId(exchange.0))).collect(),
            wanted,
            limits: self.limits.clone(),
            pool: String::new(),
            program: 0,
            delivered: 0,
        };
        state.jobs.insert(id, job);
        self.handle(&mut state, [Event::JobSubmitted { job: id, spec }]);
        drop(state);
        self.sweep();
        Ok(id)
    }

    pub(super) fn cancel(&self, job: JobId) {
        let mut state = self.lock();
        self.handle(&mut state, [Event::JobCancelled { job }]);
        drop(state);
        self.sweep();
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let jobs: Vec<_> = state.jobs.iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id).collect();
        self.handle(&mut state, jobs.into_iter().map(|job| Event::JobCancelled { job }));
        self.work.notify_all();
    }

    /// Waits for results. An empty list means that there are no more.
    pub(super) fn wait_for_results(&self, id: JobId) -> Result<VecDeque<Part>> {
        let mut state = self.lock();
        loop {
            let Some(job) = state.jobs.get_mut(&id) else { return Err(Error::Bug(format!("{id} is not known"))) };
            job.waiting = false;
            if let Some(Err(error)) = &job.end {
                return Err(error.clone());
            }
            if !job.results.is_empty() || job.end.is_some() {
                return Ok(std::mem::take(&mut job.results));
            }
            job.waiting = true;
            state = state.wait(&self.results);
        }
    }

    /// The jobs that have not ended, with their labels, the newest last.
    pub(super) fn active(&self) -> Vec<(JobId, String)> {
        let state = self.lock();
        let active = state.jobs.iter().filter(|(_, job)| job.end.is_none());
        active.map(|(id, job)| (*id, job.label.clone())).collect()
    }

    pub(super) fn progress(&self, id: JobId) -> Progress {
        let state = self.lock();
        let Some(job) = state.jobs.get(&id) else { return Progress::default() };
        let known = Progress {
            partitions: job.partitions,
            partitions_done: job.partitions_done,
            failed: job.failed,
            ..job.progress
        };
        match state.scheduler.progress(id) {
            Some(now) => {
                let skipped = now.stages.saturating_sub(job.progress.stages);
                // A launched task may still wait for a thread.
                let queued = state.queue.waiting().filter(|task| task.job == id).count() as u32;
                let running = now.tasks_running.saturating_sub(queued).min(state.queue.running() as u32);
                Progress { stages_done: now.stages_done.saturating_sub(skipped), running, ..known }
            }
            None => known,
        }
    }

    /// The driver dropped its handle of a job.
    pub(super) fn forget(&self, id: JobId) {
        let mut state = self.lock();
        if state.jobs.get(&id).is_some_and(|job| job.end.is_none()) {
            self.handle(&mut state, [Event::JobCancelled { job: id }]);
        }
        // Dropping a job may drop the last handle of a dataset, which needs the state.
        let job = state.jobs.remove(&id);
        drop(state);
        drop(job);
        self.sweep();
    }

    /// Reports how a task ended, and takes the next one. `None` means that the thread should end.
    pub(super) fn next(&self, ended: Option<Ended>) -> Option<Launch> {
        let mut state = self.lock();
        if let Some(ended) = ended {
            self.report(&mut state, ended);
        }
        loop {
            if self.released.any() {
                drop(state);
                self.sweep_if_nobody_does();
                state = self.lock();
            }
            if state.stopped {
                return None;
            }
            if let Some((task, cancelled)) = state.queue.next(self.host.budget()) {
                let job = state.jobs.get(&task.job).map(|job| {
                    let span = job.stage_spans.get(task.stage as usize).cloned();
                    (job.stages[task.stage as usize].clone(), span.unwrap_or(Span::none()))
                });
                let Some((code, span)) = job else {
                    // The driver dropped the job, and the scheduler knows it.
                    let failure = Failure::Killed;
                    // This thread looks at the queue again itself.
                    let _ = state.queue.ended(task.attempt);
                    self.handle(&mut state, [Event::TaskFailed { attempt: task.attempt, failure }]);
                    continue;
                };
                return Some(Launch { task, code, cancelled, span });
            }
            if !state.garbage.is_empty() {
                drop(state);
                state = self.lock();
                continue;
            }
            state = state.wait(&self.work);
        }
    }

    fn report(&self, state: &mut State, ended: Ended) {
        let Ended { task, parts, event, record } = ended;
        let is_idle = state.queue.ended(task.attempt);
        if let Some(job) = state.jobs.get_mut(&task.job) {
            match &event {
                Event::TaskDone { .. } => job.partitions_done += u64::from(task.partitions.len()),
                _ => job.failed += 1,
            }
        }
        if let Some(log) = &mut state.log {
            log.write(&record);
        }
        if !parts.is_empty() {
            state.reported.insert(task.attempt, parts);
        }
        let event = match event {
            // Only the scheduler knows which launch made the block.
            Event::TaskFailed { attempt, failure: Failure::Fetch(mut lost) } => {
                for block in &mut lost {
                    let place = state.scheduler.places(block.output).get(block.partition as usize);
                    block.at = place.and_then(MapPartition::location);
                }
                Event::TaskFailed { attempt, failure: Failure::Fetch(lost) }
            }
            event => event,
        };
        self.handle(state, [event]);
        if is_idle {
            self.work.notify_all();
        }
    }

    /// Microseconds since the runtime began.
    pub(super) fn micros(&self) -> u64 {
        self.clock.now().0 / 1000
    }

    pub(super) fn logs(&self) -> bool {
        self.lock().log.is_some()
    }
}

/// A task that ended.
pub(super) struct Ended {
    pub(super) task: Task,
    pub(super) parts: Vec<Part>,
    pub(super) event: Event<Error>,
    pub(super) record: Record,
}
