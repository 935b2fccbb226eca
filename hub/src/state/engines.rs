//! The connected engines, and those that are expected back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::ids::{EngineId, OutputId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::HostInfo;
use tryworks_protocol::engine::{CodeId, StorePlace};
use tryworks_scheduler::{Gate, Time};
use tryworks_transport::PeerId;

/// A connected engine.
pub(crate) struct Engine {
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    pub(crate) host: HostInfo,
    pub(crate) slots: u32,
    pub(crate) memory: u64,
    pub(crate) store: StorePlace,
    /// When the engine last said something.
    pub(crate) heard: Time,
    pub(crate) resident: u64,
    pub(crate) blocks: u64,
    pub(crate) gate: Gate,
    /// None of its blocks is needed any more. It leaves when no driver needs the results that it holds.
    pub(crate) drained: bool,
    /// The moving average of how long its tasks take, in microseconds. From it follows the next field: how many tasks
    /// the engine may hold beyond its slots.
    pub(crate) task_micros: u64,
    pub(crate) prefetch: u32,
    /// What the hub has already sent to this engine: sessions, codes, and the addresses of other engines.
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) codes: BTreeSet<CodeId>,
    pub(crate) peers: BTreeSet<EngineId>,
    pub(crate) places: BTreeMap<OutputId, u64>,
}

/// How long the tasks that an engine holds in advance should last, in microseconds.
const AHEAD_MICROS: u64 = 4000;
/// The most tasks an engine holds in advance, for each slot.
const MOST_AHEAD: u64 = 128;

impl Engine {
    /// Notes how long a task took. An engine should hold enough tasks to stay busy until the hub answers. Returns the
    /// new number of tasks to hold in advance if it changes.
    pub(crate) fn pace(&mut self, micros: u64) -> Option<u32> {
        self.task_micros = (self.task_micros * 7 + micros) / 8;
        let ahead = (AHEAD_MICROS / self.task_micros.max(1)).clamp(1, MOST_AHEAD) as u32;
        let prefetch = ahead.saturating_mul(self.slots);
        // Small changes are not worth an event.
        let changes = prefetch > self.prefetch * 2 || prefetch < self.prefetch.div_ceil(2);
        changes.then(|| {
            self.prefetch = prefetch;
            prefetch
        })
    }
}

/// The engines.
#[derive(Default)]
pub(crate) struct Engines {
    pub(crate) all: BTreeMap<EngineId, Engine>,
    pub(crate) by_peer: BTreeMap<PeerId, EngineId>,
    /// The names of engines that were connected when the previous hub died and have not come back.
    pub(crate) awaited: BTreeSet<String>,
}

impl Engines {
    pub(crate) fn ids(&self) -> Vec<EngineId> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn add(&mut self, id: EngineId, engine: Engine) {
        self.awaited.remove(&engine.name);
        self.by_peer.insert(engine.peer, id);
        self.all.insert(id, engine);
    }

    pub(crate) fn remove(&mut self, id: EngineId) -> Option<Engine> {
        let engine = self.all.remove(&id)?;
        self.by_peer.remove(&engine.peer);
        Some(engine)
    }

    /// The engine of this name.
    pub(crate) fn named(&self, name: &str) -> Option<EngineId> {
        self.all.iter().find(|(_, engine)| engine.name == name).map(|(id, _)| *id)
    }

    /// The name of an engine and its machine, for people.
    pub(crate) fn name(&self, id: EngineId) -> String {
        match self.all.get(&id) {
            Some(engine) => format!("{} on {}", engine.name, engine.host.name),
            None => id.to_string(),
        }
    }

    /// Where the blocks of an engine can be fetched.
    ///
    /// # Errors
    /// If the engine is gone.
    pub(crate) fn store_of(&self, id: EngineId) -> Result<StorePlace> {
        let engine = self.all.get(&id).map(|engine| engine.store.clone());
        engine.ok_or_else(|| Error::Lost { what: format!("{id} is gone"), details: String::new() })
    }

    /// The engines that have said nothing for longer than `silence`.
    pub(crate) fn silent(&self, now: Time, silence: Duration) -> Vec<EngineId> {
        let silent = self.all.iter().filter(|(_, engine)| now.since(engine.heard) > silence);
        silent.map(|(id, _)| *id).collect()
    }

    /// A session is over: forgets which engines know it.
    pub(crate) fn forget_session(&mut self, id: SessionId) {
        for engine in self.all.values_mut() {
            engine.sessions.remove(&id);
        }
    }

    /// A code is no longer needed. Returns the engines that had it.
    pub(crate) fn forget_code(&mut self, code: CodeId) -> Vec<EngineId> {
        let had = self.all.iter_mut().filter_map(|(id, engine)| engine.codes.remove(&code).then_some(*id));
        had.collect()
    }

    /// An output is no longer needed.
    pub(crate) fn forget_places(&mut self, output: OutputId) {
        for engine in self.all.values_mut() {
            engine.places.remove(&output);
        }
    }
}
