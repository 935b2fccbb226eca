//! Jobs that do not fit into their memory. They give the same answers in the same order as with enough memory, and
//! leave nothing behind. If nothing can be done, the error helps.

use crate::support::{AMPLE, Place, fraction, mix, names};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use tryworks::event_log::{EventLog, Record};
use tryworks::prelude::*;

/// Keys that nearly all collide in their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Clash(u64);

impl Hash for Clash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 % 3).hash(state);
    }
}

/// Keys of many kinds, made from numbers.
trait Made: Key + Ord + std::fmt::Debug {
    fn made(n: u64) -> Self;
}

impl Made for u64 {
    fn made(n: u64) -> Self {
        // The greatest and the least numbers are keys as well.
        n.wrapping_sub(1)
    }
}

impl Made for Clash {
    fn made(n: u64) -> Self {
        Clash(n)
    }
}

impl Made for Option<i64> {
    fn made(n: u64) -> Self {
        match n {
            0 => None,
            1 => Some(i64::MIN),
            2 => Some(i64::MAX),
            n => Some(-(n as i64)),
        }
    }
}

impl Made for String {
    fn made(n: u64) -> Self {
        // The first text is empty, and some are long.
        "ab".repeat((n % 37) as usize) + &if n == 0 { String::new() } else { n.to_string() }
    }
}

#[derive(Clone, Debug)]
struct Case {
    rows: u64,
    keys: u64,
    parts: u32,
    readers: u32,
    threads: usize,
    memory: u64,
    compress: bool,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (0..6_000u64, 1..3_000u64, 1..6u32, prop_oneof![Just(1u32), 2..5u32, Just(700)]);
    (sizes, 1..4usize, 15..18u32, any::<bool>(), any::<u64>()).prop_map(
        |((rows, keys, parts, readers), threads, memory, compress, seed)| {
            // The rows of one key fit into the memory that one key may always have.
            let keys = keys.max((rows * 8192) >> memory);
            Case { rows, keys, parts, readers, threads, memory: 1 << memory, compress, seed }
        },
    )
}

impl Case {
    fn place(&self) -> Place {
        Place::with(self.threads, self.memory, |builder| builder.compress_spills(self.compress))
    }

    fn pairs<K: Made>(&self, salt: u64) -> Vec<(K, String)> {
        let key = |n| K::made(mix(self.seed ^ salt ^ n) % self.keys);
        (0..self.rows).map(|n| (key(n), format!("{n},"))).collect()
    }
}

/// The values of each key in order; keys are in the order of their first arrival.
fn grouped<K: Ord + Clone, V: Clone>(rows: &[(K, V)]) -> BTreeMap<K, Vec<V>> {
    let mut groups = BTreeMap::<K, Vec<V>>::new();
    rows.iter().cloned().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups
}

fn by_key<K: Made>(case: &Case) -> Result<()> {
    let rows = case.pairs::<K>(0);
    let expected = grouped(&rows);
    let place = case.place();
    let ample = Place::new(1, AMPLE);

    let groups = |cx: &Context| {
        let pairs = cx.parallelize_in(rows.clone(), case.parts);
        pairs.shuffle_into(case.readers).group_by_key().collect()
    };
    let found = groups(&place.cx)?;
    assert!(found == groups(&ample.cx)?, "groups come in another order with little memory");
    assert!(found.len() == expected.len() && found.into_iter().collect::<BTreeMap<_, _>>() == expected);

    // Joining texts is associative, and shows in which order they were joined.
    let texts = |cx: &Context| {
        let pairs = cx.parallelize_in(rows.clone(), case.parts);
        pairs.shuffle_into(case.readers).reduce_by_key(|a, b| a + &b).collect()
    };
    let found = texts(&place.cx)?;
    assert!(found == texts(&ample.cx)?, "keys come in another order with little memory");
    let joined: BTreeMap<_, _> = expected.iter().map(|(key, values)| (key.clone(), values.concat())).collect();
    assert!(found.len() == joined.len() && found.into_iter().collect::<BTreeMap<_, _>>() == joined);

    let keys = |cx: &Context| {
        cx.parallelize_in(rows.clone(), case.parts).map(|(key, _)| key).shuffle_into(case.readers).distinct().collect()
    };
    let found = keys(&place.cx)?;
    assert!(found == keys(&ample.cx)?, "distinct keys come in another order with little memory");
    assert!(found.len() == expected.len() && found.into_iter().eq_set(expected.keys()));
    place.is_clean();
    Ok(())
}

trait EqSet<K> {
    fn eq_set<'a>(self, other: impl Iterator<Item = &'a K>) -> bool
    where
        K: 'a;
}

impl<K: Ord, I: Iterator<Item = K>> EqSet<K> for I {
    fn eq_set<'a>(self, other: impl Iterator<Item = &'a K>) -> bool
    where
        K: 'a,
    {
        self.collect::<BTreeSet<_>>().iter().eq(other)
    }
}

fn joined<K: Made>(case: &Case) -> Result<()> {
    let case = &Case { rows: case.rows / 2, ..case.clone() };
    let (left, right) = (case.pairs::<K>(0), case.pairs::<K>(mix(1)));
    let rights = grouped(&right);
    let mut expected = BTreeMap::<K, Vec<(String, String)>>::new();
    for (key, value) in &left {
        for other in rights.get(key).into_iter().flatten() {
            expected.entry(key.clone()).or_default().push((value.clone(), other.clone()));
        }
    }
    let join = |cx: &Context| {
        let right = cx.parallelize_in(right.clone(), case.parts + 1);
        cx.parallelize_in(left.clone(), case.parts).shuffle_into(case.readers).join(&right).collect()
    };
    let (place, ample) = (case.place(), Place::new(1, AMPLE));
    let found = join(&place.cx)?;
    // A run of left rows may match all of the right side: the order is still that of the left side.
    assert!(found == join(&ample.cx)?, "pairs come in another order with little memory");
    assert!(grouped(&found) == expected);
    place.is_clean();
    Ok(())
}

fn sorted<K: Made>(case: &Case) -> Result<()> {
    let rows = case.pairs::<K>(0);
    let place = case.place();
    let mut expected = rows.clone();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let pairs = place.cx.parallelize_in(rows.clone(), case.parts);
    assert!(pairs.shuffle_into(case.readers).sort_by_key().collect()? == expected);
    expected = rows;
    expected.sort_by_key(|(_, text)| (text.len(), text.as_bytes()[0]));
    assert!(
        pairs.shuffle_into(case.readers).sort_by(|(_, text)| (text.len(), text.as_bytes()[0])).collect()? == expected
    );
    drop(pairs);
    place.is_clean();
    Ok(())
}

fn cached<K: Made>(case: &Case) -> Result<()> {
    let rows = case.pairs::<K>(0);
    let place = case.place();
    for level in [StorageLevel::Memory, StorageLevel::MemoryAndDisk, StorageLevel::Disk] {
        let kept = place.cx.parallelize_in(rows.clone(), case.parts).map(|row| row).persist(level);
        assert!(kept.collect()? == rows);
        assert!(kept.collect()? == rows);
        assert_eq!(kept.count()?, case.rows);
        assert!(kept.filter(|(_, text)| text.ends_with("7,")).count()? == (case.rows + 2) / 10);
        drop(kept);
        place.is_clean();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn aggregations_are_those_of_enough_memory(case in case()) {
        by_key::<u64>(&case).unwrap();
        by_key::<Option<i64>>(&case).unwrap();
        by_key::<String>(&case).unwrap();
    }

    #[test]
    fn aggregations_with_clashing_hashes_are_those_of_enough_memory(case in case()) {
        // Each look-up of a key compares it with a third of all keys.
        by_key::<Clash>(&Case { rows: case.rows / 4, ..case }).unwrap();
    }

    #[test]
    fn joins_are_those_of_enough_memory(case in case()) {
        joined::<u64>(&case).unwrap();
        joined::<String>(&case).unwrap();
        joined::<Clash>(&Case { rows: case.rows / 4, ..case }).unwrap();
    }

    #[test]
    fn sorts_are_those_of_enough_memory(case in case()) {
        sorted::<u64>(&case).unwrap();
        sorted::<Option<i64>>(&case).unwrap();
        sorted::<String>(&case).unwrap();
    }

    #[test]
    fn caches_give_what_was_put_into_them(case in case()) {
        cached::<u64>(&case).unwrap();
        cached::<String>(&case).unwrap();
    }
}

#[test]
fn the_table_of_a_reader_spills_and_changes_nothing() {
    const ROWS: u64 = 60_000;
    const KEYS: u64 = 25_000;
    let place = Place::with(2, 64 << 10, |builder| builder.compress_spills(false));
    let ample = Place::new(1, AMPLE);
    let value = |n: u64| format!("{n:>0$}", 100 + (n % 3) as usize);
    let pairs =
        |cx: &Context| cx.range_in(0..ROWS, 3).map(|n| (mix(n % 25_000), format!("{n:>0$}", 100 + (n % 3) as usize)));
    let groups = pairs(&place.cx).shuffle_into(1).group_by_key();
    // A reader that takes no item of its input: the map tasks run, and no table is made.
    assert_eq!(groups.map_partitions(|_| [()]).count().unwrap(), 1);
    let shuffled = place.cx.memory().spilled();
    let found = groups.collect().unwrap();
    assert!(place.cx.memory().spilled() > shuffled + (1 << 20), "the table did not spill");
    assert!(found == pairs(&ample.cx).shuffle_into(1).group_by_key().collect().unwrap());
    assert_eq!(found.len() as u64, KEYS);
    for (key, values) in found {
        let n: u64 = values[0].trim_start().parse().unwrap();
        let expected = (n % KEYS..ROWS).step_by(KEYS as usize);
        assert!(key == mix(n % KEYS) && expected.map(value).eq(values));
    }
    // The same again with a fold, for which combining in map tasks does not help.
    let sums = pairs(&place.cx).map_values(|text| (text.trim_start().parse::<f64>().unwrap() + 0.1, text));
    let sums = sums.shuffle_into(1).reduce_by_key(|a, b| (a.0 + b.0, b.1));
    assert_eq!(sums.map_partitions(|_| [()]).count().unwrap(), 1);
    let shuffled = place.cx.memory().spilled();
    let found: BTreeMap<_, _> = sums.collect().unwrap().into_iter().collect();
    assert!(place.cx.memory().spilled() > shuffled + (1 << 20), "the table did not spill");
    assert_eq!(found.len() as u64, KEYS);
    for n in 0..KEYS {
        let all: Vec<u64> = (n..ROWS).step_by(KEYS as usize).collect();
        let sum = all.iter().map(|n| *n as f64 + 0.1).reduce(|a, b| a + b).unwrap();
        assert!(found[&mix(n)] == (sum, value(all[all.len() - 1])));
    }
    drop((groups, sums));
    place.is_clean();
}

#[test]
fn with_and_without_compression() {
    let spilled = [true, false].map(|compress| {
        let place = Place::with(2, 512 << 10, |builder| builder.compress_spills(compress));
        let rows = place.cx.range_in(0..40_000, 4).map(|n| (mix(n) % 5_000, "whale ".repeat((n % 20) as usize)));
        let mut groups = rows.group_by_key().collect().unwrap();
        groups.sort();
        let expected: Vec<_> = (0..40_000).map(|n| (mix(n) % 5_000, "whale ".repeat((n % 20) as usize))).collect();
        assert!(groups.into_iter().eq(grouped(&expected)));
        drop(rows);
        place.is_clean();
        place.cx.memory().spilled()
    });
    assert!(0 < spilled[0] && spilled[0] < spilled[1] / 2, "{spilled:?}");
}

#[test]
fn combining_in_the_map_tasks_shuffles_less() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let place = Place::with(2, AMPLE, |builder| builder.event_log(log.path()));
    let pairs = place.cx.range_in(0..10_000, 8).map(|n| (n % 10, n));
    let sums = pairs.shuffle_into(3).reduce_by_key(|a, b| a + b).collect().unwrap();
    assert_eq!(sums.iter().map(|(_, sum)| sum).sum::<u64>(), 49_995_000);
    let groups = pairs.shuffle_into(3).group_by_key().collect().unwrap();
    assert_eq!(groups.iter().map(|(_, values)| values.len()).sum::<usize>(), 10_000);
    let records = EventLog::read(log.path()).unwrap();
    let left = |wanted| {
        let tasks = records.iter().filter_map(|record| match record {
            Record::Task { job, stage: 0, rows, bytes, .. } if *job == wanted => Some((*rows, *bytes)),
            _ => None,
        });
        tasks.fold((0, 0, 0), |sum, (rows, bytes)| (sum.0 + 1, sum.1 + rows, sum.2 + bytes))
    };
    // Eight map tasks: ten keys each, or all rows.
    assert_eq!(left(1), (8, 80, 80 * 16));
    assert_eq!(left(2), (8, 10_000, 10_000 * 16));
}

#[test]
fn many_empty_blocks_and_many_readers() {
    let place = Place::new(3, 64 << 10);
    let few = place.cx.range_in(0..40_000, 400).filter(|n| *n < 250 || *n >= 39_990);
    let pairs = few.map(|n| (n % 7, n));
    let mut groups = pairs.shuffle_into(1_000).group_by_key().collect().unwrap();
    groups.sort();
    let expected: Vec<_> = (0..250).chain(39_990..40_000).map(|n| (n % 7, n)).collect();
    assert!(groups.into_iter().eq(grouped(&expected)));
    assert_eq!(pairs.shuffle_into(1_000).sort_by_key().values().collect().unwrap().len(), 260);
    assert_eq!(few.filter(|n| *n > 50_000).map(|n| (n, n)).group_by_key().count().unwrap(), 0);
    drop((few, pairs));
    place.is_clean();
}

#[test]
fn nothing_is_left_after_success_or_failure() {
    let place = Place::new(2, 256 << 10);
    let pairs = place.cx.range_in(0..50_000, 6).map(|n| (mix(n), fraction(n)));
    let sorted = pairs.sort_by_key();
    assert_eq!(sorted.count().unwrap(), 50_000);
    assert!(place.cx.spill_bytes() > 0, "the blocks of a dataset that is held are kept");
    assert_eq!(names(place.dir.path()), [""; 0], "spill files have no names while they are in use either");
    drop(sorted);
    place.is_clean();

    // A function that panics when much has been spilled already.
    let before = place.cx.memory().spilled();
    let broken = pairs.group_by_key().map(|(key, _)| assert_ne!(key, mix(49_999), "this one"));
    let error = broken.count().unwrap_err();
    assert!(matches!(&error, Error::User(fault) if fault.panicked && fault.message.contains("this one")), "{error}");
    assert!(place.cx.memory().spilled() > before);
    // And one that fails while its own map task spills.
    let failing = pairs.try_map(
        |(key, value)| {
            if key == mix(49_000) { Err(UserError::msg("that one")) } else { Ok((key, value)) }
        },
    );
    let failing = failing.sort_by_key();
    let error = failing.count().unwrap_err();
    assert!(error.to_string().contains("that one"), "{error}");
    drop((broken, failing));
    place.settles();
    assert_eq!(pairs.count().unwrap(), 50_000, "the context is as good as new");
}

#[test]
fn scratch_is_what_is_cached() {
    let place = Place::new(2, 256 << 10);
    let kept = place.cx.range_in(0..30_000, 5).map(mix).persist(StorageLevel::Disk);
    assert_eq!(kept.count().unwrap(), 30_000);
    let scratch = (place.cx.spill_bytes(), place.cx.blocks());
    assert!(scratch.0 >= 30_000 * 8 && scratch.1 == 5, "{scratch:?}");
    let used = place.cx.memory().used();
    let same =
        || assert_eq!((place.cx.spill_bytes(), place.cx.blocks(), place.cx.memory().used()), (scratch.0, 5, used));

    // After a success, a failure, a job that took only the first items, and a cancelled one.
    let pairs = kept.map(|n| (n, n));
    let groups = pairs.group_by_key();
    assert_eq!(groups.count().unwrap(), 30_000);
    assert!(place.cx.spill_bytes() > scratch.0);
    drop(groups);
    same();
    assert!(pairs.sort_by_key().map(|(n, _)| assert_ne!(n, mix(5))).count().is_err());
    place.until(|| place.cx.blocks() == 5 && place.cx.spill_bytes() == scratch.0 && place.cx.memory().used() == used);
    let least = (0..30_000).map(mix).min().unwrap();
    assert_eq!(pairs.sort_by_key().take(1).unwrap(), [(least, least)]);
    same();
    let job = pairs.group_by_key().background().count().unwrap();
    job.cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled)));
    place.until(|| place.cx.blocks() == 5 && place.cx.spill_bytes() == scratch.0 && place.cx.memory().used() == used);
    drop((kept, pairs));
    place.settles();
}

#[test]
fn a_spill_between_two_looks_at_a_group_changes_nothing() {
    let place = Place::new(2, 512 << 10);
    let groups = place.cx.range_in(0..20_000, 4).map(|n| (n % 5_000, mix(n))).shuffle_into(2).group_by_key();
    let first = groups.take(10).unwrap();
    let spilled = place.cx.memory().spilled();
    // Another job takes all memory that cached blocks may have, and holds it.
    let hog = place.cx.range_in(0..50_000, 4).map(mix).persist(StorageLevel::MemoryAndDisk);
    assert_eq!(hog.count().unwrap(), 50_000);
    assert!(place.cx.memory().spilled() > spilled);
    let all = groups.collect().unwrap();
    assert!(all[..10] == first);
    let pairs: Vec<_> = (0..20_000).map(|n| (n % 5_000, mix(n))).collect();
    assert!(all.into_iter().collect::<BTreeMap<_, _>>() == grouped(&pairs));
    drop((groups, hog));
    place.is_clean();
}

#[test]
fn a_stage_whose_input_is_cached_by_now_is_still_the_same_stage() {
    let place = Place::new(2, AMPLE);
    let sums = place.cx.range(0..10_000).map(|n| (n % 100, n)).reduce_by_key(|a, b| a + b).cache();
    let sorted = sums.map(|(key, sum)| (sum, key)).sort_by_key();
    let expected: Vec<_> = (0..100).map(|key| (100 * key + 495_000, key)).collect();
    assert_eq!(sorted.collect().unwrap(), expected);
    assert_eq!(sorted.collect().unwrap(), expected);
    assert_eq!(sums.count().unwrap(), 100);
    assert_eq!(sorted.map(|row| row).collect().unwrap(), expected);
}

#[test]
fn a_key_that_cannot_be_divided_is_named() {
    let place = Place::new(2, 1 << 20);
    let value = |n: u64| format!("{n:0>100}");
    let pairs = place
        .cx
        .range_in(0..60_000, 4)
        .map(|n| (if n % 3 == 0 { "Moby Dick".to_string() } else { format!("boat {n}") }, format!("{n:0>100}")));
    let groups = pairs.group_by_key();
    let error = groups.count().unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::Limit { name, value, .. } if name == "memory" && *value == 1 << 20), "{text}");
    assert!(text.contains("\"Moby Dick\"") && text.contains("`group_by_key` at tests/robust/spilling.rs"), "{text}");
    assert!(text.contains("reduce_by_key"), "what would help: {text}");
    drop(groups);
    place.settles();
    // The error's advice works on the same context.
    let longest = pairs.reduce_by_key(|a, b| a.max(b)).filter(|(key, _)| key == "Moby Dick").collect().unwrap();
    assert_eq!(longest, [("Moby Dick".to_string(), value(59_997))]);
}

#[test]
fn a_join_with_one_giant_key_streams() {
    let place = Place::with(2, 512 << 10, |builder| builder.compress_spills(false));
    let left = place.cx.parallelize_in(vec![(1u64, 10u64), (2, 20), (1, 11), (3, 30)], 2);
    // A hundred thousand values of key 1, and some of other keys: many times the memory.
    let right = place.cx.range_in(0..100_000, 4).map(|n| (if n % 1_000 == 7 { 2 } else { 1 }, format!("{n:>60}")));
    let joined = left.shuffle_into(2).join(&right);
    assert_eq!(joined.count().unwrap(), 2 * 99_900 + 100);
    assert!(place.cx.memory().spilled() > 2 << 20);
    let number = joined.try_map(|(key, (left, right))| Ok((key, left, right.trim_start().parse::<u64>()?)));
    let found = number.collect().unwrap();
    let rights = |key| (0..100_000).filter(move |n| (if n % 1_000 == 7 { 2 } else { 1 }) == key);
    for (key, left) in [(1, 10), (1, 11), (2, 20)] {
        let found = found.iter().filter(|row| (row.0, row.1) == (key, left)).map(|row| row.2);
        assert!(found.eq(rights(key)), "key {key} of the left value {left}");
    }
    // A left row without a match comes out once, after all of the right side was read.
    let outer = left.shuffle_into(2).left_join(&right);
    assert_eq!(outer.count().unwrap(), 2 * 99_900 + 100 + 1);
    let alone = outer.filter(|(_, (_, right))| right.is_none()).collect().unwrap();
    assert_eq!(alone, [(3, (30, None))]);
    let full = right.map_values(|text| text.len()).shuffle_into(2).full_join(&left);
    assert_eq!(full.count().unwrap(), 2 * 99_900 + 100 + 1);
    drop((joined, number, outer, full));
    place.is_clean();
}
