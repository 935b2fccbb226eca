//! The engines' side of the world: how tasks run there, what they read, and how engines, workers and blocks are lost.

use super::{BEAT, ENGINE_LEASE, Envelope, Happening, Letter, World};
use crate::Bug;
use crate::faults::{Disaster, MS};
use crate::host::{Block, Order, Running};
use crate::rng::mix;
use crate::workload::{compute, made_output, output, who};
use std::{collections::BTreeMap, rc::Rc, time::Duration};
use tryworks_base::ids::{AttemptId, EngineId};
use tryworks_scheduler::*;

impl World {
    pub(super) fn start(&mut self, host: usize) {
        self.started += 1;
        self.hosts[host].begin(EngineId(self.started), self.now, self.generation);
        let slots = self.hosts[host].slots;
        self.send_from(host, Letter::Hello { slots });
    }

    pub(super) fn beat(&mut self, host: usize) {
        self.after(BEAT, Happening::Beat(host));
        let engine = &self.hosts[host];
        if !engine.alive {
            return;
        }
        if self.now.0 - engine.heard_hub.0 > ENGINE_LEASE {
            return self.start(host);
        }
        self.send_from(host, Letter::Beat);
    }

    pub(super) fn strike(&mut self, host: usize, disaster: Disaster) {
        if self.now >= self.faults.end || !self.hosts[host].alive {
            return;
        }
        let session = self.hosts[host].session;
        match disaster {
            Disaster::KillHub { back_after, patient } => self.hub_dies(back_after, patient),
            Disaster::Drain { patience, kill } => {
                self.after(0, Happening::Gate(session, Gate::Draining));
                self.after(patience, Happening::NotGone(session, kill));
                self.outcome.engines_drained += 1;
            }
            Disaster::KillEngine { back_after } => {
                let engine = &mut self.hosts[host];
                engine.alive = false;
                if self.rng.chance(500) {
                    let delay = self.rng.below(3 * MS);
                    self.after(delay, Happening::SocketClosed(session));
                }
                if let Some(later) = back_after {
                    self.after(later, Happening::Start(host));
                }
            }
            Disaster::KillWorker => self.worker_dies(host),
            Disaster::CloseGate { for_nanos } => {
                self.after(0, Happening::Gate(session, Gate::Memory));
                self.after(for_nanos, Happening::Gate(session, Gate::Open));
                self.outcome.gates_closed += 1;
            }
            Disaster::Sicken { for_nanos } => self.hosts[host].sick_until = Time(self.now.0 + for_nanos),
            Disaster::LoseBlock => {
                let blocks: Vec<AttemptId> = self.hosts[host].blocks.keys().copied().collect();
                let Some(&made_by) = blocks.get(self.rng.below(blocks.len() as u64) as usize) else { return };
                let Some(block) = self.hosts[host].blocks.remove(&made_by) else { return };
                self.outcome.blocks_lost += 1;
                // In half of the cases the loss is noticed only when a task wants to read the block.
                if self.rng.chance(500)
                    && let Some((&partition, _)) = block.values.first_key_value()
                {
                    let engine = self.hosts[host].session;
                    self.report(host, Event::BlockLost { engine, output: block.output, partition, made_by });
                }
            }
        }
    }

    fn worker_dies(&mut self, host: usize) {
        let suspects: Vec<AttemptId> = std::mem::take(&mut self.hosts[host].running).into_keys().collect();
        if !suspects.is_empty() {
            self.outcome.workers_died += 1;
            let (engine, error) = (self.hosts[host].session, "signal 9".to_owned());
            self.report(host, Event::WorkerDied { engine, suspects, error });
        }
        self.begin_tasks(host);
    }

    pub(super) fn host_receives(&mut self, envelope: Envelope) {
        let Envelope { host, session, letter, generation, .. } = envelope;
        let engine = &mut self.hosts[host];
        if !engine.alive || engine.session != session || generation < engine.generation {
            return;
        }
        engine.heard_hub = self.now;
        if generation > engine.generation {
            // The first letter of a restarted hub, whatever it is, is answered with what the engine holds.
            let letter = Letter::Holding { slots: engine.slots, blocks: engine.meet(generation) };
            self.send_from(host, letter);
        }
        match letter {
            Letter::Over => self.start(host),
            Letter::Order { number, order } => {
                for order in self.hosts[host].receive(number, order) {
                    self.carry_out(host, order);
                }
                self.begin_tasks(host);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, host: usize, order: Order) {
        let engine = &mut self.hosts[host];
        match order {
            Order::Run(task, inputs) => engine.queue.push_back((task, inputs)),
            Order::Kill(attempt) => {
                let queued = engine.queue.len();
                engine.queue.retain(|(task, _)| task.attempt != attempt);
                if engine.running.remove(&attempt).is_some() || engine.queue.len() < queued {
                    self.report(host, Event::TaskFailed { attempt, failure: Failure::Killed });
                }
            }
            Order::Fetch(what) => {
                let soon = self.rng.within(MS / 2, 20 * MS);
                let generation = engine.generation;
                self.after(soon, Happening::Fetched(host, generation, what));
            }
            Order::Discard(attempt) => {
                engine.blocks.remove(&attempt);
            }
            Order::Delete(output) => engine.blocks.retain(|_, block| block.output != output),
        }
    }

    fn begin_tasks(&mut self, host: usize) {
        if self.now < self.hosts[host].sick_until {
            return self.cannot_begin(host);
        }
        while let Some((task, inputs)) = self.hosts[host].next_to_run() {
            let (session, attempt) = (self.hosts[host].session, task.attempt);
            self.hosts[host].running.insert(attempt, Running { task, inputs, read: None });
            let soon = self.rng.within(MS / 10, 5 * MS);
            self.after(soon, Happening::Read(host, session, attempt));
        }
    }

    /// The waiting tasks cannot be started: the engine reports it to the hub, and gives each task back.
    fn cannot_begin(&mut self, host: usize) {
        let (engine, waiting) = (self.hosts[host].session, std::mem::take(&mut self.hosts[host].queue));
        if waiting.is_empty() {
            return;
        }
        self.outcome.starts_failed += 1;
        let lasts = Duration::from_nanos(self.rng.within(1, 200) * MS);
        self.report(host, Event::EngineUnfit { engine, program: 0, error: "the disk is full".into(), lasts });
        for (task, _) in waiting {
            self.report(host, Event::TaskFailed { attempt: task.attempt, failure: Failure::Killed });
        }
    }

    /// The task reads its input from the places that the hub named.
    pub(super) fn read(&mut self, host: usize, session: EngineId, attempt: AttemptId) {
        if !self.hosts[host].alive || self.hosts[host].session != session {
            return;
        }
        let Some(running) = self.hosts[host].running.get(&attempt) else { return };
        let name = who(&self.workload, &running.task);
        if running.task.partitions.iter().any(|partition| self.poison.contains(&(name, partition))) {
            return self.worker_dies(host);
        }
        let inputs = Rc::clone(&running.inputs);
        let (mut values, mut missed) = (Vec::new(), Vec::new());
        // Some readers stop at the first block that is missing, some look for all of them.
        let thorough = self.rng.chance(500);
        for (parent, places) in inputs.iter() {
            let mut of_parent = Vec::new();
            for (partition, &(engine, made_by)) in (0u32..).zip(places) {
                let flaky = self.now < self.faults.end && self.rng.chance(self.faults.fetch_per_mille);
                match self.fetch(host, engine, made_by, partition).filter(|_| !flaky) {
                    Some(value) => of_parent.push(value),
                    None if missed.is_empty() || thorough => {
                        let at = Some(BlockLocation { made_by, engine });
                        missed.push(FetchFailure { output: output(*parent), partition, at });
                    }
                    None => {}
                }
            }
            values.push(of_parent);
        }
        if !missed.is_empty() {
            self.outcome.fetches_failed += 1;
            self.outcome.lost_together += u64::from(missed.len() > 1);
            self.hosts[host].running.remove(&attempt);
            self.report(host, Event::TaskFailed { attempt, failure: Failure::Fetch(missed) });
            return self.begin_tasks(host);
        }
        if let Some(running) = self.hosts[host].running.get_mut(&attempt) {
            running.read = Some(values);
        }
        let slow = if self.rng.chance(self.faults.slow_per_mille) { 10 } else { 1 };
        let later = slow * self.rng.within(MS, 30 * MS);
        self.after(later, Happening::Finish(host, session, attempt));
    }

    /// A block that was to be copied here has arrived, or cannot arrive.
    pub(super) fn fetched(&mut self, host: usize, generation: u32, what: Move) {
        let engine = &self.hosts[host];
        if !engine.alive || engine.session != what.to || engine.generation != generation {
            return;
        }
        let flaky = self.now < self.faults.end && self.rng.chance(self.faults.fetch_per_mille);
        let there = what.partitions.iter().all(|p| self.fetch(host, what.from, what.made_by, p).is_some()) && !flaky;
        let holder = self.hosts.iter().find(|other| other.alive && other.session == what.from);
        let block = holder.and_then(|holder| holder.blocks.get(&what.made_by)).filter(|_| there).cloned();
        let event = match block {
            Some(block) => {
                self.hosts[host].blocks.insert(what.made_by, block);
                self.outcome.blocks_moved += 1;
                Event::BlockMoved(what)
            }
            None => {
                self.outcome.moves_failed += 1;
                Event::MoveFailed(what)
            }
        };
        self.report(host, event);
    }

    fn fetch(&self, reader: usize, engine: EngineId, made_by: AttemptId, partition: u32) -> Option<u64> {
        let holder = self.hosts.iter().position(|host| host.alive && host.session == engine)?;
        let far = holder != reader;
        if far && (self.faults.is_cut(self.now, holder) || self.faults.is_cut(self.now, reader)) {
            return None;
        }
        self.hosts[holder].blocks.get(&made_by)?.values.get(&partition).copied()
    }

    pub(super) fn finish(&mut self, host: usize, session: EngineId, attempt: AttemptId) {
        if !self.hosts[host].alive || self.hosts[host].session != session {
            return;
        }
        let Some(Running { task, inputs, read }) = self.hosts[host].running.remove(&attempt) else { return };
        let name = who(&self.workload, &task);
        for partition in task.partitions.iter() {
            let Some(left) = self.errors_left.get_mut(&(name, partition)).filter(|left| **left > 0) else { continue };
            *left -= 1;
            self.outcome.user_errors += 1;
            let error = format!("error {left} at partition {partition} of {name}");
            self.report(host, Event::TaskFailed { attempt, failure: Failure::User(error) });
            return self.begin_tasks(host);
        }
        let read = read.unwrap_or_default();
        let stage = made_output(name).map(|output| &self.workload.pool[output.0 as usize]);
        let salt = if stage.is_some_and(|stage| stage.fickle) { attempt.0 << 8 } else { 0 };
        let mut values = BTreeMap::new();
        for partition in task.partitions.iter() {
            let right = compute(name, partition, read.iter().flatten());
            let wrong = u64::from(self.bug == Some(Bug::WrongValue) && attempt.sequence().is_multiple_of(3));
            self.outcome.planted += wrong;
            values.insert(partition, if salt == 0 { right ^ wrong } else { mix(right, salt) });
        }
        let size = |value: &u64| if stage.is_some() { value % 50 } else { 8 };
        let partitions = values.values().map(|v| PartitionReport { bytes: size(v), rows: 1, checksum: *v }).collect();
        let buckets = stage.map_or(0, |stage| u64::from(stage.buckets));
        let bucket_bytes = (0..buckets).map(|bucket| mix(bucket, attempt.0) % 64).collect();
        let report = Report { partitions, bucket_bytes };
        if let Some(output) = made_output(name) {
            let report = report.clone();
            self.hosts[host].blocks.insert(attempt, Block { output, values: values.clone(), report });
        }
        self.checkers.computed(attempt, name, values, inputs);
        self.report(host, Event::TaskDone { attempt, report });
        self.begin_tasks(host);
    }
}
