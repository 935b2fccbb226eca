//! Data larger than the memory limit, made from an index, and its answers, known without sorting or grouping.

use serde::{Deserialize, Serialize};

use super::{
    mix::{mix, mix2},
    permutation::Permutation,
};
use crate::harness::Answer;

/// Rows of all inputs together at full scale: 4 GiB, at 64 bytes a row.
pub const ROWS: u64 = 1 << 26;

/// The part of a row beside the key: 56 bytes.
pub type Payload = [u64; 7];

/// A row: a key and its payload.
pub type Row = (u64, Payload);

/// A payload from a number: if an operator loses or mixes up any part of it, its digest changes.
#[inline]
pub fn payload(seed: u64) -> Payload {
    std::array::from_fn(|place| mix(seed.wrapping_add(place as u64)))
}

/// What a payload adds to a checksum.
#[inline]
pub fn digest(payload: &Payload) -> u64 {
    payload.iter().fold(0, |sum, &word| sum.rotate_left(7) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a whole row adds to a checksum.
#[inline]
pub fn row_digest(row: &Row) -> u64 {
    mix2(row.0, digest(&row.1))
}

/// `distinct`: every second row repeats an earlier one.
pub mod distinct {
    use super::*;

    /// How many distinct rows there are.
    pub fn different(rows: u64) -> u64 {
        rows.div_ceil(2)
    }

    /// Row `index`: equal rows are `different` rows apart, so that combining before the shuffle finds none.
    #[inline]
    pub fn row(index: u64, different: u64) -> Row {
        let identity = index % different;
        (mix(identity), payload(identity << 3))
    }

    /// The count of the distinct rows, and the sum of their digests.
    pub fn expected(rows: u64) -> Answer {
        let different = different(rows).min(rows);
        Answer { count: different, checksum: sum((0..different).map(|identity| row_digest(&row(identity, different)))) }
    }
}

/// `group_by_key`: many groups of about 64 rows.
pub mod group_by_key {
    use super::*;

    /// How many groups there are.
    pub fn groups(rows: u64) -> u64 {
        rows.div_ceil(64)
    }

    /// Row `index`.
    #[inline]
    pub fn row(index: u64, groups: u64) -> Row {
        (mix(index % groups), payload(index << 3))
    }

    /// What a group adds to the checksum: its values in any order.
    pub fn group_digest<'a>(key: u64, values: impl IntoIterator<Item = &'a Payload>) -> u64 {
        let (count, sum) =
            values.into_iter().fold((0u64, 0u64), |(count, sum), value| (count + 1, sum.wrapping_add(digest(value))));
        mix2(key, mix2(sum, count))
    }

    /// Number of groups and sum of their digests.
    pub fn expected(rows: u64) -> Answer {
        let groups = groups(rows);
        let digests = (0..groups).map(|group| {
            let values: Vec<Payload> =
                (group..rows).step_by(groups as usize).map(|index| row(index, groups).1).collect();
            group_digest(mix(group), &values)
        });
        Answer { count: groups, checksum: sum(digests) }
    }
}

/// `join`: half the rows on either side, each key twice on its side, half the keys on both.
pub mod join {
    use super::*;

    /// The rows of each side, out of the rows of both together.
    pub fn side(rows: u64) -> u64 {
        rows.div_ceil(2)
    }

    /// The keys of each side.
    pub fn keys(side: u64) -> u64 {
        side.div_ceil(2)
    }

    /// Row `index` of the left side.
    #[inline]
    pub fn left(index: u64, keys: u64) -> Row {
        (mix(index % keys), payload(index << 4))
    }

    /// Row `index` of the right side, whose keys begin in the middle of those of the left.
    #[inline]
    pub fn right(index: u64, keys: u64) -> Row {
        (mix(index % keys + keys / 2), payload((index << 4) + 8))
    }

    /// What a match adds to the checksum.
    #[inline]
    pub fn match_digest(key: u64, left: &Payload, right: &Payload) -> u64 {
        mix2(key ^ digest(left), digest(right))
    }

    /// Number of matches and sum of their digests.
    pub fn expected(rows: u64) -> Answer {
        let side = side(rows);
        let keys = keys(side);
        let mut answer = Answer { count: 0, checksum: 0 };
        for identity in keys / 2..keys {
            for left_index in (identity..side).step_by(keys as usize) {
                for right_index in (identity - keys / 2..side).step_by(keys as usize) {
                    let ((key, left), (_, right)) = (left(left_index, keys), right(right_index, keys));
                    answer.count += 1;
                    answer.checksum = answer.checksum.wrapping_add(match_digest(key, &left, &right));
                }
            }
        }
        answer
    }
}

/// `sort_by`: a permutation of rows whose sorted order is known.
pub mod sort_by {
    use super::*;

    /// The order that [`row`] needs.
    pub fn order(rows: u64) -> Permutation {
        Permutation::new(rows, 0x736f_7274)
    }

    /// Row `index`. Sorted, row `n` has key `n`.
    #[inline]
    pub fn row(index: u64, order: &Permutation) -> Row {
        let key = order.at(index);
        (key, payload(key << 3))
    }

    /// A summary of a partition of the sorted rows: add its rows in order, then the partitions in order.
    #[derive(Clone, Copy, Default, Serialize, Deserialize)]
    pub struct Sorted {
        count: u64,
        checksum: u64,
        first: u64,
        last: u64,
        broken: bool,
    }

    impl Sorted {
        /// Adds the next row.
        #[inline]
        pub fn add(self, row: &Row) -> Self {
            self.then(Sorted { count: 1, checksum: row_digest(row), first: row.0, last: row.0, broken: false })
        }

        /// Adds the summary of the rows that follow.
        #[inline]
        pub fn then(self, next: Self) -> Self {
            match (self.count, next.count) {
                (0, _) => next,
                (_, 0) => self,
                _ => Sorted {
                    count: self.count + next.count,
                    checksum: self.checksum.wrapping_add(next.checksum),
                    first: self.first,
                    last: next.last,
                    broken: self.broken || next.broken || self.last.wrapping_add(1) != next.first,
                },
            }
        }

        /// The answer. Rows that are out of order, missing or duplicated change the checksum.
        pub fn answer(self) -> Answer {
            let broken = self.broken || (self.count > 0 && self.first != 0);
            Answer { count: self.count, checksum: if broken { !self.checksum } else { self.checksum } }
        }
    }

    /// Number of rows and sum of their digests.
    pub fn expected(rows: u64) -> Answer {
        Answer { count: rows, checksum: sum((0..rows).map(|key| row_digest(&(key, payload(key << 3))))) }
    }
}

fn sum(digests: impl Iterator<Item = u64>) -> u64 {
    digests.fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const SOME: u64 = 1_001;

    #[test]
    fn distinct_by_a_set() {
        let different = distinct::different(SOME);
        let set: BTreeSet<Row> = (0..SOME).map(|index| distinct::row(index, different)).collect();
        let answer = Answer { count: set.len() as u64, checksum: sum(set.iter().map(row_digest)) };
        assert_eq!(answer, distinct::expected(SOME));
    }

    #[test]
    fn groups_by_a_map() {
        let groups = group_by_key::groups(SOME);
        let mut map: BTreeMap<u64, Vec<Payload>> = BTreeMap::new();
        for (key, value) in (0..SOME).map(|index| group_by_key::row(index, groups)) {
            map.entry(key).or_default().push(value);
        }
        let digests = map.iter().map(|(key, values)| group_by_key::group_digest(*key, values));
        assert_eq!(Answer { count: map.len() as u64, checksum: sum(digests) }, group_by_key::expected(SOME));
    }

    #[test]
    fn join_by_loops() {
        let side = join::side(SOME);
        let keys = join::keys(side);
        let mut answer = Answer { count: 0, checksum: 0 };
        for (key, left) in (0..side).map(|index| join::left(index, keys)) {
            for (_, right) in (0..side).map(|index| join::right(index, keys)).filter(|right| right.0 == key) {
                answer.count += 1;
                answer.checksum = answer.checksum.wrapping_add(join::match_digest(key, &left, &right));
            }
        }
        assert_eq!(answer, join::expected(SOME));
    }

    #[test]
    fn sorted_by_sort() {
        let order = sort_by::order(SOME);
        let mut rows: Vec<Row> = (0..SOME).map(|index| sort_by::row(index, &order)).collect();
        let digest = |rows: &[Row]| rows.iter().fold(sort_by::Sorted::default(), |sorted, row| sorted.add(row));
        assert_ne!(digest(&rows).answer(), sort_by::expected(SOME));
        rows.sort_unstable();
        let (low, high) = rows.split_at(300);
        assert_eq!(digest(low).then(digest(high)).answer(), sort_by::expected(SOME));
    }
}
