//! A seeded permutation of `0..n` that is computed, not stored: unsorted keys whose sorted order is known.

use serde::{Deserialize, Serialize};

use super::mix::mix2;

/// A bijection of `0..n` onto itself (a Feistel network; a number outside of the range is permuted again until it is
/// inside).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Permutation {
    n: u64,
    half: u32,
    seed: u64,
}

impl Permutation {
    /// The permutation of `0..n` of this seed.
    pub fn new(n: u64, seed: u64) -> Self {
        let bits = (64 - n.saturating_sub(1).leading_zeros()).max(2);
        Permutation { n, half: bits.div_ceil(2), seed }
    }

    /// The image of `place`.
    pub fn at(&self, place: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let mut x = place;
        loop {
            let (mut left, mut right) = (x >> self.half, x & mask);
            for round in 0..4 {
                (left, right) = (right, left ^ (mix2(right, self.seed ^ round) & mask));
            }
            x = (left << self.half) | right;
            if x < self.n {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Permutation;

    #[test]
    fn every_number_once() {
        for n in [1, 2, 3, 100, 1024, 4097] {
            let permutation = Permutation::new(n, 7);
            let mut seen: Vec<u64> = (0..n).map(|place| permutation.at(place)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n));
        }
    }
}
