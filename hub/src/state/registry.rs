//! Engines: how they join, what they say, and how they are lost.

use super::Hub;
use super::engines::Engine;
use crate::journal::{Counter, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::Error;
use tryworks_base::home::check_label;
use tryworks_base::ids::{EngineId, GlobalCacheId, JobId, SessionId};
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{FromEngine, HeldBlock, Offer, ToEngine, Welcome};
use tryworks_protocol::{Hello, Purpose, decode, refusal, welcome};
use tryworks_scheduler::{Event, Failure, Gate, KnownBlock};
use tryworks_transport::PeerId;

/// The longest time between two beats of an engine.
const BEAT: Duration = Duration::from_secs(1);
/// An engine on which a session's workers do not start gets none of its tasks for this long.
const UNFIT: Duration = Duration::from_secs(60);

impl Hub {
    pub(crate) fn engine_says_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        let Some(&id) = self.engines.by_peer.get(&peer) else {
            // An engine that was given up may send messages until the hub closes its connection.
            if !self.out.hang_up_engines.contains(&peer) {
                self.greet_engine(peer, bytes);
            }
            return;
        };
        match decode::<FromEngine>(bytes) {
            Ok(batch) => {
                if let Some(engine) = self.engines.all.get_mut(&id) {
                    engine.heard = self.now;
                }
                for message in batch {
                    // An earlier message of the batch may have lost the engine.
                    if self.engines.all.contains_key(&id) {
                        self.engine_says(id, message);
                    }
                }
            }
            Err(error) => self.lose_engine(id, &format!("it sent a message that cannot be read: {error}")),
        }
    }

    fn greet_engine(&mut self, peer: PeerId, bytes: &[u8]) {
        let hello = match Hello::from_bytes(bytes, env!("CARGO_PKG_VERSION")) {
            Ok(hello) => hello,
            Err(why) => return self.refuse_engine(peer, &why),
        };
        let Purpose::Serve(offer) = hello.purpose else {
            return self.refuse_engine(peer, "this is the socket of engines, and you are not an engine");
        };
        if let Err(unfit) = check_label("an engine", &offer.name) {
            return self.refuse_engine(peer, &unfit.to_string());
        }
        // The same name and key mean the same engine on a new connection. Its old connection is over, even if nobody
        // noticed its end.
        if let Some(before) = self.engines.named(&offer.name) {
            if self.engines.all[&before].store.key != offer.store.key {
                let why = format!("there is an engine `{}` already; give this one another name", offer.name);
                return self.refuse_engine(peer, &why);
            }
            self.lose_engine(before, "it connected again");
            self.settle();
        }
        let id = match self.next_short(Counter::Engines) {
            Ok(id) => EngineId(id),
            Err(error) => return self.refuse_engine(peer, &error.to_string()),
        };
        let beat_ms = BEAT.min(self.setup.limits.engine_silence / 4).as_millis() as u32;
        match welcome(&Welcome { engine: id, beat_ms }) {
            Ok(answer) => self.out.to_engines.push((peer, answer)),
            Err(error) => return self.refuse_engine(peer, &error.to_string()),
        }
        let Offer { name, slots, memory, store, held, results, sessions, kept } = *offer;
        self.out.note(Entry::EngineJoined { name: name.clone() });
        let engine = Engine {
            peer,
            name,
            host: hello.host,
            slots,
            memory,
            store,
            heard: self.now,
            resident: 0,
            blocks: 0,
            gate: Gate::Open,
            drained: false,
            task_micros: 0,
            prefetch: 0,
            sessions: BTreeSet::new(),
            codes: BTreeSet::new(),
            peers: BTreeSet::new(),
            places: BTreeMap::new(),
        };
        self.engines.add(id, engine);
        self.events.push(Event::EngineJoined { engine: id, slots });
        // Blocks of sessions that are over are deleted with their sessions.
        let known = |held: &HeldBlock| self.sessions.all.contains_key(&held.output.session());
        let held: Vec<_> = held.into_iter().filter(known).collect();
        let making = self.making(&held.iter().map(|held| held.output).collect());
        for held in held {
            let (output, attempt) = (held.output, held.attempt);
            // Its driver released it while the engine was away.
            if !self.may_name(output) {
                self.tell_engine(id, ToEngine::DeleteOutput { output });
                continue;
            }
            let block = KnownBlock { engine: id, made_by: attempt, partitions: held.partitions, report: held.report };
            self.offer_block(output, block, making.get(&output));
        }
        for held in results {
            self.offer_result(id, held);
        }
        for session in sessions {
            if !self.sessions.all.contains_key(&session) {
                self.tell_engine(id, ToEngine::EndSession { session });
            }
        }
        self.kept(id, kept);
        for session in self.sessions.ids() {
            self.introduce(id, session);
        }
    }

    fn refuse_engine(&mut self, peer: PeerId, why: &str) {
        self.out.dismiss_engine(peer, refusal(why));
    }

    /// Sends an engine what it needs to start a worker for a session.
    pub(crate) fn introduce(&mut self, engine: EngineId, id: SessionId) {
        let Some((session, program)) =
            self.sessions.all.get(&id).and_then(|session| Some((session, session.program.as_deref()?)))
        else {
            return;
        };
        let program = Box::new(program.clone());
        let (host, address) = (session.host.clone(), self.data_address.clone());
        if self.engines.all.get_mut(&engine).is_some_and(|engine| engine.sessions.insert(id)) {
            self.tell_engine(engine, ToEngine::Session { session: id, program, host, address });
        }
    }

    fn engine_says(&mut self, id: EngineId, message: FromEngine) {
        match message {
            FromEngine::Done { attempt, report, results, kept, span } => {
                self.kept(id, kept);
                self.task_done(id, attempt, report, results, span);
            }
            FromEngine::Failed { attempt, failure, span } => self.task_failed(id, attempt, failure, span),
            FromEngine::WorkerDied { session, suspects, waiting, error } => {
                for cache in self.known.lose_caches(id, Some(session)) {
                    self.tell_cached(cache);
                }
                let text = format!("a worker died: {error}");
                self.tell_driver(session, ToDriver::Notice(text));
                let at = self.clock();
                for attempt in waiting {
                    self.task_failed(id, attempt, Failure::Killed, (at, at));
                }
                // When these attempts began is unknown, so the time of the report stands for both ends.
                for attempt in &suspects {
                    if let Some(launched) = self.launches.report(*attempt, id) {
                        self.note_task(&launched, *attempt, (at, at), Err(&Failure::User(error.clone())));
                    }
                }
                self.jobs.stir_session(session);
                self.events.push(Event::WorkerDied { engine: id, suspects, error });
            }
            FromEngine::CannotWork { session, error } => self.cannot_work(id, session, &error),
            FromEngine::Lost { output, partition, attempt } => {
                self.known.moved(output);
                self.events.push(Event::BlockLost { engine: id, output, partition, made_by: attempt });
            }
            FromEngine::Unreadable { output, why } => drop(self.known.unreadable.insert(output, why)),
            FromEngine::Moved { what, here } => {
                self.known.moved(what.output);
                self.events.push(if here { Event::BlockMoved(what) } else { Event::MoveFailed(what) });
            }
            FromEngine::Wrote { session, written } => {
                self.log(id, session, &written);
                if self.sessions.is_connected(session) {
                    self.show(session, written);
                } else {
                    self.heard(session, written.heard());
                }
            }
            FromEngine::Beat { resident, blocks, short } => {
                if let Some(engine) = self.engines.all.get_mut(&id) {
                    (engine.resident, engine.blocks) = (resident, blocks);
                    let gate = if short { Gate::Memory } else { Gate::Open };
                    // An engine that leaves takes no tasks, even when its memory allows more.
                    if engine.gate != gate && engine.gate != Gate::Draining {
                        engine.gate = gate;
                        self.events.push(Event::EngineGate { engine: id, gate });
                    }
                }
            }
            FromEngine::Leaving => self.lose_engine(id, "it was asked to stop"),
        }
    }

    pub(crate) fn lose_silent_engines(&mut self) {
        let silence = self.setup.limits.engine_silence;
        let silent = self.engines.silent(self.now, silence);
        for id in silent {
            self.lose_engine(id, &format!("nothing was heard of it for {silence:?}"));
        }
    }

    /// Notes how long a task took.
    pub(crate) fn pace(&mut self, id: EngineId, micros: u64) {
        if let Some(prefetch) = self.engines.all.get_mut(&id).and_then(|engine| engine.pace(micros)) {
            self.events.push(Event::EnginePrefetch { engine: id, prefetch });
        }
    }

    /// Dismisses the engines that are drained, unless they hold results that a driver still needs.
    pub(crate) fn dismiss_drained(&mut self) {
        let needed =
            |id: &EngineId| self.jobs.values().any(|job| job.delivered.values().any(|(engine, _)| engine == id));
        let drained = self.engines.all.iter().filter(|(id, engine)| engine.drained && !needed(id));
        let drained: Vec<_> = drained.map(|(id, _)| *id).collect();
        for id in drained {
            self.tell_engine(id, ToEngine::Leave);
        }
    }

    /// Tells the drivers of a job that it waits for an engine.
    pub(crate) fn tell_of_no_engine(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let grace = job.spec.limits.no_engine_grace;
        let text = format!("there is no engine: {id} waits for one, for {grace:?} at most ({})", job.spec.label);
        self.tell_job(id, |_| ToDriver::Notice(text.clone()));
    }

    fn kept(&mut self, id: EngineId, kept: Vec<(GlobalCacheId, u32)>) {
        let mut caches = BTreeSet::new();
        let known = |cache: GlobalCacheId| self.sessions.all.contains_key(&cache.session());
        for (cache, partition) in kept.into_iter().filter(|(cache, _)| known(*cache)) {
            self.known.caches.entry(cache).or_default().insert(partition, id);
            caches.insert(cache);
        }
        for cache in caches {
            self.tell_cached(cache);
        }
    }

    pub(crate) fn tell_cached(&mut self, cache: GlobalCacheId) {
        let partitions = self.known.caches.get(&cache).map_or(0, |kept| kept.len() as u32);
        self.tell_driver(cache.session(), ToDriver::Cached { cache, partitions });
    }

    /// Tells a driver how much of each of its caches is in memory.
    pub(crate) fn tell_all_cached(&mut self, session: SessionId) {
        for cache in self.known.caches_of(session) {
            self.tell_cached(cache);
        }
    }

    /// An engine cannot start workers of a session. The scheduler gives the session's tasks to other engines, if there
    /// are any.
    fn cannot_work(&mut self, id: EngineId, session: SessionId, error: &Error) {
        let name = self.engines.name(id);
        if self.engines.all.len() > 1 {
            let text = format!(
                "the program does not start on {name}, where it will be tried again after {UNFIT:?}; its tasks go to \
                 other engines: {error}"
            );
            self.tell_driver(session, ToDriver::Notice(text));
        }
        let error = Error::Lost { what: format!("the program does not start on {name}"), details: error.to_string() };
        self.events.push(Event::EngineUnfit { engine: id, program: session.0.into(), error, lasts: UNFIT });
    }
}
