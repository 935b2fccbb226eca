//! The hub's side of the world: sessions and leases, and how the hub is killed and starts again from its journal.

use super::{BEAT, Envelope, Happening, LEASE, Letter, RESEND, Session, World};
use crate::checkers::Violation;
use crate::faults::MS;
use crate::host::Order;
use crate::workload::output;
use std::collections::BTreeMap;
use tryworks_base::ids::{EngineId, JobId, OutputId};
use tryworks_scheduler::*;

impl World {
    pub(super) fn look_round(&mut self) -> Result<(), Violation> {
        self.after(BEAT, Happening::HubLooksRound);
        let silent = |s: &Session| (s.alive || s.pending) && self.now.0 - s.last_heard > LEASE;
        let silent: Vec<EngineId> = self.sessions.iter().filter(|(_, s)| silent(s)).map(|(&id, _)| id).collect();
        silent.into_iter().try_for_each(|session| self.give_up(session))
    }

    pub(super) fn give_up(&mut self, session: EngineId) -> Result<(), Violation> {
        let Some(record) = self.sessions.get_mut(&session).filter(|s| s.alive || s.pending) else { return Ok(()) };
        self.outcome.engines_lost += 1;
        record.pending = false;
        if std::mem::replace(&mut record.alive, false) {
            self.tell(Event::EngineLost { engine: session, error: "silent".into() })?;
        }
        self.take_jobs_again()
    }

    pub(super) fn hub_receives(&mut self, envelope: Envelope) -> Result<(), Violation> {
        let Envelope { host, session, letter, generation, .. } = envelope;
        match letter {
            Letter::Hello { slots } if !self.sessions.contains_key(&session) => {
                let known = generation == self.generation;
                let record = Session { host, alive: known, pending: !known, last_heard: self.now.0, orders: 0 };
                self.sessions.insert(session, record);
                if known {
                    return self.tell(Event::EngineJoined { engine: session, slots });
                }
                self.send_to(session, host, Letter::Again);
                Ok(())
            }
            Letter::Beat => {
                let Some(record) = self.sessions.get_mut(&session) else { return Ok(()) };
                let letter = if record.alive || record.pending { Letter::Heard } else { Letter::Over };
                record.last_heard = self.now.0;
                self.send_to(session, host, letter);
                Ok(())
            }
            Letter::Holding { slots, blocks } if generation == self.generation => {
                let Some(record) = self.sessions.get_mut(&session).filter(|s| s.pending) else { return Ok(()) };
                (record.pending, record.alive, record.last_heard) = (false, true, self.now.0);
                self.comes_back(session, slots, blocks)?;
                self.take_jobs_again()
            }
            // The report may be from a session that was given up. The scheduler must ignore it.
            Letter::Report(event) if generation == self.generation => self.tell(event),
            _ => Ok(()),
        }
    }

    /// An engine that the previous hub knew says what it holds.
    fn comes_back(
        &mut self,
        engine: EngineId,
        slots: u32,
        blocks: Vec<(OutputId, KnownBlock)>,
    ) -> Result<(), Violation> {
        let mut events = vec![Event::EngineJoined { engine, slots }];
        let mut by_output: BTreeMap<OutputId, Vec<KnownBlock>> = BTreeMap::new();
        for (output, block) in blocks {
            if self.void.contains(&(engine, block.made_by)) {
                self.order(engine, Order::Discard(block.made_by));
            } else {
                by_output.entry(output).or_default().push(block);
            }
        }
        for (id, blocks) in by_output {
            self.outcome.blocks_known += blocks.len() as u64;
            events.push(self.output_known(id, Vec::new(), None, blocks));
            if self.released[id.0 as usize] && !self.will_be_named(id) {
                events.push(Event::OutputReleased { output: id });
            }
        }
        self.tell_all(events)
    }

    fn output_known(
        &self,
        id: OutputId,
        made: Vec<(u32, u64)>,
        changed: Option<Change>,
        blocks: Vec<KnownBlock>,
    ) -> Event<String> {
        let stage = &self.workload.pool[id.0 as usize];
        let parents = stage.parents.iter().map(|&parent| output(parent)).collect();
        let (partitions, buckets) = (stage.partitions, stage.buckets);
        Event::OutputKnown { output: id, partitions, buckets, parents, made, changed, blocks }
    }

    pub(super) fn will_be_named(&self, id: OutputId) -> bool {
        let is_to_come = |job: JobId| !self.checkers.was_submitted(job) || self.returning.contains(&job);
        let mut to_come = self.workload.jobs.iter().filter(|job| is_to_come(job.id));
        to_come.any(|job| job.stages.contains(&(id.0 as usize)))
    }

    pub(super) fn hub_dies(&mut self, back_after: u64, patient: bool) {
        if !std::mem::replace(&mut self.down, true) {
            self.after(back_after, Happening::HubStarts(patient));
        }
    }

    pub(super) fn needs_hub(&self, happening: &Happening) -> bool {
        match happening {
            Happening::Arrive(envelope) => envelope.to_hub,
            Happening::HubLooksRound
            | Happening::SocketClosed(_)
            | Happening::Gate(..)
            | Happening::NotGone(..)
            | Happening::Submit(_)
            | Happening::Resubmit(_)
            | Happening::Cancel(_)
            | Happening::Release(_)
            | Happening::Tick => true,
            _ => false,
        }
    }

    pub(super) fn wait_for_hub(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(envelope) if matches!(envelope.letter, Letter::Beat) => {}
            Happening::Arrive(envelope) => self.after(RESEND, Happening::Send(envelope)),
            // These are dropped, not postponed: a gate that closes now must not reach the scheduler after it has opened
            // again.
            Happening::Tick | Happening::Gate(_, Gate::Memory | Gate::Draining) => {}
            other => self.after(RESEND, other),
        }
    }

    /// Begins with an empty scheduler, while engines and drivers have continued.
    pub(super) fn hub_starts(&mut self, patient: bool) -> Result<(), Violation> {
        self.down = false;
        self.generation += 1;
        self.outcome.hubs_started += 1;
        let config = Config { launched: self.scheduler.launched(), ..self.config };
        let before = std::mem::replace(&mut self.scheduler, Scheduler::new(config));
        self.define_pools();
        self.checkers.hub_starts();
        // The hub's journal has what every task reported.
        for id in (0..self.workload.pool.len()).map(output) {
            let places = before.places(id).iter().zip(0..);
            let made: Vec<(u32, u64)> = places.filter_map(|(place, p)| Some((p, place.checksum()?))).collect();
            let changed = before.changed(id);
            if !made.is_empty() || changed.is_some() {
                let event = self.output_known(id, made, changed, Vec::new());
                self.tell(event)?;
            }
        }
        let before: Vec<(EngineId, usize)> =
            self.sessions.iter().filter(|(_, s)| s.alive || s.pending).map(|(&id, s)| (id, s.host)).collect();
        for (session, host) in before {
            let record = Session { host, alive: false, pending: true, last_heard: self.now.0, orders: 0 };
            self.sessions.insert(session, record);
            self.send_to(session, host, Letter::Again);
        }
        self.returning = self.checkers.not_ended();
        self.patient = patient;
        if !patient {
            for job in self.returning.clone() {
                let soon = self.rng.below(60 * MS);
                self.after(soon, Happening::Resubmit(job));
            }
        }
        self.take_jobs_again()
    }

    /// Drivers of a patient hub submit their jobs again once all engines from before have said what they hold, or are
    /// gone.
    fn take_jobs_again(&mut self) -> Result<(), Violation> {
        if !self.patient || self.sessions.values().any(|session| session.pending) {
            return Ok(());
        }
        self.returning.clone().into_iter().try_for_each(|job| self.resubmit(job))
    }

    pub(super) fn resubmit(&mut self, job: JobId) -> Result<(), Violation> {
        self.returning.retain(|returning| *returning != job);
        let plan = &self.workload.jobs[job.0 as usize - 1];
        let stages = plan.stages.clone();
        if let Some(wanted) = self.checkers.not_committed(job) {
            let delivered = plan.spec.wanted.len() - wanted.len();
            let spec = JobSpec { delivered, wanted, ..plan.spec.clone() };
            self.tell(Event::JobSubmitted { job, spec })?;
        }
        // Outputs without a holder waited for the jobs that name them.
        for stage in stages {
            if self.released[stage] && !self.will_be_named(output(stage)) {
                self.tell(Event::OutputReleased { output: output(stage) })?;
            }
        }
        Ok(())
    }

    /// An engine that was asked to leave may go, or has not become free in time.
    pub(super) fn not_gone(&mut self, session: EngineId, kill: bool) -> Result<(), Violation> {
        let Some(record) = self.sessions.get(&session).filter(|record| record.alive) else { return Ok(()) };
        let host = record.host;
        if !kill {
            return self.tell(Event::EngineGate { engine: session, gate: Gate::Open });
        }
        if self.hosts[host].session == session {
            self.hosts[host].alive = false;
            let later = self.rng.within(1, 200 * MS);
            self.after(later, Happening::Start(host));
        }
        self.give_up(session)
    }
}
