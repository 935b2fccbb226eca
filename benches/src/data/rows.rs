//! Rows of numbers made from an index, for `reduce_by_key` and `join`.

use super::mix::{mix, reduce};

/// Row `index` to be summed by key: one of `keys` keys, and a whole number below 1,024, so that sums are exact in any order.
#[inline]
pub fn measurement(index: u64, keys: u64) -> (u64, f64) {
    let random = mix(index ^ 0x6d65_6173);
    (key(reduce(random, keys)), (random & 1023) as f64)
}

/// Row `index` of the large side of a join. Its keys are those of `identities` identities, almost evenly distributed.
#[inline]
pub fn order(index: u64, identities: u64) -> (u64, u64) {
    let random = mix(index ^ 0x6f72_6465);
    (key(reduce(random, identities)), random)
}

/// Row `index` of the small side of a join: every identity below `identities` once, and then again from the first one.
#[inline]
pub fn customer(index: u64, identities: u64) -> (u64, u64) {
    (key(index % identities), mix(index ^ 0x6375_7374))
}

/// The key of an identity: distinct, and unlike a counter.
#[inline]
fn key(identity: u64) -> u64 {
    mix(identity ^ 0x6b65_7973)
}
