//! Numbers that look random and are the same in every run.

/// A number that looks random and depends on `n` alone; different for different `n`.
pub fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x7fb5_d329_728e_a185);
    let n = (n ^ n >> 27).wrapping_mul(0x81da_def4_bc2d_d44d);
    n ^ n >> 33
}

/// A number from 0 to 1 that depends on `n` alone. Sums of these numbers depend on their order.
pub fn fraction(n: u64) -> f64 {
    (mix(n) >> 11) as f64 / (1u64 << 53) as f64
}

/// The numbers in partition `index` of `partitions` of a range from 0 to `rows`.
pub fn slice(rows: u64, partitions: u64, index: u64) -> std::ops::Range<u64> {
    rows * index / partitions..rows * (index + 1) / partitions
}

/// A sequence of numbers from a seed (SplitMix64, by Guy Steele, Doug Lea and Christine Flood).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_numbers_differ_and_slices_cover_their_range() {
        let mixed: std::collections::HashSet<u64> = (0..10_000).map(mix).collect();
        assert_eq!(mixed.len(), 10_000);
        let covered: Vec<u64> = (0..7).flat_map(|index| slice(100, 7, index)).collect();
        assert_eq!(covered, (0..100).collect::<Vec<_>>());
        // The first number from the seed 0 in the published generator.
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf);
    }
}
