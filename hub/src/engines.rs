//! The registry of engines: who joins, what each says, and who is lost.

use crate::hub::Hub;
use crate::journal::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};
use tryworks_base::home::check_label;
use tryworks_base::ids::{EngineId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{CodeId, FromEngine, HeldBlock, Offer, StorePlace, ToEngine, Welcome};
use tryworks_protocol::{Hello, HostInfo, Purpose, decode, refusal, welcome};
use tryworks_scheduler::{Event, Failure, Gate, KnownBlock};
use tryworks_transport::PeerId;

/// An engine that is there.
pub(crate) struct Engine {
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    pub(crate) host: HostInfo,
    pub(crate) slots: u32,
    pub(crate) memory: u64,
    pub(crate) store: StorePlace,
    /// When it was heard last.
    pub(crate) heard: Instant,
    pub(crate) resident: u64,
    pub(crate) blocks: u64,
    pub(crate) gate: Gate,
    /// Nothing more is needed of its blocks: it goes once nobody waits for results that it has.
    pub(crate) drained: bool,
    /// About how long its tasks take, in microseconds, and how many it may hold beyond its slots therefore.
    pub(crate) task_micros: u64,
    pub(crate) prefetch: u32,
    /// What it was told already.
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) codes: HashSet<CodeId>,
    pub(crate) peers: HashSet<EngineId>,
    pub(crate) places: HashMap<OutputId, u64>,
}

/// How often engines say that they are there, at least.
const BEAT: Duration = Duration::from_secs(1);
/// An engine on which the workers of a session do not start gets none of its tasks for so long.
const UNFIT: Duration = Duration::from_secs(60);
/// The tasks that an engine holds in advance should last about so long.
const AHEAD_MICROS: u64 = 4000;
/// But for each slot there are no more than these.
const MOST_AHEAD: u64 = 128;

impl Hub {
    /// A message on the socket of engines.
    pub(crate) fn hear_engine(&mut self, peer: PeerId, bytes: &[u8]) {
        let Some(&id) = self.engine_peers.get(&peer) else { return self.greet_engine(peer, bytes) };
        match decode::<FromEngine>(bytes) {
            Ok(batch) => {
                if let Some(engine) = self.engines.get_mut(&id) {
                    engine.heard = Instant::now();
                }
                for message in batch {
                    // It may have been lost by what it said.
                    if self.engines.contains_key(&id) {
                        self.engine_says(id, message);
                    }
                }
            }
            Err(error) => self.lose_engine(id, &format!("it sent what cannot be read: {error}")),
        }
    }

    fn greet_engine(&mut self, peer: PeerId, bytes: &[u8]) {
        let hello = match Hello::from_bytes(bytes, env!("CARGO_PKG_VERSION")) {
            Ok(hello) => hello,
            Err(why) => return self.refuse_engine(peer, &why),
        };
        let Purpose::Serve(offer) = hello.purpose else {
            return self.refuse_engine(peer, "this is the socket of engines, and you are none");
        };
        if let Err(unfit) = check_label("an engine", &offer.name) {
            return self.refuse_engine(peer, &unfit.to_string());
        }
        // The same engine, by a new connection: the old one is over, whether or not anybody noticed.
        let before = self.engines.iter().find(|(_, engine)| engine.name == offer.name).map(|(id, _)| *id);
        if let Some(before) = before {
            if self.engines[&before].store.key != offer.store.key {
                let why = format!("there is an engine `{}` already; give this one another name", offer.name);
                return self.refuse_engine(peer, &why);
            }
            self.lose_engine(before, "it connected again");
            self.settle();
        }
        let id = match self.memory.journal.next_engine() {
            Ok(id) => id,
            Err(error) => return self.refuse_engine(peer, &error.to_string()),
        };
        let beat_ms = BEAT.min(self.limits.engine_silence / 4).as_millis() as u32;
        match welcome(&Welcome { engine: id, beat_ms }) {
            Ok(answer) => self.to_engines.push((peer, answer)),
            Err(error) => return self.refuse_engine(peer, &error.to_string()),
        }
        let Offer { name, slots, memory, store, held, results, sessions, kept } = *offer;
        self.awaited.remove(&name);
        self.memory.journal.note(Entry::EngineJoined { name: name.clone() });
        let engine = Engine {
            peer,
            name,
            host: hello.host,
            slots,
            memory,
            store,
            heard: Instant::now(),
            resident: 0,
            blocks: 0,
            gate: Gate::Open,
            drained: false,
            task_micros: 0,
            prefetch: 0,
            sessions: BTreeSet::new(),
            codes: HashSet::new(),
            peers: HashSet::new(),
            places: HashMap::new(),
        };
        self.engine_peers.insert(peer, id);
        self.engines.insert(id, engine);
        self.events.push(Event::EngineJoined { engine: id, slots });
        // What was left of sessions that are over is deleted with them.
        let known = |held: &HeldBlock| self.sessions.contains_key(&SessionId::split(held.output.0).0);
        let held: Vec<_> = held.into_iter().filter(known).collect();
        let making = self.making(&held.iter().map(|held| held.output).collect());
        for held in held {
            let (output, attempt) = (held.output, held.attempt);
            let block = KnownBlock { engine: id, made_by: attempt, partitions: held.partitions, report: held.report };
            self.offer_block(output, block, making.get(&output));
        }
        results.into_iter().for_each(|held| self.offer_result(id, held));
        for session in sessions {
            if !self.sessions.contains_key(&session) {
                self.tell_engine(id, ToEngine::EndSession { session });
            }
        }
        self.kept(id, kept);
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.introduce(id, session));
    }

    fn refuse_engine(&mut self, peer: PeerId, why: &str) {
        self.to_engines.push((peer, refusal(why)));
        self.hang_up_engines.push(peer);
    }

    /// Tells an engine of a session, so that it may get a worker ready.
    pub(crate) fn introduce(&mut self, engine: EngineId, id: SessionId) {
        let Some((session, program)) =
            self.sessions.get(&id).and_then(|session| Some((session, session.program.as_deref()?)))
        else {
            return;
        };
        let program = Box::new(program.clone());
        let (host, address) = (session.host.clone(), self.data_address.clone());
        if self.engines.get_mut(&engine).is_some_and(|engine| engine.sessions.insert(id)) {
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
                self.caches_lost(id, Some(session));
                let text = format!("a worker died: {error}");
                self.tell_driver(session, ToDriver::Notice(text));
                for attempt in waiting {
                    self.task_failed(id, attempt, Failure::Killed, (0, 0));
                }
                suspects.iter().for_each(|attempt| drop(self.launched.remove(attempt)));
                self.jobs.stir_session(session);
                self.events.push(Event::WorkerDied { engine: id, suspects, error });
            }
            FromEngine::CannotWork { session, error } => self.cannot_work(id, session, &error),
            FromEngine::Lost { output, partition, attempt } => {
                self.moved(output);
                self.events.push(Event::BlockLost { engine: id, output, partition, made_by: attempt });
            }
            FromEngine::Unreadable { output, why } => drop(self.unreadable.insert(output, why)),
            FromEngine::Moved { what, here } => {
                self.moved(what.output);
                self.events.push(if here { Event::BlockMoved(what) } else { Event::MoveFailed(what) });
            }
            FromEngine::Wrote { session, written } => {
                self.log(id, session, &written);
                if self.is_connected(session) {
                    self.show(session, written);
                } else {
                    self.heard(session, written.heard());
                }
            }
            FromEngine::Beat { resident, blocks, short } => {
                if let Some(engine) = self.engines.get_mut(&id) {
                    (engine.resident, engine.blocks) = (resident, blocks);
                    let gate = if short { Gate::Memory } else { Gate::Open };
                    if engine.gate != gate && engine.gate != Gate::Draining {
                        engine.gate = gate;
                        self.events.push(Event::EngineGate { engine: id, gate });
                    }
                }
            }
            FromEngine::Leaving => self.lose_engine(id, "it was told to end"),
        }
    }

    pub(crate) fn engine_name(&self, id: EngineId) -> String {
        match self.engines.get(&id) {
            Some(engine) => format!("{} on {}", engine.name, engine.host.name),
            None => id.to_string(),
        }
    }

    /// The connection of an engine ended.
    pub(crate) fn engine_gone(&mut self, peer: PeerId, why: &str) {
        if let Some(id) = self.engine_peers.get(&peer) {
            self.lose_engine(*id, why);
        }
    }

    pub(crate) fn lose_silent_engines(&mut self) {
        let silence = self.limits.engine_silence;
        let silent = self.engines.iter().filter(|(_, engine)| engine.heard.elapsed() > silence);
        let silent: Vec<_> = silent.map(|(id, _)| *id).collect();
        silent.into_iter().for_each(|id| self.lose_engine(id, &format!("nothing was heard of it for {silence:?}")));
    }

    /// A task took so long: engines hold as many tasks in advance as last about as long as they would wait for us.
    pub(crate) fn pace(&mut self, id: EngineId, micros: u64) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        engine.task_micros = (engine.task_micros * 7 + micros) / 8;
        let ahead = (AHEAD_MICROS / engine.task_micros.max(1)).clamp(1, MOST_AHEAD) as u32;
        let prefetch = ahead.saturating_mul(engine.slots);
        // Not for every little change.
        if prefetch > engine.prefetch * 2 || prefetch < engine.prefetch.div_ceil(2) {
            engine.prefetch = prefetch;
            self.events.push(Event::EnginePrefetch { engine: id, prefetch });
        }
    }

    /// Lets engines go that were asked to and have nothing more that anybody needs.
    pub(crate) fn dismiss_drained(&mut self) {
        let needed =
            |id: &EngineId| self.jobs.values().any(|job| job.delivered.values().any(|(engine, _)| engine == id));
        let drained = self.engines.iter().filter(|(id, engine)| engine.drained && !needed(id));
        let drained: Vec<_> = drained.map(|(id, _)| *id).collect();
        drained.into_iter().for_each(|id| self.tell_engine(id, ToEngine::Leave));
    }

    /// An engine is not there any more, and all that it had is lost.
    pub(crate) fn lose_engine(&mut self, id: EngineId, why: &str) {
        self.caches_lost(id, None);
        let name = self.engine_name(id);
        let Some(engine) = self.engines.remove(&id) else { return };
        self.engine_peers.remove(&engine.peer);
        self.for_engines.remove(&id);
        self.hang_up_engines.push(engine.peer);
        self.memory.journal.note(Entry::EngineLost { name: engine.name });
        for found in self.offered.outputs.values_mut() {
            found.blocks.retain(|block| block.engine != id);
        }
        self.offered.outputs.retain(|_, found| !found.is_empty());
        for results in self.offered.results.values_mut() {
            results.retain(|(engine, _)| *engine != id);
        }
        self.offered.results.retain(|_, results| !results.is_empty());
        for job in self.jobs.values_mut().filter(|job| job.detached.is_some()) {
            job.delivered.retain(|_, (engine, _)| *engine != id);
        }
        // What it had, as long as the scheduler knows it.
        let mut losses = HashMap::<SessionId, (usize, usize)>::new();
        for (attempt, launched) in &self.launched {
            if launched.engine == id {
                losses.entry(launched.session).or_default().0 += 1;
                self.reported.remove(attempt);
            }
        }
        let outputs = self.codes.keys().filter_map(|code| if let CodeId::Output(o) = code { Some(*o) } else { None });
        for output in outputs.collect::<Vec<_>>() {
            let lost = self.scheduler.places(output).iter().filter(|place| place.exists() && place.engine == id);
            let lost = lost.count();
            if lost > 0 {
                self.moved(output);
                losses.entry(SessionId::split(output.0).0).or_default().1 += lost;
            }
        }
        let lost = self.launched.extract_if(|_, launched| launched.engine == id);
        let sessions: BTreeSet<_> = lost.map(|(_, launched)| launched.session).collect();
        sessions.into_iter().for_each(|session| self.jobs.stir_session(session));
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            let (tasks, blocks) = losses.get(&session).copied().unwrap_or_default();
            if tasks + blocks > 0 {
                let text = format!(
                    "{name} was lost ({why}): {tasks} tasks that it had run again, {blocks} map outputs that it held \
                     are made again where they are still needed"
                );
                self.tell_driver(session, ToDriver::Notice(text));
            }
        }
        let error = Error::Lost { what: format!("{name} was lost: {why}"), details: String::new() };
        self.events.push(Event::EngineLost { engine: id, error });
        if self.engines.is_empty() {
            let waiting = self.jobs.iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id);
            waiting.collect::<Vec<_>>().into_iter().for_each(|job| self.tell_of_no_engine(job));
        }
    }

    /// Tells the driver of a job that it waits for an engine.
    pub(crate) fn tell_of_no_engine(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let grace = job.spec.limits.no_engine_grace;
        let text = format!("there is no engine: {id} waits for one, for {grace:?} at most ({})", job.spec.label);
        self.tell_job(id, |_| ToDriver::Notice(text.clone()));
    }

    fn kept(&mut self, id: EngineId, kept: Vec<(u64, u32)>) {
        let mut told = BTreeSet::new();
        let known = |cache: u64| self.sessions.contains_key(&SessionId::split(cache).0);
        for (cache, partition) in kept.into_iter().filter(|(cache, _)| known(*cache)) {
            self.caches.entry(cache).or_default().insert(partition, id);
            told.insert(cache);
        }
        told.into_iter().for_each(|cache| self.tell_cached(cache));
    }

    fn tell_cached(&mut self, cache: u64) {
        let partitions = self.caches.get(&cache).map_or(0, |kept| kept.len() as u32);
        self.tell_driver(SessionId::split(cache).0, ToDriver::Cached { cache, partitions });
    }

    /// Tells a driver of all that is kept of its caches.
    pub(crate) fn tell_all_cached(&mut self, session: SessionId) {
        let own = self.caches.range(session.global(0)..=session.global(u64::MAX)).map(|(cache, _)| *cache);
        own.collect::<Vec<_>>().into_iter().for_each(|cache| self.tell_cached(cache));
    }

    /// What an engine kept, of one session or of all, is not kept any more.
    fn caches_lost(&mut self, id: EngineId, session: Option<SessionId>) {
        let mut told = Vec::new();
        for (cache, kept) in &mut self.caches {
            if session.is_some_and(|session| SessionId::split(*cache).0 != session) {
                continue;
            }
            let before = kept.len();
            kept.retain(|_, engine| *engine != id);
            if kept.len() < before {
                told.push(*cache);
            }
        }
        told.into_iter().for_each(|cache| self.tell_cached(cache));
    }

    /// Workers of a session do not start on an engine: others have to do without it, as long as there are any.
    fn cannot_work(&mut self, id: EngineId, session: SessionId, error: &Error) {
        let name = self.engine_name(id);
        if self.engines.len() > 1 {
            let text = format!(
                "the program does not start on {name}, where it will be tried again after {UNFIT:?}; its tasks go to \
                 other engines: {error}"
            );
            self.tell_driver(session, ToDriver::Notice(text));
        }
        let error = Error::Lost { what: format!("the program does not start on {name}"), details: error.to_string() };
        self.events.push(Event::EngineUnfit { engine: id, program: session.0.into(), error, lasts: UNFIT });
    }

    /// Where an output's blocks are has changed.
    pub(crate) fn moved(&mut self, output: OutputId) {
        *self.moves.entry(output).or_default() += 1;
    }

    /// A result where it is, for an error that names it.
    pub(crate) fn store_of(&self, id: EngineId) -> Result<StorePlace> {
        let engine = self.engines.get(&id).map(|engine| engine.store.clone());
        engine.ok_or_else(|| Error::Lost { what: format!("{id} is gone"), details: String::new() })
    }
}
