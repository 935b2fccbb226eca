//! How workers end, by themselves or killed by the engine, and how the engine reports it.

use super::{Assigned, BlockOrder, Engine, Order, Worker};
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::Error;
use tryworks_base::ids::AttemptId;
use tryworks_protocol::engine::FromEngine;
use tryworks_scheduler::{Failure, Time};

/// How long a task that was asked to stop may take before its worker is killed.
pub(super) const KILL_GRACE: Duration = Duration::from_secs(3);
/// How many times in a row a worker may fail to start before the engine reports that it cannot run the session.
const STARTS: u32 = 2;
/// How long a program may take to reach its `Context::init()`.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker may be silent. It beats every second, whatever its tasks do, so a silent one was stopped or hangs.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// How long a worker whose connection ended may take to end by itself. How it ends tells more than the lost connection.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Why a worker was killed.
pub(super) enum Guilt {
    /// One of its tasks did not stop, so the others are not to blame.
    Stuck(String),
    /// The worker stopped responding. One of its tasks may be to blame.
    Lost(String),
}

/// How a worker ended.
#[derive(Clone, Debug)]
pub struct Death {
    /// How the process ended, such as `was killed by signal 9`.
    pub how: String,
    /// It could not even be started, and trying again would not help.
    pub hopeless: bool,
    /// The tasks that its slots ran last.
    pub ran: Vec<AttemptId>,
}

impl Engine {
    /// A worker has ended, or could not be started.
    pub fn worker_ended(&mut self, now: Time, number: u64, death: &Death) {
        let Some(worker) = self.workers.remove(&number) else { return };
        // What its tasks had begun to write is deleted.
        for assigned in &worker.assigned {
            self.undo(assigned);
        }
        let live = worker.assigned.iter().filter(|assigned| !assigned.orphan);
        let id = worker.session;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.worker == Some(number)) else {
            // The worker was ended with its session. The session may have come back since then, so the hub waits for
            // these slots.
            let ended = live.map(|assigned| assigned.attempt);
            self.for_hub.extend(ended.map(killed));
            return;
        };
        session.worker = None;
        session.kept.clear();
        let error = self.obituary(&worker, death);
        // A worker may end before it begins a task, for example because it gets no threads. That counts as a failed
        // start, too.
        let stuck = worker.guilt.is_some();
        if !worker.connected || !(worker.serves || stuck) && death.ran.is_empty() {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            session.failed_starts += 1;
            let hopeless = death.hopeless || session.failed_starts >= STARTS;
            if hopeless {
                session.failed_starts = 0;
                self.for_hub.push(FromEngine::CannotWork { session: id, error });
            }
            let lost = live.map(|assigned| assigned.attempt);
            self.for_hub.extend(lost.map(killed));
            if !hopeless {
                self.worker_of(now, id);
            }
            return;
        }
        // It was killed because one task did not stop: the other tasks are not suspects.
        let stuck = matches!(worker.guilt, Some(Guilt::Stuck(_)));
        let ran = |attempt: &AttemptId| !stuck && death.ran.contains(attempt);
        let (suspects, waiting): (Vec<_>, Vec<_>) = live.map(|assigned| assigned.attempt).partition(ran);
        if suspects.is_empty() && waiting.is_empty() {
            return;
        }
        self.for_hub.push(FromEngine::WorkerDied { session: id, suspects, waiting, error });
    }

    fn obituary(&self, worker: &Worker, death: &Death) -> Error {
        // A worker that never began was not measured.
        let peak = worker.peak >> 20;
        let mut details: Vec<String> = Vec::new();
        if peak > 0 {
            details.push(format!("the most memory that it was seen to hold: {peak} MiB"));
        }
        let jobs: BTreeSet<_> = worker.assigned.iter().map(|assigned| assigned.job.to_string()).collect();
        if !jobs.is_empty() {
            details.push(format!("it ran tasks of {}", jobs.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if !worker.last_words.is_empty() {
            details.push(format!("its last output:\n{}", String::from_utf8_lossy(&worker.last_words).trim_end()));
        }
        let how = match &worker.guilt {
            Some(Guilt::Stuck(how) | Guilt::Lost(how)) => how,
            None => &death.how,
        };
        let early = !worker.connected && !death.hopeless;
        let early =
            if early { " before it came to `Context::init()`, which belongs on the first line of `main`" } else { "" };
        let here = &self.setup.machine;
        let process = if worker.pid > 0 { format!(" (process {})", worker.pid) } else { String::new() };
        let what = format!("a worker{process} of {} on {here} {how}{early}", self.setup.name);
        Error::Lost { what, details: details.join("\n") }
    }

    /// A worker's connection ended. Usually the worker is dead, and the end of its process follows.
    pub fn worker_cut(&mut self, now: Time, number: u64) {
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.cut.get_or_insert(now);
        }
    }

    /// A message that tasks of a worker need could not be sent. The tasks fail, and the worker is killed.
    pub fn cannot_tell(&mut self, number: u64, error: &Error) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let assigned = std::mem::take(&mut worker.assigned);
        // The worker may have begun some of them.
        worker
            .guilt
            .get_or_insert(Guilt::Stuck(format!("was killed because a message to it could not be sent: {error}")));
        self.orders.push(Order::Kill { worker: number });
        for assigned in assigned {
            self.undo(&assigned);
            if !assigned.orphan {
                let (attempt, failure) = (assigned.attempt, Failure::Final(error.clone()));
                self.for_hub.push(FromEngine::Failed { attempt, failure, span: (0, 0) });
            }
        }
    }

    /// A message to the hub is too large. If it was a task's report, the task fails.
    pub fn unsaid(&mut self, what: &FromEngine, error: Error) {
        if let FromEngine::Done { attempt, span, .. } | FromEngine::Failed { attempt, span, .. } = what {
            self.made.remove(*attempt);
            self.results.remove(attempt);
            self.blocks(BlockOrder::Delete { attempt: *attempt });
            self.for_hub.push(FromEngine::Failed { attempt: *attempt, failure: Failure::Final(error), span: *span });
        }
    }

    /// Handles what depends on time: kills workers that missed a time limit, and sends the hub a beat. Call it every
    /// [`TICK`](super::TICK), after handing in what was [measured](Engine::measured).
    pub fn tick(&mut self, now: Time) {
        // If this process was stopped for a while, beats of workers have arrived that it has not read yet.
        if now.since(self.ticked) > SILENCE / 4 {
            for worker in self.workers.values_mut() {
                worker.heard = now;
            }
        }
        self.ticked = now;
        for (number, worker) in &mut self.workers {
            let late = |assigned: &Assigned| assigned.stopping.is_some_and(|at| now.since(at) >= KILL_GRACE);
            let guilt = if worker.assigned.iter().any(late) {
                Guilt::Stuck(format!("was killed because a task did not stop within {KILL_GRACE:?} of being asked to"))
            } else if !worker.connected && now.since(worker.since) >= START_LIMIT {
                Guilt::Lost(format!("was killed because nothing was heard of it for {START_LIMIT:?}"))
            } else if worker.cut.is_some_and(|at| now.since(at) >= FAREWELL) {
                Guilt::Lost("was killed because it had lost its connection to the engine: did a task close it?".into())
            } else if worker.connected && now.since(worker.heard) >= SILENCE {
                Guilt::Lost(format!("was killed because nothing was heard of it for {SILENCE:?}: was it stopped?"))
            } else {
                continue;
            };
            worker.guilt.get_or_insert(guilt);
            self.orders.push(Order::Kill { worker: *number });
        }
        self.beat_in_time(now);
    }
}

/// The report of a task that was stopped before its end.
pub(super) fn killed(attempt: AttemptId) -> FromEngine {
    FromEngine::Failed { attempt, failure: Failure::Killed, span: (0, 0) }
}
