//! The mixing function from which all seeded data is made.

/// A bijection of `u64` whose outputs look random (the finisher of splitmix64).
#[inline]
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of two numbers, for checksums: not symmetric.
#[inline]
pub fn mix2(a: u64, b: u64) -> u64 {
    mix(a ^ mix(b.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// A stream of numbers from a seed (splitmix64).
pub struct Stream(u64);

impl Stream {
    /// The stream of `seed`; neighbouring seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        Stream(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    /// The next number.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next number below `bound`, almost evenly distributed.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        reduce(self.next(), bound)
    }
}

/// Reduces a random number to `0..bound` without a division.
#[inline]
pub fn reduce(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
