//! What engines were given to run, and reports that the scheduler has not accepted yet.

use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_protocol::engine::{CodeId, ResultPart};
use tryworks_scheduler::Partitions;

/// A launch that has not been reported yet.
pub(crate) struct Launched {
    pub(crate) session: SessionId,
    pub(crate) job: JobId,
    pub(crate) stage: u32,
    pub(crate) code: CodeId,
    pub(crate) engine: EngineId,
    pub(crate) partitions: Partitions,
}

/// All launches, and reports that are still to be worked on.
#[derive(Default)]
pub(crate) struct Launches {
    /// Launches that have not been reported.
    pub(crate) out: BTreeMap<AttemptId, Launched>,
    /// Results that an engine has reported and the scheduler has not accepted yet.
    pub(crate) reported: BTreeMap<AttemptId, Vec<(u32, ResultPart)>>,
    /// Partitions of outputs that were reported, and whose checksums are not in the journal yet.
    pub(crate) made: Vec<(OutputId, Partitions)>,
}

impl Launches {
    /// An engine reports a launch. Returns the launch if that engine was given it and has not reported it before.
    pub(crate) fn report(&mut self, attempt: AttemptId, by: EngineId) -> Option<Launched> {
        self.out.get(&attempt).filter(|launched| launched.engine == by)?;
        self.out.remove(&attempt)
    }

    /// Forgets the launches of a lost engine. Returns how many there were, by session.
    pub(crate) fn lose(&mut self, engine: EngineId) -> BTreeMap<SessionId, usize> {
        let mut lost = BTreeMap::new();
        for (attempt, launched) in self.out.extract_if(.., |_, launched| launched.engine == engine) {
            self.reported.remove(&attempt);
            *lost.entry(launched.session).or_default() += 1;
        }
        lost
    }

    /// How many launches of each of these sessions have not been reported.
    pub(crate) fn of(&self, sessions: &BTreeSet<SessionId>) -> BTreeMap<SessionId, u32> {
        let mut out = BTreeMap::new();
        for launched in self.out.values().filter(|launched| sessions.contains(&launched.session)) {
            *out.entry(launched.session).or_default() += 1;
        }
        out
    }
}
