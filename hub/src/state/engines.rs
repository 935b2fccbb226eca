//! The engines that are there, and those that are expected back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::ids::{EngineId, OutputId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::HostInfo;
use tryworks_protocol::engine::{CodeId, StorePlace};
use tryworks_scheduler::{Gate, Time};
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
    pub(crate) heard: Time,
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
    pub(crate) codes: BTreeSet<CodeId>,
    pub(crate) peers: BTreeSet<EngineId>,
    pub(crate) places: BTreeMap<OutputId, u64>,
}

/// The tasks that an engine holds in advance should last about so long.
const AHEAD_MICROS: u64 = 4000;
/// But for each slot there are no more than these.
const MOST_AHEAD: u64 = 128;

impl Engine {
    /// A task took so long: engines hold as many tasks in advance as last about as long as they would wait for us. Gives
    /// how many that are from now on, if that changes.
    pub(crate) fn pace(&mut self, micros: u64) -> Option<u32> {
        self.task_micros = (self.task_micros * 7 + micros) / 8;
        let ahead = (AHEAD_MICROS / self.task_micros.max(1)).clamp(1, MOST_AHEAD) as u32;
        let prefetch = ahead.saturating_mul(self.slots);
        // Not for every little change.
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
    /// The names of engines that were there when the hub before this one died, and that have not come back.
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

    /// An engine in words.
    pub(crate) fn name(&self, id: EngineId) -> String {
        match self.all.get(&id) {
            Some(engine) => format!("{} on {}", engine.name, engine.host.name),
            None => id.to_string(),
        }
    }

    /// How the blocks of an engine are reached.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn store_of(&self, id: EngineId) -> Result<StorePlace> {
        let engine = self.all.get(&id).map(|engine| engine.store.clone());
        engine.ok_or_else(|| Error::Lost { what: format!("{id} is gone"), details: String::new() })
    }

    /// Those that have said nothing for longer than this.
    pub(crate) fn silent(&self, now: Time, silence: Duration) -> Vec<EngineId> {
        let silent = self.all.iter().filter(|(_, engine)| now.since(engine.heard) > silence);
        silent.map(|(id, _)| *id).collect()
    }

    /// A session is over: nobody was told of it.
    pub(crate) fn forget_session(&mut self, id: SessionId) {
        for engine in self.all.values_mut() {
            engine.sessions.remove(&id);
        }
    }

    /// A code is not needed any more. Gives who had it.
    pub(crate) fn forget_code(&mut self, code: CodeId) -> Vec<EngineId> {
        let had = self.all.iter_mut().filter_map(|(id, engine)| engine.codes.remove(&code).then_some(*id));
        had.collect()
    }

    /// An output is not needed any more.
    pub(crate) fn forget_places(&mut self, output: OutputId) {
        for engine in self.all.values_mut() {
            engine.places.remove(&output);
        }
    }
}
