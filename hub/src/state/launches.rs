//! What engines were given to run, and what they reported of it that is not accepted yet.

use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_protocol::engine::{CodeId, ResultPart};
use tryworks_scheduler::Partitions;

/// A launch that was not reported yet.
pub(crate) struct Launched {
    pub(crate) session: SessionId,
    pub(crate) job: JobId,
    pub(crate) stage: u32,
    pub(crate) code: CodeId,
    pub(crate) engine: EngineId,
    pub(crate) partitions: Partitions,
}

/// The launches.
#[derive(Default)]
pub(crate) struct Launches {
    /// What is out, with what its report will mean.
    pub(crate) out: BTreeMap<AttemptId, Launched>,
    /// Results that were reported and are not accepted yet.
    pub(crate) reported: BTreeMap<AttemptId, Vec<(u32, ResultPart)>>,
    /// Partitions of outputs that were reported and not noted yet.
    pub(crate) made: Vec<(OutputId, Partitions)>,
}

impl Launches {
    /// An engine reports a launch: what it was, if that engine was given it and nobody has reported it.
    pub(crate) fn report(&mut self, attempt: AttemptId, by: EngineId) -> Option<Launched> {
        self.out.get(&attempt).filter(|launched| launched.engine == by)?;
        self.out.remove(&attempt)
    }

    /// What an engine had is lost: how many launches of each session.
    pub(crate) fn lose(&mut self, engine: EngineId) -> BTreeMap<SessionId, usize> {
        let mut lost = BTreeMap::new();
        for (attempt, launched) in self.out.extract_if(.., |_, launched| launched.engine == engine) {
            self.reported.remove(&attempt);
            *lost.entry(launched.session).or_default() += 1;
        }
        lost
    }

    /// How many launches are out, by session.
    pub(crate) fn of(&self, sessions: &BTreeSet<SessionId>) -> BTreeMap<SessionId, u32> {
        let mut out = BTreeMap::new();
        for launched in self.out.values().filter(|launched| sessions.contains(&launched.session)) {
            *out.entry(launched.session).or_default() += 1;
        }
        out
    }
}
