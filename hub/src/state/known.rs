//! What the hub knows of codes, outputs and caches: which codes engines need, and which engine has what.

use crate::journal::Remembered;
use std::collections::BTreeMap;
use tryworks_base::Error;
use tryworks_base::ids::{EngineId, GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_protocol::engine::{CodeBytes, CodeId, HeldResult};
use tryworks_scheduler::{KnownBlock, Scheduler};

/// The code of a stage, for the jobs that run it.
pub(crate) struct StageCode {
    pub(crate) bytes: CodeBytes,
    /// How many jobs name it and have not ended.
    pub(crate) users: u32,
    /// Whether the driver still holds the exchange whose output the stage makes.
    pub(crate) held: bool,
}

/// What survives of an output from before a restart.
#[derive(Default)]
pub(crate) struct Found {
    /// The blocks that engines have.
    pub(crate) blocks: Vec<KnownBlock>,
    /// What the journal remembers.
    pub(crate) remembered: Remembered,
}

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.remembered == Remembered::default()
    }
}

/// What engines offer after a restart of the hub or a reconnection, and what the journal remembers of it. It stays here
/// until a job names it.
#[derive(Default)]
pub(crate) struct Offered {
    pub(crate) outputs: BTreeMap<OutputId, Found>,
    /// Results whose jobs have not been submitted again yet.
    pub(crate) results: BTreeMap<JobId, Vec<(EngineId, HeldResult)>>,
}

/// What the hub knows of codes, outputs and caches.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) codes: BTreeMap<CodeId, StageCode>,
    /// How often the locations of an output's blocks have changed.
    pub(crate) moves: BTreeMap<OutputId, u64>,
    /// Why the latest attempt to read blocks of an output failed, as an engine reported it.
    pub(crate) unreadable: BTreeMap<OutputId, String>,
    /// For each cache, which engine keeps which partition.
    pub(crate) caches: BTreeMap<GlobalCacheId, BTreeMap<u32, EngineId>>,
    pub(crate) offered: Offered,
}

impl Known {
    /// Starts with what the journal remembers of outputs.
    pub(crate) fn recovered(outputs: BTreeMap<OutputId, Remembered>) -> Self {
        let found = |remembered| Found { remembered, ..Found::default() };
        let outputs = outputs.into_iter().map(|(id, output)| (id, found(output))).collect();
        Known { offered: Offered { outputs, ..Offered::default() }, ..Known::default() }
    }

    /// Notes that the locations of an output's blocks have changed.
    pub(crate) fn moved(&mut self, output: OutputId) {
        *self.moves.entry(output).or_default() += 1;
    }

    /// The caches of a session that have any partition in memory.
    pub(crate) fn caches_of(&self, session: SessionId) -> Vec<GlobalCacheId> {
        let own = self.caches.range(session.caches());
        own.map(|(cache, _)| *cache).collect()
    }

    /// Forgets the partitions that an engine cached, for one session or for all. Returns the caches that lost
    /// partitions.
    pub(crate) fn lose_caches(&mut self, id: EngineId, session: Option<SessionId>) -> Vec<GlobalCacheId> {
        let mut lost = Vec::new();
        for (cache, kept) in &mut self.caches {
            if session.is_some_and(|session| cache.session() != session) {
                continue;
            }
            let before = kept.len();
            kept.retain(|_, engine| *engine != id);
            if kept.len() < before {
                lost.push(*cache);
            }
        }
        lost
    }

    /// Forgets what a lost engine had offered.
    pub(crate) fn lose_offers(&mut self, id: EngineId) {
        for found in self.offered.outputs.values_mut() {
            found.blocks.retain(|block| block.engine != id);
        }
        self.offered.outputs.retain(|_, found| !found.is_empty());
        for results in self.offered.results.values_mut() {
            results.retain(|(engine, _)| *engine != id);
        }
        self.offered.results.retain(|_, results| !results.is_empty());
    }

    /// Counts the blocks that are lost with an engine, by session, and notes that their outputs have moved.
    pub(crate) fn lose_blocks(&mut self, id: EngineId, scheduler: &Scheduler<Error>) -> BTreeMap<SessionId, usize> {
        let mut lost = BTreeMap::new();
        let outputs = self.codes.keys().filter_map(|code| if let CodeId::Output(o) = code { Some(*o) } else { None });
        for output in outputs.collect::<Vec<_>>() {
            let places = scheduler.places(output).iter();
            let there = places.filter(|place| place.location().is_some_and(|at| at.engine == id)).count();
            if there > 0 {
                self.moved(output);
                *lost.entry(output.session()).or_default() += there;
            }
        }
        lost
    }

    /// Forgets what a session that has ended left behind.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        self.offered.results.retain(|_, results| {
            results.retain(|(_, held)| held.session != id);
            !results.is_empty()
        });
        for cache in self.caches_of(id) {
            self.caches.remove(&cache);
        }
    }
}
