//! The launches that are out, each found by its number at the cost of one comparison.

use super::{Time, partitions::Partitions, slab::Slab, stage::StageKey};
use tryworks_base::ids::AttemptId;

/// One launch that has not been reported yet.
#[derive(Debug)]
pub(super) struct Attempt {
    pub id: AttemptId,
    /// The stage. Means nothing once `stopping`: the stage may be gone.
    pub stage: StageKey,
    pub stage_attempt: u32,
    /// The row of the engine it runs on.
    pub engine: u32,
    pub partitions: Partitions,
    /// It has its engine to itself.
    pub alone: bool,
    pub launched: Time,
    /// The other launch of the same task, while both are out.
    pub twin: Option<AttemptId>,
    /// It got, or is to get, a second launch. It gets no third.
    pub copied: bool,
    /// It was asked to stop: whatever it reports is not wanted.
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

    /// Seats a new attempt and gives it its number.
    pub fn launch(&mut self, make: impl FnOnce(AttemptId) -> Attempt) -> AttemptId {
        self.launched += 1;
        let id = AttemptId::new(self.launched, self.seats.next_row());
        self.seats.insert(make(id));
        id
    }

    /// Numbers what is launched from now on after this one.
    pub fn skip_to(&mut self, before: AttemptId) {
        self.launched = self.launched.max(before.sequence());
    }

    pub fn get(&self, id: AttemptId) -> Option<&Attempt> {
        self.seats.get(id.seat()).filter(|attempt| attempt.id == id)
    }

    pub fn get_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.seats.get_mut(id.seat()).filter(|attempt| attempt.id == id)
    }

    /// Takes an attempt off. If it had a twin, that one is on its own from then on.
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
