//! Where the blocks are: for each partition of each output, the launch whose block counts, and its engine.

use super::{
    event::PartitionReport,
    partitions::{Partitions, Run},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, OutputId};

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockLocation {
    /// The launch that made it; its block holds all partitions of that launch.
    pub made_by: AttemptId,
    /// The engine that has it.
    pub engine: EngineId,
}

/// What is known of one map partition of an output. There may be many millions, so it is no larger than its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapPartition(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NeverMade,
    /// Made before the shell restarted: only the checksum is known.
    MadeBefore {
        checksum: u64,
    },
    /// Made and lost: the checksum is kept for comparison.
    Lost {
        checksum: u64,
    },
    Here {
        made_by: AttemptId,
        engine: EngineId,
        checksum: u64,
    },
}

const _: () = assert!(size_of::<MapPartition>() == 24);

impl MapPartition {
    /// Whether its block exists.
    pub fn exists(&self) -> bool {
        self.location().is_some()
    }

    /// Where its block is, if it exists.
    pub fn location(&self) -> Option<BlockLocation> {
        match self.0 {
            State::Here { made_by, engine, .. } => Some(BlockLocation { made_by, engine }),
            _ => None,
        }
    }

    /// The checksum of the partition when it was last made, whether it still exists or not.
    pub fn checksum(&self) -> Option<u64> {
        match self.0 {
            State::NeverMade => None,
            State::MadeBefore { checksum } | State::Lost { checksum } | State::Here { checksum, .. } => Some(checksum),
        }
    }
}

#[derive(Debug)]
pub(super) struct Output {
    pub partitions: u32,
    pub buckets: u32,
    pub parents: Vec<OutputId>,
    /// Empty until the first partition is made.
    places: Vec<MapPartition>,
    here: u32,
    /// Bytes of each bucket over all partitions. They serve only for packing, so a recomputed partition is not
    /// subtracted.
    pub bucket_bytes: Vec<u64>,
    /// How many partitions each engine has, and their bytes when made.
    engines: BTreeMap<EngineId, (u32, u64)>,
    /// After a change of an input: launches up to this number made the output from the old answer.
    pub stale: u64,
    /// Launches up to this number that read the output may have read an old answer.
    pub changed: u64,
    /// If this output answered differently: the partition that showed it.
    pub shows: Option<u32>,
    /// No driver holds it: it is deleted when no job needs it.
    pub released: bool,
}

impl Output {
    pub fn new(partitions: u32, buckets: u32, parents: Vec<OutputId>) -> Self {
        let places = Vec::new();
        let (bucket_bytes, engines) = (Vec::new(), BTreeMap::new());
        let (stale, changed, shows) = (0, 0, None);
        let (here, released) = (0, false);
        Self { partitions, buckets, parents, places, here, bucket_bytes, engines, stale, changed, shows, released }
    }

    pub fn is_complete(&self) -> bool {
        self.here == self.partitions
    }

    pub fn here(&self) -> u32 {
        self.here
    }

    pub fn places(&self) -> &[MapPartition] {
        &self.places
    }

    pub fn engines(&self) -> impl Iterator<Item = EngineId> + '_ {
        self.engines.keys().copied()
    }

    pub fn add_parents(&mut self, parents: Vec<OutputId>) {
        self.parents.extend(parents);
        self.parents.sort_unstable();
        self.parents.dedup();
    }

    /// Sets the checksum that a partition had before the shell restarted.
    pub fn remember(&mut self, partition: u32, checksum: u64) {
        self.make_places();
        if let Some(MapPartition(state @ State::NeverMade)) = self.places.get_mut(partition as usize) {
            *state = State::MadeBefore { checksum };
        }
    }

    fn make_places(&mut self) {
        if self.places.is_empty() {
            self.places = vec![MapPartition(State::NeverMade); self.partitions as usize];
        }
    }

    /// Whether a partition is missing and this report does not differ from the one that was lost.
    pub fn would_take(&self, partition: u32, made: &PartitionReport) -> bool {
        let Some(place) = self.places.get(partition as usize) else { return partition < self.partitions };
        match place.0 {
            State::NeverMade => true,
            State::Lost { checksum } | State::MadeBefore { checksum } => checksum == made.checksum,
            State::Here { .. } => false,
        }
    }

    /// The engine with the most bytes of it.
    pub fn heaviest(&self) -> Option<(u64, EngineId)> {
        let first_of_equals = |&(&engine, &(_, bytes)): &(&EngineId, &(u32, u64))| (bytes, std::cmp::Reverse(engine));
        self.engines.iter().max_by_key(first_of_equals).map(|(&engine, &(_, bytes))| (bytes, engine))
    }

    /// Accepts a partition. Returns `false` if it was made before and came out different.
    pub fn accept(&mut self, partition: u32, made_by: AttemptId, engine: EngineId, bytes: u64, checksum: u64) -> bool {
        self.make_places();
        let place = &mut self.places[partition as usize];
        debug_assert!(!place.exists(), "a partition is made by one launch at a time");
        let same = place.checksum().is_none_or(|before| before == checksum);
        *place = MapPartition(State::Here { made_by, engine, checksum });
        self.here += 1;
        let held = self.engines.entry(engine).or_default();
        *held = (held.0 + 1, held.1.saturating_add(bytes));
        same
    }

    /// The output answered differently after `launched` attempts had been launched.
    pub fn change(&mut self, partition: u32, launched: u64) {
        self.changed = self.changed.max(launched);
        self.shows = Some(partition);
    }

    pub fn is_on(&self, engine: EngineId) -> bool {
        self.engines.contains_key(&engine)
    }

    /// These partitions, which are one block, are on another engine now.
    pub fn relocate(&mut self, partitions: &Partitions, to: EngineId) {
        let first = self.places.get(partitions.first() as usize).and_then(MapPartition::location);
        let Some(BlockLocation { engine: from, .. }) = first else { return };
        let Some(held) = self.engines.get_mut(&from) else { return };
        let number = partitions.len();
        // Only the sum of an engine's bytes is known.
        let bytes = held.1 / u64::from(held.0.max(1)) * u64::from(number);
        *held = (held.0 - number, held.1.saturating_sub(bytes));
        if held.0 == 0 {
            self.engines.remove(&from);
        }
        let held = self.engines.entry(to).or_default();
        *held = (held.0 + number, held.1.saturating_add(bytes));
        for partition in partitions.iter() {
            if let State::Here { engine, .. } = &mut self.places[partition as usize].0 {
                *engine = to;
            }
        }
    }

    /// Adds a report's bucket sizes, unless they were added when its first partition was made before.
    pub fn measure(&mut self, first: u32, bucket_bytes: &[u64]) {
        let is_lost = |place: &MapPartition| matches!(place.0, State::Lost { .. });
        if bucket_bytes.is_empty() || self.places.get(first as usize).is_some_and(is_lost) {
            return;
        }
        self.bucket_bytes.resize(self.buckets as usize, 0);
        for (sum, bytes) in self.bucket_bytes.iter_mut().zip(bucket_bytes) {
            *sum = sum.saturating_add(*bytes);
        }
    }

    /// Marks as lost every existing partition for which `gone` is true; returns them as ascending runs.
    pub fn lose(&mut self, gone: impl Fn(BlockLocation) -> bool) -> Vec<Run> {
        let mut lost: Vec<Run> = Vec::new();
        for (partition, place) in (0u32..).zip(&mut self.places) {
            let State::Here { made_by, engine, checksum } = place.0 else { continue };
            if !gone(BlockLocation { made_by, engine }) {
                continue;
            }
            place.0 = State::Lost { checksum };
            self.here -= 1;
            if let Some(held) = self.engines.get_mut(&engine) {
                held.0 -= 1;
                if held.0 == 0 {
                    self.engines.remove(&engine);
                }
            }
            match lost.last_mut() {
                Some(run) if run.end == partition => run.end += 1,
                _ => lost.push(Run::new(partition, partition + 1)),
            }
        }
        lost
    }

    pub fn lose_engine(&mut self, engine: EngineId) -> Vec<Run> {
        if self.engines.contains_key(&engine) { self.lose(|at| at.engine == engine) } else { Vec::new() }
    }

    /// Forgets that it was ever made. Returns the launches whose blocks are not wanted any more, and the partitions
    /// that existed.
    pub fn forget(&mut self) -> (BTreeSet<(EngineId, AttemptId)>, Vec<Run>) {
        let blocks = self.places.iter().filter_map(MapPartition::location).map(|at| (at.engine, at.made_by)).collect();
        let lost = self.lose(|_| true);
        self.places = Vec::new();
        self.bucket_bytes = Vec::new();
        (blocks, lost)
    }

    pub fn missing(&self) -> Vec<Run> {
        if self.places.is_empty() {
            let all = Run::new(0, self.partitions);
            return if all.is_empty() { Vec::new() } else { vec![all] };
        }
        let mut missing: Vec<Run> = Vec::new();
        for (partition, _) in (0u32..).zip(&self.places).filter(|(_, place)| !place.exists()) {
            match missing.last_mut() {
                Some(run) if run.end == partition => run.end += 1,
                _ => missing.push(Run::new(partition, partition + 1)),
            }
        }
        missing
    }

    pub fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<MapPartition>()
            + self.bucket_bytes.capacity() * 8
            + self.parents.capacity() * size_of::<OutputId>()
            + self.engines.len() * size_of::<(EngineId, (u32, u64))>()
    }
}
