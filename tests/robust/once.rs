//! Work that is not repeated for each small piece, however little memory there is: the tests count it, they do not time
//! it.

use crate::support::{Place, mix};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks::prelude::*;

static READ: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// A text that counts how many times one is decoded, under a number of the test's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Text<const AT: usize>(String);

impl<'de, const AT: usize> Deserialize<'de> for Text<AT> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        READ[AT].fetch_add(1, Relaxed);
        Ok(Text(String::deserialize(from)?))
    }
}

#[test]
fn a_join_makes_a_side_that_it_reads_in_place_once() {
    const ROWS: u64 = 300_000;
    static FOLDED: AtomicU64 = AtomicU64::new(0);
    static MADE: AtomicU64 = AtomicU64::new(0);
    let place = Place::new(4, 8 << 20);
    let fold = |a: u64, b: u64| {
        FOLDED.fetch_add(1, Relaxed);
        a + b
    };
    let made = |sum: u64| {
        MADE.fetch_add(1, Relaxed);
        sum
    };
    let right =
        place.cx.range_in(0..ROWS * 2, 6).map(|n| (n % ROWS, n)).shuffle_into(6).reduce_by_key(fold).map_values(made);
    let left = place.cx.range_in(0..ROWS, 6).map(|n| (mix(n) % ROWS, n));
    let joined =
        left.shuffle_into(6).join(&right).filter(|(key, (n, sum))| mix(*n) % ROWS == *key && *sum == ROWS + 2 * key);
    assert!(joined.explain().unwrap().contains("the right side is already partitioned by key"));
    assert_eq!(joined.count().unwrap(), ROWS);
    assert!(place.cx.memory().spilled() > 0, "all of it fitted");
    assert_eq!(MADE.load(Relaxed), ROWS, "rows of the right side were recomputed");
    assert_eq!(FOLDED.load(Relaxed), ROWS, "values of the right side were folded again");
    drop((joined, left, right));
    place.is_clean();
}

#[test]
fn a_join_reads_a_side_that_was_put_aside_for_many_rows_at_a_time() {
    const ROWS: u64 = 100_000;
    const KEYS: u64 = 20_000;
    let place = Place::new(2, 2 << 20);
    let left = place.cx.range_in(0..ROWS, 50).map(|n| (mix(n) % KEYS, n));
    let right =
        place.cx.range_in(0..KEYS, 6).map(|n| (n, Text::<1>(format!("{n:>40}")))).shuffle_into(2).group_by_key();
    let joined =
        left.shuffle_into(2).join(&right).map(|(key, (n, texts))| (key, n, texts[0].0.trim_start().parse().unwrap()));
    let mut found: Vec<(u64, u64, u64)> = joined.collect().unwrap();
    found.sort_unstable_by_key(|row| row.1);
    assert!(found.into_iter().eq((0..ROWS).map(|n| (mix(n) % KEYS, n, mix(n) % KEYS))));
    let read = READ[1].load(Relaxed);
    assert!(read > 2 * KEYS, "the right side fitted: {read} of its rows were read");
    assert!(read < 200 * KEYS, "{read} rows were read, of {KEYS}");
    drop((joined, left, right));
    place.is_clean();
}

#[test]
fn a_join_goes_on_with_many_rows_at_a_time_behind_a_giant_key() {
    const ROWS: u64 = 60_000;
    let place = Place::new(2, 1 << 20);
    // Six left rows have the giant key, which half of all right rows have.
    let more = place.cx.range_in(0..ROWS + 5, 3).map(|n| (if n < ROWS { n } else { 0 }, n));
    let left = place.cx.range_in(0..ROWS, 3).map(|n| (n, ())).shuffle_into(1).join(&more).map_values(|((), n)| n);
    let right = place.cx.range_in(0..ROWS, 3).map(|n| (if n % 2 == 0 { 0 } else { n }, Text::<2>(format!("{n:>40}"))));
    let joined =
        left.shuffle_into(1).join(&right).map(|(key, (n, text))| (key, n, text.0.trim_start().parse::<u64>().unwrap()));
    let mut found = joined.collect().unwrap();
    found.sort_unstable();
    let giant =
        [0].into_iter().chain(ROWS..ROWS + 5).flat_map(|n| (0..ROWS).step_by(2).map(move |right| (0, n, right)));
    assert!(found.into_iter().eq(giant.chain((1..ROWS).step_by(2).map(|n| (n, n, n)))));
    let read = READ[2].load(Relaxed);
    assert!(read > 2 * ROWS && read < 500 * ROWS, "{read} rows were read, of {ROWS}");
    drop((joined, left, right, more));
    place.is_clean();
}

#[test]
fn a_sort_into_many_ranges_decodes_what_a_range_has_and_little_more() {
    const ROWS: u64 = 40_000;
    let place = Place::new(2, 64 << 20);
    let rows = place.cx.range_in(0..ROWS, 100).map(|n| (mix(n), Text::<3>(format!("{n:>100}"))));
    let sorted = rows.shuffle_into(100).sort_by_key().map_values(|text| text.0.trim_start().parse::<u64>().unwrap());
    let mut expected: Vec<u64> = (0..ROWS).collect();
    expected.sort_by_key(|n| mix(*n));
    assert!(sorted.values().collect().unwrap() == expected);
    let read = READ[3].load(Relaxed);
    assert!((ROWS..4 * ROWS).contains(&read), "{read} rows were decoded, of {ROWS}");
    drop((rows, sorted));
    place.is_clean();
}
