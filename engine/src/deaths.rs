//! How workers end, of themselves or because they have to, and what is told of it.

use super::state::{Assigned, Engine, Order, Worker};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tryworks_base::Error;
use tryworks_base::ids::AttemptId;
use tryworks_protocol::engine::FromEngine;
use tryworks_scheduler::Failure;
use tryworks_transport::PeerId;

/// A task that was asked to stop may take so long before its worker is killed.
const KILL_GRACE: Duration = Duration::from_secs(3);
/// How often a worker may fail to start before the session is given up here.
const STARTS: u32 = 2;
/// How long a program may take to come to its `Context::init()`.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A worker beats every second, whatever its tasks do. One of which nothing is heard for so long was stopped, or hangs.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// A worker whose connection ended may take so long to end by itself, which says more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a worker was killed.
pub(super) enum Guilt {
    /// One of its tasks did not stop: the others are not to blame.
    Stuck(String),
    /// It would do no more, for which one of its tasks may be to blame.
    Lost(String),
}

/// How a worker ended.
pub(super) struct Death {
    /// Such as `was killed by signal 9`.
    pub(super) how: String,
    /// What could not even be started has no more to tell.
    pub(super) hopeless: bool,
    /// What its slots ran last.
    pub(super) ran: Vec<AttemptId>,
}

impl Engine {
    /// A worker is gone.
    pub(super) fn worker_ended(&mut self, number: u64, death: &Death) {
        let Some(worker) = self.workers.remove(&number) else { return };
        if let Some(peer) = worker.peer {
            self.peers.remove(&peer);
        }
        // Whatever its tasks had begun to write is of no use.
        worker.assigned.iter().for_each(|assigned| self.undo(assigned));
        let live = worker.assigned.iter().filter(|assigned| !assigned.orphan);
        let id = worker.session;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.worker == Some(number)) else {
            // It was ended with its session, which may be there again by now: the hub waits for its slots.
            let ended = live.map(|assigned| assigned.attempt);
            self.for_hub.extend(ended.map(killed));
            return;
        };
        session.worker = None;
        session.kept.clear();
        let error = self.obituary(&worker, death);
        // One that came to its end before it began anything, such as for want of threads, could not be started either.
        let stuck = worker.guilt.is_some();
        if worker.peer.is_none() || !(worker.serves || stuck) && death.ran.is_empty() {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            session.failed_starts += 1;
            let hopeless = death.hopeless || session.failed_starts >= STARTS;
            if hopeless {
                tracing::warn!("the program of {id} does not start here: {error}");
                session.failed_starts = 0;
                self.for_hub.push(FromEngine::CannotWork { session: id, error });
            }
            let lost = live.map(|assigned| assigned.attempt);
            self.for_hub.extend(lost.map(killed));
            if !hopeless {
                self.worker_of(id);
            }
            return;
        }
        // A task that would not stop was why it was killed: the others are not to blame.
        let stuck = matches!(worker.guilt, Some(Guilt::Stuck(_)));
        let ran = |attempt: &AttemptId| !stuck && death.ran.contains(attempt);
        let (suspects, waiting): (Vec<_>, Vec<_>) = live.map(|assigned| assigned.attempt).partition(ran);
        if suspects.is_empty() && waiting.is_empty() {
            return;
        }
        self.for_hub.push(FromEngine::WorkerDied { session: id, suspects, waiting, error });
    }

    fn obituary(&self, worker: &Worker, death: &Death) -> Error {
        // One that never began was seen to hold nothing.
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
        let early = worker.peer.is_none() && !death.hopeless;
        let early =
            if early { " before it came to `Context::init()`, which belongs on the first line of `main`" } else { "" };
        let here = tryworks_protocol::host::here().name;
        let process = if worker.pid > 0 { format!(" (process {})", worker.pid) } else { String::new() };
        let what = format!("a worker{process} of {} on {here} {how}{early}", self.options.name);
        Error::Lost { what, details: details.join("\n") }
    }

    /// The connection of a worker ended. Mostly it is dead, which is told of by its process.
    pub(super) fn worker_cut(&mut self, peer: &PeerId) {
        if let Some(worker) = self.peers.remove(peer).and_then(|number| self.workers.get_mut(&number)) {
            worker.cut = Some(Instant::now());
        }
    }

    /// A worker could not be told something that its tasks need.
    pub(super) fn cannot_tell(&mut self, peer: &PeerId, error: &Error) {
        let Some(worker) = self.peers.get(peer).and_then(|number| self.workers.get_mut(number)) else { return };
        let assigned = std::mem::take(&mut worker.assigned);
        // Some of them it may have begun.
        worker.guilt.get_or_insert(Guilt::Stuck(format!("was killed since it could not be told what to do: {error}")));
        if let Some(number) = self.peers.get(peer) {
            self.orders.push(Order::Kill { worker: *number });
        }
        for assigned in assigned {
            self.undo(&assigned);
            if !assigned.orphan {
                let (attempt, failure) = (assigned.attempt, Failure::Final(error.clone()));
                self.for_hub.push(FromEngine::Failed { attempt, failure, span: (0, 0) });
            }
        }
    }

    /// The hub could not be told something, since it fits into no message.
    pub(super) fn unsaid(&mut self, what: &FromEngine, error: Error) {
        tracing::error!("the hub could not be told something: {error}");
        if let FromEngine::Done { attempt, span, .. } | FromEngine::Failed { attempt, span, .. } = what {
            self.made.remove(*attempt);
            self.results.remove(attempt);
            self.store.delete_attempt(attempt.0);
            self.for_hub.push(FromEngine::Failed { attempt: *attempt, failure: Failure::Final(error), span: *span });
        }
    }

    /// Looks at what depends on time.
    pub(super) fn tick(&mut self) {
        // If this process itself was stopped, there are beats that it has not heard yet.
        if self.ticked.elapsed() > SILENCE / 4 {
            self.workers.values_mut().for_each(|worker| worker.heard = Instant::now());
        }
        self.ticked = Instant::now();
        for (number, worker) in &mut self.workers {
            let late = |assigned: &Assigned| assigned.stopping.is_some_and(|at| at.elapsed() >= KILL_GRACE);
            let guilt = if worker.assigned.iter().any(late) {
                Guilt::Stuck(format!("was killed since a task did not stop within {KILL_GRACE:?} of being asked to"))
            } else if worker.peer.is_none() && worker.since.elapsed() >= START_LIMIT {
                Guilt::Lost(format!("was killed since nothing was heard of it for {START_LIMIT:?}"))
            } else if worker.cut.is_some_and(|at| at.elapsed() >= FAREWELL) {
                Guilt::Lost("was killed since it had lost its connection to the engine: did a task close it?".into())
            } else if worker.peer.is_some() && worker.heard.elapsed() >= SILENCE {
                Guilt::Lost(format!("was killed since nothing was heard of it for {SILENCE:?}: was it stopped?"))
            } else {
                continue;
            };
            worker.guilt.get_or_insert(guilt);
            self.orders.push(Order::Kill { worker: *number });
        }
    }
}

/// What is said of a task that did not come to its end.
pub(super) fn killed(attempt: AttemptId) -> FromEngine {
    FromEngine::Failed { attempt, failure: Failure::Killed, span: (0, 0) }
}
