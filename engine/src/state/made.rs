//! The blocks that finished launches left on this engine, with indexes by launch and by output.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use tryworks_base::ids::{AttemptId, OutputId, SessionId};
use tryworks_protocol::engine::HeldBlock;

/// The blocks that finished launches left, as the launches reported them.
#[derive(Default)]
pub(super) struct Made {
    launches: BTreeMap<AttemptId, HeldBlock>,
    outputs: BTreeSet<(OutputId, AttemptId)>,
}

impl Made {
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldBlock> {
        self.launches.values()
    }

    /// The sessions that have any output here.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        let mut last = None;
        let all = self.outputs.iter().map(|(output, _)| output.session());
        all.filter(move |session| last.replace(*session) != Some(*session))
    }

    /// Notes the blocks of a launch. An earlier note of the same launch stays.
    pub(super) fn insert(&mut self, held: HeldBlock) {
        self.outputs.insert((held.output, held.attempt));
        self.launches.entry(held.attempt).or_insert(held);
    }

    pub(super) fn remove(&mut self, attempt: AttemptId) {
        if let Some(held) = self.launches.remove(&attempt) {
            self.outputs.remove(&(held.output, attempt));
        }
    }

    pub(super) fn remove_output(&mut self, output: OutputId) {
        self.remove_outputs(output..=output);
    }

    pub(super) fn end_session(&mut self, session: SessionId) {
        self.remove_outputs(session.outputs());
    }

    fn remove_outputs(&mut self, which: RangeInclusive<OutputId>) {
        let gone = self.outputs.range((*which.start(), AttemptId(0))..=(*which.end(), AttemptId(u64::MAX)));
        let gone: Vec<_> = gone.copied().collect();
        for key in gone {
            self.outputs.remove(&key);
            self.launches.remove(&key.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tryworks_base::ids::ExchangeId;
    use tryworks_scheduler::Report;

    #[test]
    fn launches_are_removed_singly_by_output_or_by_session() {
        let mut made = Made::default();
        let output = |session: u32, own| SessionId(session).output(ExchangeId(own));
        for (at, (session, own)) in
            [(1, 0), (1, 0), (1, 7), (2, 0), (2, u64::from(u32::MAX)), (3, 1)].iter().enumerate()
        {
            let partitions = [at as u32].into_iter().collect();
            let report = Report { partitions: Vec::new(), bucket_bytes: Vec::new() };
            let attempt = AttemptId(at as u64);
            made.insert(HeldBlock { output: output(*session, *own), attempt, partitions, report });
        }
        let left = |made: &Made| made.iter().map(|held| held.attempt.0).collect::<Vec<_>>();
        assert_eq!(made.sessions().map(|session| session.0).collect::<Vec<_>>(), [1, 2, 3]);
        made.remove(AttemptId(1));
        made.remove(AttemptId(9));
        made.remove_output(output(1, 0));
        assert_eq!(left(&made), [2, 3, 4, 5]);
        made.end_session(SessionId(2));
        assert_eq!(left(&made), [2, 5]);
        assert_eq!(made.outputs.len(), 2);
    }
}
