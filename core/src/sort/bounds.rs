//! The task between the two sides of a sort: it picks the bounds of the ranges.

use super::in_order::in_order;
use super::run::RunBlock;
use crate::exchange::{BlockKind, Shuffled};
use crate::heap::bytes_of;
use crate::host::{BlockValue, MadeBlock, SealedBlock};
use crate::row::Row;
use crate::ship::ship;
use crate::stage::{Made, Output, StageCode};
use crate::task::TaskContext;
use std::marker::PhantomData;
use std::sync::OnceLock;
use tryworks_base::{Op, Result, codec};

/// The first keys of ranges: range `i` holds the keys from bound `i - 1` to below bound `i`.
pub(crate) struct Bounds<K> {
    pub(crate) keys: Vec<K>,
    /// For each bound, a hash of the positions at which the first reader has cut the runs.
    cuts: Vec<OnceLock<u64>>,
}

impl<K> Bounds<K> {
    fn new(keys: Vec<K>) -> Self {
        Bounds { cuts: keys.iter().map(|_| OnceLock::new()).collect(), keys }
    }

    /// The lower and the upper bound of a range.
    pub(crate) fn of(&self, range: usize) -> (Option<&K>, Option<&K>) {
        (range.checked_sub(1).and_then(|at| self.keys.get(at)), self.keys.get(range))
    }

    /// Whether the readers of both ranges at bound `at` have cut the runs at the same positions. If not, rows in
    /// between would be read twice or not at all. The second of these readers in this process gets the answer.
    pub(crate) fn agrees(&self, at: usize, cuts: u64) -> bool {
        self.cuts.get(at).is_none_or(|known| *known.get_or_init(|| cuts) == cuts)
    }
}

impl<K: Row> BlockKind for Bounds<K> {
    fn open(sealed: &SealedBlock) -> Result<Self> {
        Ok(Bounds::new(codec::decode(&sealed.head)?.0))
    }
}

/// The task that picks the bounds.
pub(crate) struct BoundsStage<K, V> {
    pub(crate) runs: Shuffled,
    pub(crate) ranges: u32,
    pub(crate) op: Op,
    pub(crate) row: PhantomData<fn() -> (K, V)>,
}

ship!([K, V] BoundsStage<K, V> { runs: ship, ranges: value, op: value, row: none });

impl<K: Row + Ord, V: Row> StageCode for BoundsStage<K, V> {
    fn run(&self, _: u32, task: &TaskContext) -> Result<Output> {
        let blocks = self.runs.blocks::<RunBlock<K, V>>(task)?;
        let mut samples: Vec<&(K, u32)> = blocks.iter().flat_map(|block| &block.samples).collect();
        in_order::<K>(&self.op, || samples.sort_by(|a, b| a.0.cmp(&b.0)))?;
        let bounds = self.op.call(|| few(pick(&samples, self.ranges)));
        let (rows, bytes) = (bounds.len() as u64, bounds.iter().map(bytes_of).sum());
        let block = match task.host().block(task.place())? {
            Some(writer) => {
                let mut head = Vec::new();
                codec::encode(&bounds, &mut head)?;
                MadeBlock::Sealed(writer.seal(&head)?)
            }
            None => MadeBlock::Value(BlockValue::new(Bounds::new(bounds))),
        };
        Ok(Output { made: Made::Block(block), rows, checksum: rows, bytes, bucket_bytes: Vec::new() })
    }
}

/// Picks bounds that divide sorted, weighted samples into `ranges` parts of about the same weight. A key is in one
/// range only, so there are fewer bounds if a key weighs more than a range.
fn pick<'a, K: Ord>(samples: &[&'a (K, u32)], ranges: u32) -> Vec<&'a K> {
    let total: u64 = samples.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut bounds: Vec<&K> = Vec::new();
    let mut before = 0u64;
    let mut wanted = 1u64;
    for (key, weight) in samples {
        // Bound number `wanted` is the first key before which the samples weigh `wanted / ranges` of the total.
        while wanted < u64::from(ranges) && before * u64::from(ranges) >= wanted * total {
            if bounds.last().is_none_or(|last| K::cmp(last, key).is_ne()) {
                bounds.push(key);
            }
            wanted += 1;
        }
        before += u64::from(*weight);
    }
    bounds
}

/// The most bytes of all bounds, unless a single key is larger: every reader holds them.
const BOUND_BYTES: u64 = 16 << 20;

/// The bounds, or every second, third and so on if they take too much memory. Then there are fewer ranges.
fn few<K: Row>(bounds: Vec<&K>) -> Vec<K> {
    let bytes: u64 = bounds.iter().map(|key| bytes_of(*key)).sum();
    let every = bytes.div_ceil(BOUND_BYTES).max(1) as usize;
    let skipped = (every / 2).min(bounds.len().saturating_sub(1));
    bounds.into_iter().skip(skipped).step_by(every).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fewer_bounds_if_keys_are_large() {
        let keys: Vec<(usize, String)> = (0..100).map(|key| (key, "x".repeat(1 << 20))).collect();
        let kept = |keys: usize, all: &[(usize, String)]| {
            few(all.iter().take(keys).collect()).into_iter().map(|key| key.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(100, &keys), (3..100).step_by(7).collect::<Vec<_>>());
        assert_eq!(kept(16, &keys), (1..16).step_by(2).collect::<Vec<_>>());
        assert_eq!(kept(15, &keys), (0..15).collect::<Vec<_>>());
        assert_eq!(kept(1, &[(7, "x".repeat(40 << 20))]), [7]);
    }

    #[test]
    fn bounds_cut_evenly() {
        let keys: Vec<(u32, u32)> = (0..1000).map(|key| (key, 1)).collect();
        let samples: Vec<_> = keys.iter().collect();
        assert_eq!(pick(&samples, 4), [&250, &500, &750]);
        assert!(pick(&samples, 1).is_empty());
        assert!(pick::<u32>(&[], 4).is_empty());
    }

    #[test]
    fn a_heavy_key_has_one_range() {
        let keys = [(1, 1), (2, 1000), (3, 1)];
        let samples: Vec<_> = keys.iter().collect();
        assert_eq!(pick(&samples, 4), [&3]);
    }
}
