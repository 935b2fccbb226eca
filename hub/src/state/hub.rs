//! What involves several parts of the hub: carrying out the scheduler's decisions, and collecting what leaves the hub.

use super::jobs::Phase;
use super::{Hub, Level, Lookup, Order, OrderOutcome, Outgoing};
use crate::journal::Counter;
use bytes::Bytes;
use tryworks_base::ids::{EngineId, JobId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::Answer;
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{Assignment, ToEngine};
use tryworks_protocol::messages;
use tryworks_scheduler::{Action, Event, Failure};
use tryworks_transport::PeerId;

impl Hub {
    /// Hands events to the scheduler and carries out its decisions, until there are no more events.
    pub(crate) fn settle(&mut self) {
        self.admit();
        while !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            let mut actions = Vec::new();
            self.scheduler.handle_all(self.now, events, &mut actions);
            self.claim(Counter::Launches, self.scheduler.launched());
            self.note_made();
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    pub(crate) fn look_round(&mut self) {
        let wakes = self.wakes.len();
        self.wakes.retain(|wake| *wake > self.now);
        if self.wakes.len() < wakes {
            self.events.push(Event::Tick);
        }
        self.lose_silent_engines();
        self.drop_lost_drivers();
        self.tidy();
        self.tell_progress();
        self.tell_of_missed();
        self.dismiss_drained();
        self.settle();
    }

    fn carry_out(&mut self, action: Action<Error>) {
        match action {
            Action::Launch { engine, tasks } => self.launch(engine, &tasks),
            Action::Kill { engine, attempt } => self.tell_engine(engine, ToEngine::Kill { attempt }),
            Action::Discard { engine, attempt } => {
                self.launches.reported.remove(&attempt);
                self.tell_engine(engine, ToEngine::Discard { attempt });
            }
            Action::DeleteOutput { engine, output } => {
                self.known.unreadable.remove(&output);
                self.tell_engine(engine, ToEngine::DeleteOutput { output });
            }
            Action::Commit { job, attempt, engine, partitions } => self.commit(job, attempt, engine, &partitions),
            Action::JobDone { job } => self.job_done(job),
            Action::JobFailed { job, reason } => {
                let mut error = Error::from(reason);
                if let Error::Fetch { exchange, message, .. } = &mut error
                    && let Some(of) = self.jobs.get(&job)
                    && let Some(why) = self.known.unreadable.get(&of.session.output(*exchange))
                {
                    *message += &format!("; the last time: {why}");
                }
                self.end_job(job, Err(error));
            }
            Action::JobCancelled { job, report } => {
                self.note_cancelled(job, &report);
                self.end_job(job, Err(Error::Cancelled));
            }
            Action::StageStarted { job, stage, stage_attempt, tasks } => {
                self.stage_started(job, stage, stage_attempt, tasks);
            }
            Action::StageFinished { job, stage, stage_attempt } => self.stage_finished(job, stage, stage_attempt),
            Action::Nondeterministic { job, stage, partition, declared } => {
                self.note_change(job, stage);
                if !declared {
                    let text = format!(
                        "stage {stage} is not deterministic: partition {partition} was recomputed and came out \
                         different; everything that depends on it is recomputed"
                    );
                    self.tell_job(job, |_| ToDriver::Notice(text.clone()));
                }
            }
            Action::Move(what) => {
                self.introduce_store(what.to, what.from);
                self.tell_engine(what.to, ToEngine::Move(what));
            }
            Action::Drained { engine } => {
                if let Some(engine) = self.engines.all.get_mut(&engine) {
                    engine.drained = true;
                }
            }
            Action::WakeAt { time } => drop(self.wakes.insert(time)),
        }
    }

    pub(crate) fn tell_engine(&mut self, engine: EngineId, message: ToEngine) {
        if self.engines.all.contains_key(&engine) {
            self.out.for_engines.entry(engine).or_default().push(message);
        }
    }

    pub(crate) fn tell_driver(&mut self, session: SessionId, message: ToDriver) {
        if self.sessions.is_connected(session) {
            self.out.for_drivers.entry(session).or_default().push(message);
        }
    }

    /// Sends a message to each driver of a job. `message` is given that driver's ticket.
    pub(crate) fn tell_job(&mut self, job: JobId, message: impl Fn(u64) -> ToDriver) {
        let drivers = self.jobs.get(&job).map(|job| job.drivers.clone()).unwrap_or_default();
        for driver in drivers.into_iter().filter(|driver| !driver.paused) {
            self.tell_driver(driver.session, message(driver.ticket));
        }
    }

    /// The next number of this counter. Messages that may name it stay in the hub until the journal has it as reserved.
    ///
    /// # Errors
    /// If the number is not reserved and the journal cannot be written.
    pub(crate) fn next(&mut self, counter: Counter) -> Result<u64> {
        match &self.trouble {
            Some(error) if !self.numbers.has_next(counter) => Err(error.clone()),
            _ => {
                let next = self.numbers.used(counter) + 1;
                self.claim(counter, next);
                Ok(next)
            }
        }
    }

    /// As [`next`](Self::next), for sessions and engines, whose numbers have 32 bits.
    pub(crate) fn next_short(&mut self, counter: Counter) -> Result<u32> {
        u32::try_from(self.next(counter)?).map_err(|_| {
            let advice = "start the cluster with an empty journal";
            Error::limit("numbers of sessions", u32::MAX.into(), "one more session", advice)
        })
    }

    fn claim(&mut self, counter: Counter, last: u64) {
        if let Some(end) = self.numbers.claim(counter, last) {
            self.out.order(Order::Reserve { counter, end });
        }
    }

    /// Logs that the journal cannot be written, and later that it can be written again.
    fn look_after_journal(&mut self, error: Option<Error>) {
        match (&error, &self.trouble) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                let text = format!("the journal cannot be written, so jobs are lost if the hub dies: {now}");
                self.out.log(Level::Error, text);
            }
            (None, Some(_)) => self.out.log(Level::Info, "the journal can be written again"),
            _ => return,
        }
        self.trouble = error;
    }

    /// Asks the journal a question, which it answers after committing all earlier notes.
    pub(crate) fn look_up(&mut self, lookup: Lookup) {
        self.out.order(Order::LookUp(lookup));
    }

    pub(crate) fn hear(&mut self, outcome: OrderOutcome) {
        match outcome {
            OrderOutcome::Submitted { job, outcome } => self.written(job, outcome),
            OrderOutcome::Kept { engine, attempt } => {
                self.tell_engine(engine, ToEngine::Received { attempts: vec![attempt] });
            }
            OrderOutcome::Reserved { counter, end } => self.numbers.written(counter, end),
            OrderOutcome::Health(error) => self.look_after_journal(error),
            OrderOutcome::Answer { peer, number, answer } => self.tell_answer(peer, number, answer),
            OrderOutcome::Ran { peer, number, engine, ran } => {
                let answer = ran.map(|ran| Answer::Logs(self.recent.lines(engine, Some(ran))));
                self.tell_answer(peer, number, answer.unwrap_or_else(|no| no));
            }
            OrderOutcome::Result { job, replay, attempt, partition, bytes } => {
                self.replay(job, replay, attempt, partition, bytes);
            }
            OrderOutcome::Replayed { job, replay, count } => self.replayed(job, replay, count),
            OrderOutcome::Looked { session, process, ended } => self.looked(session, process, ended),
            OrderOutcome::Arrived(id) => drop(self.programs.insert(id)),
            OrderOutcome::Removed(id) => drop(self.programs.remove(&id)),
        }
    }

    /// Collects what may leave the hub. Messages that may name a number wait until the journal has reserved that
    /// number.
    pub(crate) fn leaving(&mut self) -> Outgoing {
        let mut out = Outgoing::default();
        // A message that cannot be encoded fails jobs, which leads to further messages.
        while self.say(&mut out) {
            self.settle();
        }
        out.orders.append(&mut self.out.orders);
        out
    }

    /// Encodes messages, if all their numbers are reserved. Returns whether any could not be encoded, because that
    /// leads to further messages.
    fn say(&mut self, out: &mut Outgoing) -> bool {
        let mut fine = true;
        if [Counter::Jobs, Counter::Sessions].into_iter().all(|counter| self.numbers.are_written(counter)) {
            out.to_clients.extend(ready(&mut self.out.to_clients));
            fine &= self.say_to_drivers(out);
            out.hang_up_clients.append(&mut self.out.hang_up_clients);
        }
        if Counter::ALL.into_iter().all(|counter| self.numbers.are_written(counter)) {
            out.to_engines.extend(ready(&mut self.out.to_engines));
            fine &= self.say_to_engines(out);
            out.hang_up_engines.append(&mut self.out.hang_up_engines);
        }
        !fine
    }

    fn say_to_drivers(&mut self, out: &mut Outgoing) -> bool {
        let mut unsaid = Vec::new();
        for (session, batch) in std::mem::take(&mut self.out.for_drivers) {
            let Some(peer) = self.sessions.all.get(&session).and_then(|session| session.peer) else { continue };
            let said = messages(&batch, &mut |what, error| unsaid.push((session, about(what), error)));
            out.to_clients.extend(said.into_iter().map(|bytes| (peer, bytes)));
        }
        let fine = unsaid.is_empty();
        // A job whose message cannot be sent must end: otherwise its driver would wait for it forever.
        for (session, ticket, error) in unsaid {
            self.out.log(Level::Error, format!("a message to a driver could not be encoded: {error}"));
            if let Some(ticket) = ticket {
                let job = self.job_of(session, ticket);
                if let Some(job) = job {
                    self.fail_job(job, &error);
                }
                self.tell_driver(session, ToDriver::Ended { ticket, end: Err(error) });
            }
        }
        fine
    }

    fn say_to_engines(&mut self, out: &mut Outgoing) -> bool {
        let mut unsaid = Vec::new();
        for (id, batch) in std::mem::take(&mut self.out.for_engines) {
            let Some(engine) = self.engines.all.get(&id) else { continue };
            let said = messages(&batch, &mut |what: &ToEngine, error| unsaid.push((id, what.clone(), error)));
            out.to_engines.extend(said.into_iter().map(|bytes| (engine.peer, bytes)));
        }
        let fine = unsaid.is_empty();
        for (engine, what, error) in unsaid {
            self.unsaid_to_engine(engine, what, &error);
        }
        fine
    }

    /// A message to an engine is too large to be sent: the jobs that need it fail.
    fn unsaid_to_engine(&mut self, engine: EngineId, what: ToEngine, error: &Error) {
        self.out.log(Level::Error, format!("a message to {engine} could not be encoded: {error}"));
        let session = match what {
            ToEngine::Launch { tasks } => {
                for Assignment { task, .. } in tasks {
                    self.task_failed(engine, task.attempt, Failure::Final(error.clone()), (0, 0));
                }
                return;
            }
            ToEngine::Code { session, .. } | ToEngine::Session { session, .. } => session,
            ToEngine::Places { output, .. } => output.session(),
            _ => return,
        };
        let jobs: Vec<_> = self.jobs.of(session).filter(|(_, job)| job.end.is_none()).map(|(id, _)| id).collect();
        for job in jobs {
            self.fail_job(job, error);
        }
    }

    /// Fails a job for a reason other than a failed task.
    pub(crate) fn fail_job(&mut self, id: JobId, error: &Error) {
        let begun = self.jobs.get(&id).is_some_and(|job| job.phase == Phase::Begun && job.end.is_none());
        self.end_job(id, Err(error.clone()));
        if begun {
            self.events.push(Event::JobCancelled { job: id });
        }
    }

    /// An engine is gone, and everything it held is lost.
    pub(crate) fn lose_engine(&mut self, id: EngineId, why: &str) {
        let name = self.engines.name(id);
        let Some(engine) = self.engines.remove(id) else { return };
        self.out.drop_engine(id, engine.peer);
        self.out.note(crate::journal::Entry::EngineLost { name: engine.name });
        for cache in self.known.lose_caches(id, None) {
            self.tell_cached(cache);
        }
        self.known.lose_offers(id);
        self.jobs.lose_engine(id);
        let tasks = self.launches.lose(id);
        let blocks = self.known.lose_blocks(id, &self.scheduler);
        for session in tasks.keys() {
            self.jobs.stir_session(*session);
        }
        for session in self.sessions.ids() {
            let lost = |of: &std::collections::BTreeMap<_, usize>| of.get(&session).copied().unwrap_or_default();
            let (tasks, blocks) = (lost(&tasks), lost(&blocks));
            if tasks + blocks > 0 {
                let text = format!(
                    "{name} was lost ({why}): {tasks} tasks that it had run again, {blocks} map outputs that it held \
                     are recomputed where they are still needed"
                );
                self.tell_driver(session, ToDriver::Notice(text));
            }
        }
        let error = Error::Lost { what: format!("{name} was lost: {why}"), details: String::new() };
        self.events.push(Event::EngineLost { engine: id, error });
        if self.engines.all.is_empty() {
            for job in self.jobs.not_ended() {
                self.tell_of_no_engine(job);
            }
        }
    }
}

fn ready(answers: &mut Vec<(PeerId, Vec<u8>)>) -> impl Iterator<Item = (PeerId, Bytes)> {
    std::mem::take(answers).into_iter().map(|(peer, bytes)| (peer, bytes.into()))
}

/// The driver's ticket of the job that a message is about, if losing the message must fail that job.
fn about(what: &ToDriver) -> Option<u64> {
    match what {
        ToDriver::Results { ticket, .. } | ToDriver::Ended { ticket, .. } => Some(*ticket),
        _ => None,
    }
}
