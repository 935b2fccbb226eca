//! Sets of logical partitions: runs, and the few runs that a task covers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Partitions `start..end`, as plain data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The first partition.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

impl Run {
    /// The run `start..end`; an inverted one is empty.
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end: end.max(start) }
    }

    /// How many partitions.
    pub fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.end == self.start
    }

    /// The partitions in order.
    pub fn iter(self) -> std::ops::Range<u32> {
        self.start..self.end
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// The partitions of one task, ascending: nearly always one run, several if the wanted partitions have gaps.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Partitions(Shape);

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Shape {
    One(Run),
    Several(Box<[Run]>),
}

impl Partitions {
    /// The ascending runs, in order.
    pub fn runs(&self) -> &[Run] {
        match &self.0 {
            Shape::One(run) => std::slice::from_ref(run),
            Shape::Several(runs) => runs,
        }
    }

    /// Every partition, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs().iter().flat_map(|run| run.iter())
    }

    /// How many partitions.
    pub fn len(&self) -> u32 {
        self.runs().iter().map(|run| run.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The smallest partition. It names the task within its stage.
    pub fn first(&self) -> u32 {
        self.runs().first().map_or(0, |run| run.start)
    }

    /// Whether `partition` is among the partitions.
    pub fn contains(&self, partition: u32) -> bool {
        self.runs().iter().any(|run| run.iter().contains(&partition))
    }

    pub(super) fn from_runs(mut runs: Vec<Run>) -> Self {
        match runs.len() {
            0 => Self(Shape::One(Run::new(0, 0))),
            1 => Self(Shape::One(runs.remove(0))),
            _ => Self(Shape::Several(runs.into())),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Shape::One(_) => 0,
            Shape::Several(runs) => size_of_val::<[Run]>(runs),
        }
    }
}

impl From<Run> for Partitions {
    fn from(run: Run) -> Self {
        Self(Shape::One(run))
    }
}

impl From<std::ops::Range<u32>> for Partitions {
    fn from(range: std::ops::Range<u32>) -> Self {
        Self(Shape::One(Run::new(range.start, range.end)))
    }
}

/// Any partitions in any order: sorted, without duplicates, neighbours joined.
impl FromIterator<u32> for Partitions {
    fn from_iter<I: IntoIterator<Item = u32>>(partitions: I) -> Self {
        let mut all: Vec<u32> = partitions.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut runs: Vec<Run> = Vec::new();
        for partition in all {
            match runs.last_mut() {
                Some(run) if run.end == partition => run.end += 1,
                _ => runs.push(Run::new(partition, partition + 1)),
            }
        }
        Self::from_runs(runs)
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, run) in self.runs().iter().enumerate() {
            write!(f, "{}{run:?}", if i == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

/// One bit for each number.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    set: u32,
}

impl Bits {
    /// Sets a bit; returns whether it was clear before.
    pub fn insert(&mut self, at: u32) -> bool {
        let (word, bit) = ((at / 64) as usize, 1u64 << (at % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.set += u32::from(fresh);
        fresh
    }

    pub fn remove(&mut self, at: u32) {
        if let Some(word) = self.words.get_mut((at / 64) as usize) {
            let bit = 1u64 << (at % 64);
            self.set -= u32::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    pub fn contains(&self, at: u32) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word & (1u64 << (at % 64)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// The first set bit at or after `from`, else the first set bit: the next in turn.
    pub fn next_in_turn(&self, from: u32) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let word = |at: usize| self.words.get(at).copied();
        first_from(word, from).or_else(|| first_from(word, 0))
    }

    /// The same for bits that are set in both sets.
    pub fn next_in_both(&self, other: &Bits, from: u32) -> Option<u32> {
        if self.is_empty() || other.is_empty() {
            return None;
        }
        let word = |at: usize| Some(self.words.get(at)? & other.words.get(at)?);
        first_from(word, from).or_else(|| first_from(word, 0))
    }

    pub fn heap_bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

fn first_from(words: impl Fn(usize) -> Option<u64>, from: u32) -> Option<u32> {
    let mut at = (from / 64) as usize;
    let mut word = words(at)? & (u64::MAX << (from % 64));
    while word == 0 {
        at += 1;
        word = words(at)?;
    }
    Some(at as u32 * 64 + word.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_set_is_sorted_runs() {
        let set: Partitions = [9, 1, 2, 2, 7, 8].into_iter().collect();
        assert_eq!(format!("{set:?}"), "1..3+7..10");
        assert_eq!((set.len(), set.first(), set.contains(8), set.contains(3)), (5, 1, true, false));
    }

    #[test]
    fn bits_take_turns_and_wrap() {
        let mut bits = Bits::default();
        for at in [3, 64, 200] {
            assert!(bits.insert(at));
        }
        assert!(!bits.insert(3));
        assert_eq!(bits.next_in_turn(4), Some(64));
        assert_eq!(bits.next_in_turn(201), Some(3));
        let mut others = Bits::default();
        for at in [2, 64, 199] {
            assert!(others.insert(at));
        }
        assert_eq!((bits.next_in_both(&others, 65), bits.next_in_both(&Bits::default(), 0)), (Some(64), None));
        bits.remove(3);
        assert_eq!((bits.next_in_turn(201), bits.contains(3)), (Some(64), false));
    }
}
