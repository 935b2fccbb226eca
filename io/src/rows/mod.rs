//! Sources that read nothing: ranges of numbers, and rows that the driver already has.

mod parallelize;
mod range;

pub use parallelize::{Parallelize, Rows};
pub use range::{Numbers, NumbersCursor};

use std::ops::Range;

/// The number of partitions that rows are divided into by default.
const PARTITIONS: u64 = 64;
/// Beyond this many rows in a partition, there are more partitions.
const ROWS: u64 = 1 << 20;
/// Beyond this many partitions, partitions grow again: each partition has a cost of its own.
const MOST: u64 = 1 << 16;

/// The default number of partitions for `rows` rows: it depends on their number alone.
///
/// ```
/// use tryworks_io::rows::default_partitions;
/// assert_eq!([0, 5, 64, 1_000_000].map(default_partitions), [1, 5, 64, 64]);
/// assert_eq!([1 << 27, u64::MAX].map(default_partitions), [128, 65_536]);
/// ```
pub fn default_partitions(rows: u64) -> u32 {
    let partitions = rows.div_ceil(ROWS).max(rows.min(PARTITIONS)).clamp(1, MOST);
    u32::try_from(partitions).unwrap_or(u32::MAX)
}

/// Slice `index` of `rows` rows in `partitions` slices, whose sizes differ by one at most.
///
/// ```
/// use tryworks_io::rows::slice;
/// assert_eq!([0, 1, 2].map(|index| slice(10, 3, index)), [0..3, 3..6, 6..10]);
/// ```
pub fn slice(rows: u64, partitions: u32, index: u32) -> Range<u64> {
    // A product of 64 and 32 bits; the quotient is at most `rows`.
    let bound = |index: u64| (u128::from(rows) * u128::from(index) / u128::from(partitions.max(1))) as u64;
    bound(index.into())..bound(u64::from(index) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_contiguous_balanced_and_exact() {
        for rows in [0, 1, 2, 63, 64, 65, 1000, 1 << 33, u64::MAX - 1, u64::MAX] {
            for partitions in [1, 2, 3, 64, 1000, default_partitions(rows)] {
                let mut end = 0;
                for index in 0..partitions {
                    let slice = slice(rows, partitions, index);
                    assert_eq!(slice.start, end);
                    let len = slice.end - slice.start;
                    assert!(len == rows / u64::from(partitions) || len == rows.div_ceil(partitions.into()));
                    end = slice.end;
                }
                assert_eq!(end, rows);
            }
        }
        assert_eq!(slice(u64::MAX, u32::MAX, u32::MAX - 1).end, u64::MAX);
    }
}
