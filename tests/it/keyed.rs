//! Compares keyed operators with maps and nested loops.

use crate::support::{Random, cx, glom, pairs, sorted, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tryworks::prelude::*;

/// The values of each key, in the order of the rows.
fn grouped(rows: &[(i64, u64)]) -> BTreeMap<i64, Vec<u64>> {
    let mut groups = BTreeMap::<i64, Vec<u64>>::new();
    rows.iter().for_each(|(key, value)| groups.entry(*key).or_default().push(*value));
    groups
}

fn nested_loops<A: Copy, B: Copy>(left: &[(i64, A)], right: &[(i64, B)]) -> Vec<(i64, (A, B))> {
    let matches = |&(key, a)| right.iter().filter(move |row| row.0 == key).map(move |row| (key, (a, row.1)));
    left.iter().flat_map(matches).collect()
}

/// How many shuffles a job over the dataset would read.
fn shuffles<P: Pipe>(data: &Dataset<P>) -> usize {
    let plan = data.explain().expect("the plan is sound");
    plan.lines().filter(|line| line.starts_with("stage ")).count() - 1
}

#[test]
fn reduce_by_key_is_what_a_map_gives() -> Result<()> {
    let cx = cx();
    for (rows, keys, partitions) in [(0, 1, 3), (1, 1, 1), (1000, 10, 4), (1000, 100_000, 7), (20_000, 300, 13)] {
        let rows = pairs(rows as u64 + keys, rows, keys);
        let expected: Vec<(i64, u64)> = grouped(&rows).into_iter().map(|(key, v)| (key, v.iter().sum())).collect();
        let data = cx.parallelize_in(rows, partitions);
        assert_eq!(sorted(data.reduce_by_key(|a, b| a + b).collect()?), expected);
        for readers in [1, 3, 64] {
            let reduced = data.shuffle_into(readers).reduce_by_key(|a, b| a + b);
            assert_eq!(reduced.partitions(), readers);
            assert_eq!(sorted(reduced.collect()?), expected);
        }
    }
    Ok(())
}

#[test]
fn reduce_by_key_folds_values_in_the_order_of_the_rows() -> Result<()> {
    // Joining texts is associative and not commutative.
    let rows = pairs(8, 3000, 40);
    let expected: Vec<(i64, String)> = grouped(&rows)
        .into_iter()
        .map(|(key, values)| (key, values.iter().map(u64::to_string).collect::<Vec<_>>().join(",")))
        .collect();
    let data = cx().parallelize_in(rows, 9).map_values(|value| value.to_string());
    assert_eq!(sorted(data.reduce_by_key(|a, b| a + "," + &b).collect()?), expected);
    Ok(())
}

/// The pairs of a map task in the tests below: each key several times.
fn part(part: u32) -> impl Iterator<Item = (i64, f64)> + Send {
    let mut random = Random(u64::from(part));
    (0..2000).map(move |_| (random.below(400) as i64, random.below(1 << 40) as f64 * 0.1))
}

fn sums(rows: impl Iterator<Item = (i64, f64)>) -> BTreeMap<i64, f64> {
    let mut sums = BTreeMap::new();
    rows.for_each(|(key, value)| {
        sums.entry(key).and_modify(|sum| *sum += value).or_insert(value);
    });
    sums
}

#[test]
fn map_tasks_that_end_in_another_order_change_no_bit_of_a_sum() -> Result<()> {
    static LATE: AtomicU32 = AtomicU32::new(0);
    static ENDED: AtomicU32 = AtomicU32::new(0);
    const PARTS: u32 = 23;
    // Each map task sums its own values, and those sums are added in the order of the partitions.
    let expected: Vec<_> = sums((0..PARTS).flat_map(|at| sums(part(at)))).into_iter().collect();
    for (threads, late) in [(2, 0), (2, 6), (7, 0), (7, 13), (1, PARTS)] {
        LATE.store(late, Relaxed);
        ENDED.store(0, Relaxed);
        let cx = Context::local(threads)?;
        let rows = cx.from_fn(PARTS, |at| {
            let end = std::iter::from_fn(|| {
                ENDED.fetch_add(1, Relaxed);
                None
            });
            if at == LATE.load(Relaxed) {
                wait_until("later ones have ended", || ENDED.load(Relaxed) > at + 6);
            }
            part(at).chain(end)
        });
        let mut sums = rows.shuffle_into(3).reduce_by_key(|a, b| a + b).collect()?;
        sums.sort_by_key(|(key, _)| *key);
        assert_eq!(sums, expected, "{threads} threads, partition {late} ends late");
    }
    Ok(())
}

#[test]
fn keys_that_all_map_tasks_have_are_held_once() -> Result<()> {
    let (cx, parts, keys) = (cx(), 64, 5_000);
    let rows = cx.range_in(0..parts * keys * 2, parts as u32).map(|n| (n % 5_000, 1u64));
    let counts = rows.reduce_by_key(|a, b| a + b);
    assert_eq!(counts.collect()?.into_iter().collect::<BTreeSet<_>>(), (0..keys).map(|key| (key, 128)).collect());
    // A table has spare capacity to grow, and several outputs wait to be folded together.
    let (row, used) = (size_of::<(u64, u64)>() as u64, cx.memory().used());
    assert!(used >= keys * row && used < 8 * keys * row, "{used} bytes are held for {keys} keys of {row} bytes");
    drop((rows, counts));
    wait_until("all is given back", || cx.memory().used() == 0);
    Ok(())
}

/// Words of 0 to 39 letters, of one to three bytes each, that repeat.
fn word(at: u64) -> String {
    let mut random = Random(at % 701);
    (0..at % 40).map(|_| ['a', 'q', '\u{e9}', '\u{4e2d}'][random.below(4) as usize]).collect()
}

#[test]
fn words_are_counted_and_lie_where_the_same_words_do() -> Result<()> {
    let mut counts = BTreeMap::<String, u64>::new();
    (0..20_000).for_each(|at| *counts.entry(word(at)).or_default() += 1);
    assert!(counts.keys().any(|word| word.len() == 23) && counts.keys().any(|word| word.len() > 60));
    let cx = cx();
    let counted = cx.range_in(0..20_000, 11).map(|at| (word(at), 1u64)).shuffle_into(7).reduce_by_key(|a, b| a + b);
    assert_eq!(counted.collect()?.into_iter().collect::<BTreeMap<_, _>>(), counts);
    // The other side is shuffled unchanged, and matches them.
    let others = cx.range_in(0..300, 5).map(|at| (word(at * 7), at));
    let joined = others.join(&counted);
    assert_eq!(shuffles(&joined), 2);
    let expected: Vec<_> = (0..300).map(|at| (word(at * 7), (at, counts[&word(at * 7)]))).collect();
    assert_eq!(sorted(joined.collect()?), sorted(expected));
    Ok(())
}

#[test]
fn values_that_are_changed_in_place_are_not_shared_between_keys() -> Result<()> {
    let rows = pairs(9, 2000, 50);
    let expected: Vec<_> = grouped(&rows).into_iter().collect();
    let lists = cx().parallelize_in(rows, 5).map_values(|value| vec![value]);
    let appended = lists.reduce_by_key(|mut all, mut more| {
        all.append(&mut more);
        all
    });
    // The changes of one action are not visible to the next one.
    assert_eq!(sorted(appended.collect()?), expected);
    assert_eq!(sorted(appended.collect()?), expected);
    Ok(())
}

#[test]
fn group_by_key_keeps_duplicates_and_their_order() -> Result<()> {
    let cx = cx();
    for (rows, keys, partitions, readers) in [(10, 3, 2, 50), (3000, 200, 7, 3), (3000, 2, 7, 1)] {
        let rows = pairs(rows as u64, rows, keys);
        assert!(rows.iter().any(|(key, _)| *key < 0), "negative keys are meant to be among them");
        let expected: Vec<_> = grouped(&rows).into_iter().collect();
        let data = cx.parallelize_in(rows, partitions);
        assert_eq!(sorted(data.group_by_key().collect()?), expected);
        let wide = data.shuffle_into(readers).group_by_key();
        assert_eq!(glom(&wide).len() as u32, readers);
        assert_eq!(sorted(wide.collect()?), expected);
    }
    Ok(())
}

#[test]
fn equal_keys_meet_in_one_partition() -> Result<()> {
    let data = cx().parallelize_in(pairs(5, 5000, 300), 8).shuffle_into(16).reduce_by_key(|a, b| a.max(b));
    let mut seen = BTreeSet::new();
    for part in glom(&data) {
        for (key, _) in part {
            assert!(seen.insert(key), "{key} is in two places");
        }
    }
    assert_eq!(seen.len(), 300);
    Ok(())
}

#[test]
fn keys_of_every_kind_are_distinguished() -> Result<()> {
    let cx = cx();
    let keys = || vec![None, Some(i64::MAX), Some(i64::MIN), Some(0), None, Some(i64::MAX)];
    let counted = cx.parallelize_in(keys(), 3).map(|key| (key, 1)).reduce_by_key(|a, b| a + b);
    let expected = [(None, 2), (Some(i64::MIN), 1), (Some(0), 1), (Some(i64::MAX), 2)];
    assert_eq!(sorted(counted.collect()?), expected);
    let words = ["", "a", "aa", "ä", "", "a"].map(String::from);
    let counted =
        cx.parallelize_in(words, 2).map(|word| (word, ())).group_by_key().map(|(word, all)| (word, all.len()));
    let expected = [("", 2), ("a", 2), ("aa", 1), ("ä", 1)].map(|(word, n)| (word.to_string(), n));
    assert_eq!(sorted(counted.collect()?), expected);
    Ok(())
}

#[test]
fn distinct_keeps_one_of_each() -> Result<()> {
    let cx = cx();
    let mut random = Random(4);
    let items: Vec<u64> = (0..5000).map(|_| random.below(700)).collect();
    let expected: Vec<u64> = items.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let data = cx.parallelize_in(items, 6);
    assert_eq!(sorted(data.distinct().collect()?), expected);
    for partitions in [1, 5, 100] {
        let distinct = data.shuffle_into(partitions).distinct();
        assert_eq!(distinct.partitions(), partitions);
        assert_eq!(sorted(distinct.collect()?), expected);
    }
    Ok(())
}

#[test]
fn distinct_of_pairs_that_are_partitioned_by_key_needs_no_shuffle() -> Result<()> {
    let cx = cx();
    let rows = pairs(6, 3000, 20);
    let expected: Vec<_> =
        rows.iter().map(|(key, value)| (*key, value % 3)).collect::<BTreeSet<_>>().into_iter().collect();
    let groups = cx.parallelize_in(rows, 5).shuffle_into(4).group_by_key();
    let partitioned = groups.map_values(|values| values[0] % 3).union(&groups.map_values(|values| values[0] % 3));
    assert_eq!(shuffles(&partitioned), 1);
    assert_eq!(shuffles(&partitioned.distinct()), 1);
    let found = partitioned.distinct().collect()?;
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|pair| expected.contains(pair)));
    assert_eq!(shuffles(&partitioned.shuffle_into(3).distinct()), 2);
    assert_eq!(sorted(partitioned.shuffle_into(3).distinct().collect()?), sorted(found));
    Ok(())
}

#[test]
fn union_of_equal_layouts_joins_partitions_one_to_one() -> Result<()> {
    let cx = cx();
    let (first, second) = (pairs(1, 500, 30), pairs(2, 500, 40));
    let total: Vec<(i64, u64)> = grouped(&[first.clone(), second.clone()].concat())
        .into_iter()
        .map(|(key, values)| (key, values.iter().sum()))
        .collect();
    let a = cx.parallelize_in(first, 3).shuffle_into(4).reduce_by_key(|a, b| a + b);
    let b = cx.parallelize_in(second, 5).shuffle_into(4).reduce_by_key(|a, b| a + b);
    let both = a.union(&b);
    assert_eq!(both.partitions(), 4);
    let summed = both.reduce_by_key(|a, b| a + b);
    assert_eq!(shuffles(&summed), shuffles(&both));
    assert_eq!(sorted(summed.collect()?), total);

    let c = b.shuffle_into(6).reduce_by_key(|a, b| a + b);
    let mixed = a.union(&c);
    assert_eq!(mixed.partitions(), 10);
    let summed = mixed.reduce_by_key(|a, b| a + b);
    assert_eq!(shuffles(&summed), shuffles(&mixed) + 1);
    assert_eq!(sorted(summed.collect()?), total);
    Ok(())
}

#[test]
fn joins_are_what_nested_loops_give() -> Result<()> {
    let cx = cx();
    for (left, right, keys, partitions) in [(1, 1, 1, 1), (50, 60, 1, 4), (300, 400, 50, 7), (300, 20, 1000, 40)] {
        let (left, right) = (pairs(left as u64, left, keys), pairs(right as u64 + 1000, right, keys));
        let expected = sorted(nested_loops(&left, &right));
        let (a, b) = (cx.parallelize_in(left, 3), cx.parallelize_in(right, 5));
        assert_eq!(sorted(a.join(&b).collect()?), expected);
        assert_eq!(sorted(a.shuffle_into(partitions).join(&b).collect()?), expected);
    }
    Ok(())
}

#[test]
fn a_join_without_matches_or_with_an_empty_side_is_empty() -> Result<()> {
    let cx = cx();
    let rows = cx.parallelize_in(pairs(3, 100, 10), 4);
    let others = cx.parallelize_in([(1000i64, 'x')], 2);
    let none = cx.parallelize_in(Vec::<(i64, char)>::new(), 2);
    let nowhere = cx.from_fn(0, |_| Vec::<(i64, char)>::new());
    assert_eq!(rows.join(&others).count()?, 0);
    assert_eq!((rows.join(&none).count()?, none.join(&rows).count()?), (0, 0));
    assert_eq!((rows.join(&nowhere).count()?, nowhere.join(&rows).count()?), (0, 0));
    Ok(())
}

#[test]
fn a_join_with_itself_pairs_all_with_all() -> Result<()> {
    let rows = pairs(12, 200, 9);
    let expected = sorted(nested_loops(&rows, &rows));
    let data = cx().parallelize_in(rows, 4);
    assert_eq!(sorted(data.join(&data).collect()?), expected);
    Ok(())
}

#[test]
fn co_partitioned_sides_are_joined_without_a_shuffle() -> Result<()> {
    let cx = cx();
    let (left, right) = (pairs(1, 1000, 100), pairs(2, 1000, 150));
    let sums = |rows: &[(i64, u64)]| -> Vec<(i64, u64)> {
        grouped(rows).into_iter().map(|(key, values)| (key, values.iter().sum())).collect()
    };
    let expected = sorted(nested_loops(&sums(&left), &sums(&right)));
    let a = cx.parallelize_in(left, 3).shuffle_into(8).reduce_by_key(|a, b| a + b);
    let b = cx.parallelize_in(right, 5).shuffle_into(8).reduce_by_key(|a, b| a + b);
    let joined = a.join(&b);
    assert_eq!(shuffles(&joined), 2);
    assert_eq!(joined.partitions(), 8);
    assert_eq!(sorted(joined.collect()?), expected);
    // The answer is partitioned as well.
    let again = joined.reduce_by_key(|first, _| first);
    assert_eq!(shuffles(&again), 2);
    assert_eq!(sorted(again.collect()?), expected);
    Ok(())
}

#[test]
fn only_the_side_that_is_not_partitioned_by_key_is_shuffled() -> Result<()> {
    let cx = cx();
    let (left, right) = (pairs(1, 1000, 100), pairs(2, 700, 150));
    let expected = sorted(nested_loops(
        &grouped(&left).into_iter().map(|(key, values)| (key, values.iter().sum())).collect::<Vec<(i64, u64)>>(),
        &right,
    ));
    let a = cx.parallelize_in(left, 3).shuffle_into(8).reduce_by_key(|a, b| a + b);
    let b = cx.parallelize_in(right, 5);
    assert_eq!(shuffles(&a.join(&b)), 2);
    assert_eq!(shuffles(&b.join(&a)), 2);
    assert_eq!(sorted(a.join(&b).collect()?), expected);
    let turned = b.join(&a).map(|(key, (b, a))| (key, (a, b)));
    assert_eq!(sorted(turned.collect()?), expected);
    Ok(())
}

#[test]
fn the_partitions_of_a_keyed_operator_are_those_of_its_largest_input() {
    let cx = cx();
    let of = |partitions| cx.parallelize_in(pairs(1, 100, 10), partitions);
    assert_eq!(of(7).reduce_by_key(|a, b| a + b).partitions(), 7);
    assert_eq!(of(7).group_by_key().partitions(), 7);
    assert_eq!(of(7).distinct().partitions(), 7);
    assert_eq!(of(7).sort_by_key().partitions(), 7);
    assert_eq!(of(7).join(&of(30)).partitions(), 30);
    assert_eq!(of(30).join(&of(7)).partitions(), 30);
    // An existing partitioning is kept if it is within an order of magnitude.
    let partitioned = |partitions| of(3).shuffle_into(partitions).reduce_by_key(|a, b| a + b);
    assert_eq!(partitioned(10).join(&of(100)).partitions(), 10);
    assert_eq!(of(100).join(&partitioned(10)).partitions(), 10);
    assert_eq!(partitioned(9).join(&of(100)).partitions(), 100);
    assert_eq!(partitioned(10).join(&partitioned(20)).partitions(), 20);
}

#[test]
fn a_layout_is_kept_by_what_keeps_keys_and_dropped_by_map() -> Result<()> {
    let cx = cx();
    let rows = pairs(3, 2000, 60);
    let expected: Vec<(i64, u64)> =
        grouped(&rows).into_iter().map(|(key, values)| (key, values.iter().sum())).collect();
    let sums = cx.parallelize_in(rows, 4).shuffle_into(5).reduce_by_key(|a, b| a + b);
    let again = |data: Data<(i64, u64)>| -> Result<usize> {
        let reduced = data.shuffle_into(5).reduce_by_key(|a, b| a + b);
        let shuffles = shuffles(&reduced);
        assert_eq!(sorted(reduced.collect()?), expected);
        Ok(shuffles)
    };
    assert_eq!(again(sums.boxed())?, 1);
    assert_eq!(again(sums.map_values(|n| n + 1).map_values(|n| n - 1).boxed())?, 1);
    assert_eq!(again(sums.filter(|_| true).boxed())?, 1);
    assert_eq!(again(sums.with(-1000).filter(|least, (key, _)| key > least).boxed())?, 1);
    assert_eq!(again(sums.sample(1.0, 3).boxed())?, 1);
    assert_eq!(again(sums.nondeterministic().boxed())?, 1);
    assert_eq!(again(sums.cache().boxed())?, 1);
    assert_eq!(again(sums.map(|(key, n)| (key, n)).boxed())?, 2);
    assert_eq!(again(sums.flat_map(|pair| [pair]).boxed())?, 2);
    assert_eq!(again(sums.map_partitions(|pairs| pairs).boxed())?, 2);
    assert_eq!(again(sums.coalesce(2).boxed())?, 2);
    assert_eq!(again(sums.repartition(5).boxed())?, 3);
    assert_eq!(shuffles(&sums.shuffle_into(6).reduce_by_key(|a, b| a + b)), 2);
    Ok(())
}

#[test]
fn a_filter_after_a_shuffle_keeps_the_partitioning() -> Result<()> {
    let cx = cx();
    let rows = pairs(30, 4000, 500);
    let sums = cx.parallelize_in(rows.clone(), 4).shuffle_into(7).reduce_by_key(|a, b| a + b);
    let (small, large) = (sums.filter(|(key, _)| *key < 50), sums.filter(|(key, _)| *key >= 0));
    let joined = small.join(&large);
    assert_eq!(shuffles(&joined), 1);
    let keys: Vec<i64> = grouped(&rows).into_keys().filter(|key| (0..50).contains(key)).collect();
    assert_eq!(sorted(joined.keys().collect()?), keys);
    Ok(())
}

#[test]
fn the_order_of_groups_and_the_bits_of_sums_do_not_depend_on_threads() -> Result<()> {
    // Sums of these numbers depend on the order of the additions.
    let answers = |threads: usize| -> Result<Vec<(u64, u64)>> {
        let cx = Context::local(threads)?;
        let values = cx.range_in(0..50_000, 23).map(|n| (n % 97, 1.0 / (n as f64 + 0.1)));
        values.shuffle_into(5).reduce_by_key(|a, b| a + b).map_values(f64::to_bits).collect()
    };
    let one = answers(1)?;
    for (key, bits) in &one {
        let expected: f64 = (0..50_000u64).filter(|n| n % 97 == *key).map(|n| 1.0 / (n as f64 + 0.1)).sum();
        assert!((f64::from_bits(*bits) - expected).abs() < 1e-9);
    }
    assert_eq!(one, answers(2)?);
    assert_eq!(one, answers(7)?);
    Ok(())
}

#[test]
fn a_word_count_of_moby_dick_has_the_known_figures() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mobydick.txt");
    let text = std::fs::read_to_string(path).expect("the book is in the repository");
    let mut expected = BTreeMap::<String, u64>::new();
    text.split_whitespace().for_each(|word| *expected.entry(word.to_lowercase()).or_default() += 1);
    let counts = cx()
        .text_file(path)
        .flat_map_into(|line, out| line.split_whitespace().for_each(|word| out.push(Str::lower(word))))
        .map(|word| (word, 1u64))
        .reduce_by_key(|a, b| a + b);
    let found = sorted(counts.map(|(word, n)| (word.as_str().to_string(), n)).collect()?);
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    Ok(())
}

/// All cores fold one partition of more than a million rows at once: its rows come out as with one core.
#[test]
fn a_large_partition_is_split_among_the_cores_and_comes_out_the_same() {
    let collected = |threads| {
        let cx = Context::local(threads).unwrap();
        let pairs = cx.range(0..1_500_000).map(|n| (n * 7919 % 1_200_007, 1.0 / (n + 1) as f64));
        let sums = pairs.shuffle_into(1).reduce_by_key(|a, b| a + b).collect().unwrap();
        let groups = pairs.shuffle_into(1).group_by_key().map(|(key, values)| (key, values.len())).collect().unwrap();
        (sums, groups)
    };
    let (sums, groups) = collected(3);
    let mut expected = BTreeMap::<u64, (f64, usize)>::new();
    for n in 0..1_500_000u64 {
        let entry = expected.entry(n * 7919 % 1_200_007).or_default();
        *entry = (entry.0 + 1.0 / (n + 1) as f64, entry.1 + 1);
    }
    assert_eq!(sums.len(), expected.len());
    assert!(sums.iter().all(|(key, sum)| (expected[key].0 - sum).abs() < 1e-12));
    assert!(groups.iter().all(|(key, count)| expected[key].1 == *count));
    let (one_core_sums, one_core_groups) = collected(1);
    let bits = |sums: &[(u64, f64)]| sums.iter().map(|(key, sum)| (*key, sum.to_bits())).collect::<Vec<_>>();
    assert_eq!(bits(&sums), bits(&one_core_sums));
    assert_eq!(groups, one_core_groups);
}

/// If a function panics on one of those cores, the error names it as if it had run on the task's own thread.
#[test]
fn a_panic_in_a_split_partition_names_its_operator() {
    let cx = Context::local(2).unwrap();
    let pairs = cx.range(0..1_500_000).map(|n| (n % 1_200_000, n));
    let summed = pairs.shuffle_into(1).reduce_by_key(|a, b| if b > 1_400_000 { panic!("too much") } else { a + b });
    let error = summed.count().unwrap_err().to_string();
    assert!(error.starts_with("`reduce_by_key` panicked: too much"), "{error}");
    assert_eq!(cx.range(0..10).count().unwrap(), 10);
}
