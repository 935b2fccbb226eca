//! What is known of codes, outputs and caches: what engines were told to run, and who has what.

use super::outputs::Found;
use crate::journal::Remembered;
use std::collections::BTreeMap;
use tryworks_base::Error;
use tryworks_base::ids::{EngineId, JobId, OutputId, SessionId};
use tryworks_protocol::engine::{CodeBytes, CodeId, HeldResult};
use tryworks_scheduler::Scheduler;

/// The code of a stage.
pub(crate) struct StageCode {
    pub(crate) bytes: CodeBytes,
    /// Jobs that name it and have not ended.
    pub(crate) users: u32,
    /// The driver holds it still.
    pub(crate) held: bool,
}

/// What survives from before a hub restarted, or an engine connected again, until a job names it.
#[derive(Default)]
pub(crate) struct Offered {
    pub(crate) outputs: BTreeMap<OutputId, Found>,
    /// Results, until their job comes again.
    pub(crate) results: BTreeMap<JobId, Vec<(EngineId, HeldResult)>>,
}

/// What is known of codes, outputs and caches.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) codes: BTreeMap<CodeId, StageCode>,
    /// Counts the changes of where an output's blocks are.
    pub(crate) moves: BTreeMap<OutputId, u64>,
    /// Why blocks of an output could not be read, when that was tried last.
    pub(crate) unreadable: BTreeMap<OutputId, String>,
    /// Who keeps which partition of a cache.
    pub(crate) caches: BTreeMap<u64, BTreeMap<u32, EngineId>>,
    pub(crate) offered: Offered,
}

impl Known {
    /// What the journal remembers of outputs.
    pub(crate) fn recovered(outputs: BTreeMap<OutputId, Remembered>) -> Self {
        let found = |remembered| Found { remembered, ..Found::default() };
        let outputs = outputs.into_iter().map(|(id, output)| (id, found(output))).collect();
        Known { offered: Offered { outputs, ..Offered::default() }, ..Known::default() }
    }

    /// Where an output's blocks are has changed.
    pub(crate) fn moved(&mut self, output: OutputId) {
        *self.moves.entry(output).or_default() += 1;
    }

    /// The caches of a session of which anything is kept.
    pub(crate) fn caches_of(&self, session: SessionId) -> Vec<u64> {
        let own = self.caches.range(session.global(0)..=session.global(u64::MAX));
        own.map(|(cache, _)| *cache).collect()
    }

    /// What an engine kept, of one session or of all, is not kept any more. Gives the caches that lost something.
    pub(crate) fn lose_caches(&mut self, id: EngineId, session: Option<SessionId>) -> Vec<u64> {
        let mut lost = Vec::new();
        for (cache, kept) in &mut self.caches {
            if session.is_some_and(|session| SessionId::split(*cache).0 != session) {
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

    /// What an engine offered is gone with it.
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

    /// The blocks that the scheduler knows to be with an engine are gone with it: how many of each session.
    pub(crate) fn lose_blocks(&mut self, id: EngineId, scheduler: &Scheduler<Error>) -> BTreeMap<SessionId, usize> {
        let mut lost = BTreeMap::new();
        let outputs = self.codes.keys().filter_map(|code| if let CodeId::Output(o) = code { Some(*o) } else { None });
        for output in outputs.collect::<Vec<_>>() {
            let places = scheduler.places(output).iter();
            let there = places.filter(|place| place.exists() && place.engine == id).count();
            if there > 0 {
                self.moved(output);
                *lost.entry(SessionId::split(output.0).0).or_default() += there;
            }
        }
        lost
    }

    /// A session is over: what it left goes.
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
