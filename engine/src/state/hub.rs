//! Messages from the hub, and what the engine sends to it: its offer, its beats, its recent output.

use super::{BlockOrder, Engine, Order, Session, TICK, Worker};
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::ids::{AttemptId, OutputId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::engine::{CodeBytes, FromEngine, HeldBlock, Offer, ToEngine, Welcome};
use tryworks_protocol::worker::ToWorker;
use tryworks_scheduler::{Move, Time};

/// Blocks that are being taken over.
pub(super) struct Moving {
    what: Move,
    /// Whether the blocks are still needed once they are here: the hub that asked for them is there, and did not delete
    /// them.
    wanted: bool,
    /// The hub that asked for them is gone, so the outcome is not reported.
    orphan: bool,
}

impl Moving {
    fn unwanted(&mut self) {
        self.wanted = false;
    }
}

impl Engine {
    /// What this engine offers a hub in its hello. What its tasks make between this call and [`joined`](Engine::joined)
    /// is missing in the offer, so that hub never learns of it.
    pub fn offer(&mut self) -> Offer {
        self.late.clear();
        self.has()
    }

    /// What the engine would offer now.
    #[must_use]
    pub fn has(&self) -> Offer {
        Offer {
            name: self.setup.name.clone(),
            slots: self.setup.slots,
            memory: self.setup.memory,
            store: self.setup.store.clone(),
            held: self.made.iter().cloned().collect(),
            results: self.results.values().cloned().collect(),
            sessions: self.known_sessions().into_iter().collect(),
            kept: self.sessions.values().flat_map(|session| session.kept.iter().copied()).collect(),
        }
    }

    /// The sessions of which this engine has a program, a block or a result.
    fn known_sessions(&self) -> BTreeSet<SessionId> {
        let results = self.results.values().map(|held| held.session);
        self.sessions.keys().copied().chain(self.made.sessions()).chain(results).collect()
    }

    /// A hub has accepted the [offer](Engine::offer). Tasks that an earlier hub launched are stopped, because no hub
    /// needs their reports. The new hub gives the engines new numbers.
    pub fn joined(&mut self, now: Time, welcome: &Welcome) {
        self.id = Some(welcome.engine);
        self.beat_every = Duration::from_millis(welcome.beat_ms.into());
        self.alone = None;
        self.for_hub.clear();
        // A driver that has this output already knows it by the offset.
        let again = self.recent.iter().cloned().map(|(session, written)| FromEngine::Wrote { session, written });
        self.for_hub.extend(again);
        self.stores.clear();
        self.places.clear();
        self.changed.clear();
        // The hub did not find it in the offer, and would never release it.
        for attempt in std::mem::take(&mut self.late) {
            self.made.remove(attempt);
            self.results.remove(&attempt);
            self.blocks(BlockOrder::Delete { attempt });
        }
        for adding in self.adding.values_mut() {
            adding.assigned.orphan = true;
        }
        for moving in self.moves.iter_mut() {
            (moving.wanted, moving.orphan) = (false, true);
        }
        let mut kill = Vec::new();
        for (number, worker) in &mut self.workers {
            worker.stores.clear();
            self.orders.push(Order::Unheard { worker: *number });
            for assigned in &mut worker.assigned {
                assigned.orphan = true;
                assigned.stopping.get_or_insert(now);
                kill.push((*number, assigned.attempt));
            }
        }
        for (worker, attempt) in kill {
            self.tell_worker(worker, ToWorker::Kill { attempt });
        }
    }

    /// A launch left blocks or results while there is no hub. Only the next offer can name them.
    pub(super) fn note_late(&mut self, attempt: AttemptId) {
        if self.alone.is_some() {
            self.late.insert(attempt);
        }
    }

    /// The connection to the hub was lost.
    pub fn hub_lost(&mut self, now: Time) {
        self.alone.get_or_insert(now);
    }

    /// An attempt to reach a hub failed.
    ///
    /// # Errors
    /// If there has been no hub for longer than the engine's patience: then the engine should end.
    pub fn without_hub(&self, now: Time, why: &str) -> Result<()> {
        let patience = self.setup.patience;
        match self.alone {
            Some(since) if now.since(since) > patience => {
                let what = format!("there was no hub for {patience:?}: {why}");
                Err(Error::cluster(what, "start the cluster again"))
            }
            _ => Ok(()),
        }
    }

    /// Takes in a message from the hub.
    pub fn hub_says(&mut self, now: Time, message: ToEngine) {
        match message {
            ToEngine::Session { session, program, host, address } => {
                match self.sessions.get_mut(&session) {
                    // A restarted hub may have another address.
                    Some(known) => known.address = address,
                    None => {
                        let kept = BTreeSet::new();
                        let known = Session { program, host, address, worker: None, failed_starts: 0, kept };
                        self.sessions.insert(session, known);
                    }
                }
                self.worker_of(now, session);
            }
            ToEngine::EndSession { session } => self.end_session(session),
            ToEngine::Code { session, code, bytes } => drop(self.codes.insert(code, (session, bytes))),
            ToEngine::ForgetCode { code } => {
                let gone = self.codes.remove(&code);
                if let Some((session, CodeBytes::AtHub { id, .. })) = gone
                    && !self
                        .codes
                        .values()
                        .any(|(_, other)| matches!(other, CodeBytes::AtHub { id: same, .. } if *same == id))
                {
                    self.orders.push(Order::DropFile { session, id });
                }
                let having: Vec<_> =
                    self.workers.iter_mut().filter_map(|(id, w)| w.codes.remove(&code).then_some(*id)).collect();
                for worker in having {
                    self.tell_worker(worker, ToWorker::ForgetCode { code });
                }
            }
            ToEngine::Peer { engine, store } => drop(self.stores.insert(engine, *store)),
            ToEngine::Places { output, places } => {
                self.forget_places(output);
                self.changes += 1;
                self.changed.insert(self.changes, output);
                self.places.insert(output, (self.changes, places));
            }
            ToEngine::Launch { tasks } => self.launch(now, tasks),
            ToEngine::Kill { attempt } => self.kill(now, attempt),
            ToEngine::Discard { attempt } => {
                self.made.remove(attempt);
                self.results.remove(&attempt);
                self.unwanted(|adding| adding.assigned.attempt == attempt);
                self.moves.iter_mut().filter(|moving| moving.what.made_by == attempt).for_each(Moving::unwanted);
                self.blocks(BlockOrder::Delete { attempt });
            }
            ToEngine::DeleteOutput { output } => {
                self.made.remove_output(output);
                self.forget_places(output);
                self.unwanted(|adding| adding.makes(output));
                self.moves.iter_mut().filter(|moving| moving.what.output == output).for_each(Moving::unwanted);
                self.blocks(BlockOrder::DeleteOutputs { outputs: output..=output });
                self.tell_session(output.session(), ToWorker::DeleteOutput { output });
            }
            ToEngine::DeleteCache { cache } => {
                let session = cache.session();
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.kept.retain(|(kept, _)| *kept != cache);
                }
                self.tell_session(session, ToWorker::DeleteCache { cache });
            }
            ToEngine::Received { attempts } => {
                for attempt in attempts {
                    if self.results.remove(&attempt).is_some() {
                        self.blocks(BlockOrder::Delete { attempt });
                    }
                }
            }
            ToEngine::Heard { session, run, stderr, offset } => {
                let worker = self.working_for(session).filter(|(_, known)| known.run == run);
                let heard = worker.map(|(worker, _)| Order::Heard { worker, stderr, offset });
                self.orders.extend(heard);
            }
            ToEngine::Unheard { session } => {
                let unheard = self.working_for(session).map(|(worker, _)| Order::Unheard { worker });
                self.orders.extend(unheard);
            }
            ToEngine::Move(what) => {
                let from = self.stores.get(&what.from).cloned();
                self.moves.push(Moving { what: what.clone(), wanted: true, orphan: false });
                self.orders.push(Order::TakeOver { what, from });
            }
            ToEngine::Leave => self.leave(),
        }
    }

    fn working_for(&self, session: SessionId) -> Option<(u64, &Worker)> {
        let worker = self.sessions.get(&session)?.worker?;
        Some((worker, self.workers.get(&worker)?))
    }

    fn tell_session(&mut self, session: SessionId, message: ToWorker) {
        if let Some(worker) = self.sessions.get(&session).and_then(|session| session.worker) {
            self.tell_worker(worker, message);
        }
    }

    fn forget_places(&mut self, output: OutputId) {
        if let Some((change, _)) = self.places.remove(&output) {
            self.changed.remove(&change);
        }
    }

    fn end_session(&mut self, id: SessionId) {
        if let Some(number) = self.sessions.remove(&id).and_then(|session| session.worker) {
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.ending = true;
            }
            self.orders.push(Order::Kill { worker: number });
        }
        self.orders.push(Order::DropFiles { session: id });
        self.recent.retain(|(session, _)| *session != id);
        self.recent_bytes = self.recent.iter().map(|(_, written)| written.size()).sum();
        self.codes.retain(|_, (session, _)| *session != id);
        let own = id.outputs();
        for (_, (change, _)) in self.places.extract_if(own.clone(), |_, _| true) {
            self.changed.remove(&change);
        }
        self.made.end_session(id);
        self.unwanted(|adding| adding.assigned.session == id);
        self.moves.iter_mut().filter(|moving| own.contains(&moving.what.output)).for_each(Moving::unwanted);
        // This includes blocks that no launch reported, such as those of a takeover that failed.
        self.blocks(BlockOrder::DeleteOutputs { outputs: own.clone() });
        let results: Vec<_> = self.results.extract_if(.., |_, held| held.session == id).collect();
        for (attempt, _) in results {
            self.blocks(BlockOrder::Delete { attempt });
        }
    }

    /// Sends the hub a beat when one is due.
    pub(super) fn beat_in_time(&mut self, now: Time) {
        if now.since(self.beaten) + TICK > self.beat_every {
            self.beaten = now;
            let beat = self.beat();
            self.for_hub.push(beat);
        }
    }

    /// Whether a beat is overdue. Then a [`tick`](Engine::tick) is more urgent than anything else.
    #[must_use]
    pub fn beat_is_due(&self, now: Time) -> bool {
        now.since(self.beaten) >= self.beat_every
    }

    fn beat(&mut self) -> FromEngine {
        let resident = self.workers.values().map(|worker| worker.resident).sum();
        // A worker keeps its memory while it is idle. If an idle engine counted as short of memory, it would never get
        // a task again. So it never counts as short, and gets one task at a time.
        self.short = resident > self.setup.memory && !self.is_idle();
        FromEngine::Beat { resident, blocks: self.stock.used, short: self.short }
    }

    /// Memory was short, and the engine is idle now: tells the hub at once that it can take a task.
    pub(super) fn tell_enough_memory(&mut self) {
        if self.short && self.is_idle() {
            let beat = self.beat();
            self.for_hub.push(beat);
        }
    }

    fn is_idle(&self) -> bool {
        self.workers.values().all(|worker| worker.assigned.is_empty())
    }

    /// Blocks were taken over, or could not be.
    pub fn took_over(&mut self, what: Move, held: Option<HeldBlock>) {
        let Some(at) = self.moves.iter().position(|moving| moving.what == what) else { return };
        let Moving { wanted, orphan, .. } = self.moves.remove(at);
        let here = wanted && held.is_some();
        match held {
            Some(held) if wanted => {
                self.note_late(held.attempt);
                self.made.insert(held);
            }
            Some(_) => self.blocks(BlockOrder::Delete { attempt: what.made_by }),
            None => {}
        }
        if !orphan {
            self.for_hub.push(FromEngine::Moved { what, here });
        }
    }
}
