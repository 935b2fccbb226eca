//! The launches that are not reported yet; finding one by its number costs one comparison.

use super::{
    Time,
    partitions::Partitions,
    slab::{Slab, StageKey},
};
use tryworks_base::ids::AttemptId;

/// One launch that has not been reported yet.
#[derive(Debug)]
pub(super) struct Attempt {
    pub id: AttemptId,
    /// The stage. It means nothing once `stopping` is set: the stage may be gone.
    pub stage: StageKey,
    pub stage_attempt: u32,
    /// The row of its engine.
    pub engine: u32,
    pub partitions: Partitions,
    /// No other task may run on its engine at the same time.
    pub alone: bool,
    pub launched: Time,
    /// The other launch of the same task, while both are running.
    pub twin: Option<AttemptId>,
    /// A second launch of its task exists or is planned. There is no third.
    pub copied: bool,
    /// It was asked to stop: its report is not wanted.
    pub stopping: bool,
}

#[derive(Debug, Default)]
pub(super) struct Attempts {
    seats: Slab<Attempt>,
    launched: u64,
}

impl Attempts {
    pub fn starting_at(launched: u64) -> Self {
        Self { seats: Slab::default(), launched }
    }

    /// Gives a new attempt a seat and a number.
    pub fn launch(&mut self, make: impl FnOnce(AttemptId) -> Attempt) -> AttemptId {
        self.launched += 1;
        let id = AttemptId::new(self.launched, self.seats.next_row());
        self.seats.insert(make(id));
        id
    }

    /// Numbers all later launches after this one.
    pub fn skip_to(&mut self, before: AttemptId) {
        self.launched = self.launched.max(before.sequence());
    }

    pub fn get(&self, id: AttemptId) -> Option<&Attempt> {
        self.seats.get(id.seat()).filter(|attempt| attempt.id == id)
    }

    pub fn get_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.seats.get_mut(id.seat()).filter(|attempt| attempt.id == id)
    }

    /// Removes an attempt. If it had a twin, the twin has none any more.
    pub fn remove(&mut self, id: AttemptId) -> Option<Attempt> {
        self.get(id)?;
        let attempt = self.seats.remove(id.seat())?;
        self.part(attempt.twin);
        Some(attempt)
    }

    pub fn part(&mut self, twin: Option<AttemptId>) {
        if let Some(other) = twin.and_then(|twin| self.get_mut(twin)) {
            other.twin = None;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.seats.iter().map(|(_, attempt)| attempt)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.seats.iter_mut().map(|(_, attempt)| attempt)
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    pub fn launched(&self) -> u64 {
        self.launched
    }

    pub fn heap_bytes(&self) -> usize {
        self.seats.heap_bytes() + self.iter().map(|attempt| attempt.partitions.heap_bytes()).sum::<usize>()
    }
}
