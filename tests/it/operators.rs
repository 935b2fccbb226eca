//! Compares operators without keys with plain iterators.

use crate::support::{Random, assert_empty, cx, glom, plan_error, sorted};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

#[test]
fn the_basic_operators_keep_order_over_two_partitions() -> Result<()> {
    let cx = cx();
    let numbers = cx.parallelize_in(1..=4u64, 2);
    assert_eq!(numbers.partitions(), 2);
    assert_eq!(numbers.collect()?, [1, 2, 3, 4]);
    assert_eq!(glom(&numbers), [vec![1, 2], vec![3, 4]]);
    assert_eq!(numbers.map(|n| n * 2).collect()?, [2, 4, 6, 8]);
    assert_eq!(numbers.filter(|n| n % 2 == 0).collect()?, [2, 4]);
    assert_eq!(numbers.flat_map(|n| 1..=n).collect()?, [1, 1, 2, 1, 2, 3, 1, 2, 3, 4]);
    assert_eq!(numbers.union(&numbers).collect()?, [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(numbers.key_by(|n| n + 1).collect()?, [(2, 1), (3, 2), (4, 3), (5, 4)]);
    assert_eq!(numbers.key_by(|n| n % 2).keys().collect()?, [1, 0, 1, 0]);
    assert_eq!((numbers.min()?, numbers.max()?, numbers.first()?), (Some(1), Some(4), Some(1)));
    assert_eq!((numbers.sum()?, numbers.count()?), (10, 4));
    assert_eq!((numbers.reduce(|a, b| a + b)?, numbers.fold(0, |a, b| a + b)?), (Some(10), 10));
    Ok(())
}

#[test]
fn nothing_has_no_first_item_no_extremes_and_no_statistics() -> Result<()> {
    let cx = cx();
    // No partition, no item in any partition, and no input.
    for none in [
        cx.from_fn(0, |partition| [u64::from(partition)]).boxed(),
        cx.range_in(0..10, 3).filter(|_| false).boxed(),
        cx.range(0..0).boxed(),
    ] {
        let one = [none.reduce(|a, b| a + b)?, none.min()?, none.max()?, none.first()?, none.min_by(|n| *n)?];
        assert_eq!(one, [None; 5]);
        assert_eq!([none.mean()?, none.variance()?, none.stdev()?, none.stats()?.min()], [None; 4]);
        assert!(none.is_empty()? && none.stats()?.count() == 0);
        assert_eq!((none.top(3)?, none.take_ordered(3)?, none.take_sample(3, 1)?), (vec![], vec![], vec![]));
        assert_eq!(none.to_local_iterator().count(), 0);
        let histogram = none.histogram(3)?;
        assert_eq!((histogram.bounds, histogram.counts, histogram.outside), (vec![], vec![], 0));
        assert_eq!(none.histogram_in(vec![0.0, 1.0])?.counts, [0]);
        let pairs = none.map(|n| (n, n));
        assert_eq!((pairs.lookup(1)?, pairs.count_by_key()?.len(), pairs.collect_as_map()?.len()), (vec![], 0, 0));
        assert_empty(pairs.sum_by_key().collect()?);
        assert_empty(pairs.aggregate_by_key(0, |a, n| a + n, |a, b| a + b).collect()?);
        assert_empty(none.counts().collect()?);
        assert_empty(none.group_by(|n| *n).collect()?);
    }
    Ok(())
}

#[test]
fn empty_datasets_have_neutral_answers() -> Result<()> {
    let cx = cx();
    let none = cx.parallelize(Vec::<u64>::new());
    assert_eq!((none.count()?, none.sum()?, none.fold(7, |a, b| a.max(b))?), (0, 0, 7));
    assert_eq!(none.collect()?, Vec::<u64>::new());
    assert_eq!(none.take(5)?, Vec::<u64>::new());
    assert_eq!(none.take_ordered_by(5, |n| *n)?, Vec::<u64>::new());
    Ok(())
}

#[test]
fn folds_that_take_their_first_value_apart_are_right_for_any_partitions() -> Result<()> {
    let cx = cx();
    let expected: Vec<u64> = (0..1000).collect();
    for partitions in 1..=9 {
        let numbers = cx.range_in(0..1000, partitions);
        let push = |mut all: Vec<u64>, n| {
            all.push(n);
            all
        };
        let append = |mut all: Vec<u64>, mut more: Vec<u64>| {
            all.append(&mut more);
            all
        };
        assert_eq!(numbers.aggregate(Vec::new(), push, append)?, expected);
        assert_eq!(numbers.map(|n| vec![n]).fold(Vec::new(), append)?, expected);
        assert_eq!(numbers.map(|n| vec![n]).reduce(append)?, Some(expected.clone()));
    }
    Ok(())
}

#[test]
fn a_fold_uses_its_first_value_once_a_partition_and_once_more() -> Result<()> {
    let sum = cx().range_in(0..10, 4).fold(100, |a, b| a + b)?;
    assert_eq!(sum, 45 + 5 * 100);
    Ok(())
}

#[test]
fn take_gives_the_first_items_for_any_number_and_any_partitions() -> Result<()> {
    let cx = cx();
    for partitions in [1, 2, 100] {
        let numbers = cx.range_in(0..1000, partitions);
        for n in [0, 1, 500, 501, 1000, 1001, usize::MAX] {
            assert_eq!(numbers.take(n)?, (0..1000).take(n).collect::<Vec<u64>>());
        }
        let late = numbers.filter(|n| *n > 900);
        assert_eq!(late.take(3)?, [901, 902, 903]);
    }
    Ok(())
}

#[test]
fn take_touches_few_partitions() -> Result<()> {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let numbers = cx.from_fn(1000, |partition| {
        OPENED.fetch_add(1, Relaxed);
        (0..10).map(move |n| partition * 10 + n)
    });
    assert_eq!(numbers.take(10)?, (0..10).collect::<Vec<_>>());
    assert_eq!(OPENED.swap(0, Relaxed), 1);
    assert_eq!(numbers.take(25)?, (0..25).collect::<Vec<_>>());
    assert!((3..=5).contains(&OPENED.swap(0, Relaxed)));
    assert_eq!(numbers.take(0)?, Vec::<u32>::new());
    assert_eq!(OPENED.load(Relaxed), 0);
    Ok(())
}

#[test]
fn take_stops_in_the_middle_of_an_endless_partition() -> Result<()> {
    let endless = cx().from_fn(1, |_| 0u64..);
    assert_eq!(endless.map(|n| n * n).filter(|n| n % 2 == 1).take(3)?, [1, 9, 25]);
    assert_eq!(endless.flat_map(|n| [n; 3]).take(4)?, [0, 0, 0, 1]);
    assert_eq!(endless.zip(&endless).take(2)?, [(0, 0), (1, 1)]);
    Ok(())
}

#[test]
fn take_ordered_by_follows_any_order() -> Result<()> {
    let cx = cx();
    let mut random = Random(3);
    let rows: Vec<(u64, u64)> = (0..5000).map(|at| (random.below(100), at)).collect();
    let data = cx.parallelize_in(rows.clone(), 7);
    for n in [0, 1, 10, 1023, 1024, 1025, 4999, 5000, 6000] {
        let mut expected = rows.clone();
        // A stable sort: of equal keys, the earlier row comes first.
        expected.sort_by_key(|row| row.0);
        expected.truncate(n);
        assert_eq!(data.take_ordered_by(n, |row| row.0)?, expected);
        let mut expected = rows.clone();
        expected.sort_by_key(|row| Reverse(row.0));
        expected.truncate(n);
        assert_eq!(data.take_ordered_by(n, |row| Reverse(row.0))?, expected);
    }
    Ok(())
}

#[test]
fn take_ordered_by_of_more_than_can_be_is_all() -> Result<()> {
    assert_eq!(cx().range(0..10).take_ordered_by(usize::MAX, |n| Reverse(*n))?, (0..10).rev().collect::<Vec<_>>());
    Ok(())
}

#[test]
fn repartition_fills_its_partitions_alike() -> Result<()> {
    let cx = cx();
    for (from, to) in [(1, 3), (3, 1), (10, 20), (20, 10), (7, 7), (2, 100)] {
        // All items are at the beginning.
        let data = cx.range_in(0..4000, from).filter(|n| *n < 1000).repartition(to);
        let parts = glom(&data);
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        // This many partitions have one item more, and they come first.
        let (each, more) = (1000 / to as usize, 1000 % to as usize);
        assert_eq!(sizes, [vec![each + 1; more], vec![each; to as usize - more]].concat(), "{from} to {to}");
        assert_eq!(sorted(parts.concat()), (0..1000).collect::<Vec<_>>());
    }
    let sizes = |from: u32, rows: u64, to: u32| -> Vec<usize> {
        glom(&cx.range_in(0..rows, from).repartition(to)).iter().map(Vec::len).collect()
    };
    assert_eq!(sizes(10, 100, 20), [5; 20]);
    assert_eq!(sizes(100, 1000, 200), [5; 200]);
    assert_eq!(sizes(3, 7, 5), [2, 2, 1, 1, 1]);
    // Spilled items are dealt out in the same way.
    let tight = Context::builder().threads(2).memory(1 << 20).progress(false).build()?;
    let words = |cx: &Context| glom(&cx.range_in(0..30_000, 7).map(|n| format!("{n:0>100}")).repartition(11));
    assert_eq!(words(&tight), words(&cx));
    assert!(tight.memory().spilled() > 0);
    Ok(())
}

#[test]
fn rows_of_no_size_are_counted_like_others() -> Result<()> {
    let cx = cx();
    let nothings = cx.range_in(0..1000, 7).map(|_| ());
    assert_eq!(nothings.distinct().collect()?, [()]);
    assert_eq!(nothings.shuffle_into(3).distinct().count()?, 1);
    assert_eq!(cx.range_in(0..0, 3).map(|_| ()).distinct().count()?, 0);
    assert_eq!(nothings.map(|n| (n, n)).reduce_by_key(|(), ()| ()).collect()?, [((), ())]);
    assert_eq!(nothings.map(|n| (n, n)).group_by_key().collect()?, [((), vec![(); 1000])]);
    assert_eq!(nothings.map(|n| (n, n)).join(&nothings.map(|n| (n, n)).distinct()).count()?, 1000);
    assert_eq!(nothings.map(|n| (n, 1)).reduce_by_key(|a, b| a + b).collect()?, [((), 1000)]);
    assert_eq!(nothings.sort_by(|n| *n).count()?, 1000);
    assert_eq!(nothings.map(|n| (n, n)).shuffle_into(3).sort_by_key().count()?, 1000);
    assert_eq!(nothings.repartition(3).map_partitions(|n| [n.count()]).collect()?, [334, 333, 333]);
    assert_eq!((nothings.cache().count()?, nothings.persist(StorageLevel::Disk).count()?), (1000, 1000));
    assert_eq!(nothings.take_ordered_by(3, |n| *n)?, [(); 3]);
    assert_eq!((nothings.collect()?.len(), nothings.take(5)?.len(), nothings.min()?), (1000, 5, Some(())));
    assert_eq!(nothings.zip(&nothings).count()?, 1000);
    Ok(())
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_that_names_it() -> Result<()> {
    let cx = cx();
    // Each partition's sum fits, but not all of them together.
    let (message, site) = plan_error(cx.parallelize_in(vec![100u8, 100, 100], 3).sum());
    assert!(message.starts_with("sum: the sum does not fit into `u8`"), "{message}");
    assert_eq!(site.file, file!());
    let (message, _) = plan_error(cx.parallelize_in(vec![200u8, 100, 1], 1).sum());
    assert!(message.contains("`u8`"), "{message}");
    assert!(plan_error(cx.parallelize(vec![u64::MAX, 1]).sum()).0.contains("`u64`"));
    assert!(plan_error(cx.parallelize(vec![i64::MAX, 1]).background().sum()?.wait()).0.contains("`i64`"));
    assert!(plan_error(cx.parallelize(vec![i128::MIN, -1]).sum()).0.contains("`i128`"));
    // A sum that is too large on the way and small enough at the end fits, with any number of partitions.
    for partitions in 1..=4 {
        assert_eq!(cx.parallelize_in(vec![100i8, 100, -100, -30], partitions).sum()?, 70);
        assert_eq!(cx.parallelize_in(vec![i128::MAX, i128::MAX, i128::MIN, i128::MIN], partitions).sum()?, -2);
    }
    assert_eq!(cx.parallelize(vec![255u8, 1]).map(std::num::Wrapping).sum()?.0, 0);
    assert_eq!(cx.parallelize(vec![0.5f32, 0.25]).sum()?, 0.75);
    let times = cx.range(0..3).map(std::time::Duration::from_secs);
    assert_eq!(times.sum()?, std::time::Duration::from_secs(3));
    Ok(())
}

#[test]
fn no_partitions_at_all_is_an_error_of_the_action() {
    let cx = cx();
    let pairs = || cx.range(0..10).key_by(|n| n % 3);
    let count = |name: &str, result: Result<u64>| {
        let (message, site) = plan_error(result);
        assert!(message.contains("partition") && message.contains(name), "{message}");
        assert_eq!(site.file, file!());
    };
    count("repartition", cx.range(0..10).repartition(0).count());
    count("coalesce", cx.range(0..10).coalesce(0).count());
    count("distinct", cx.range(0..10).shuffle_into(0).distinct().count());
    count("reduce_by_key", pairs().shuffle_into(0).reduce_by_key(|a, b| a + b).count());
    count("group_by_key", pairs().shuffle_into(0).group_by_key().count());
    count("join", pairs().shuffle_into(0).join(&pairs()).count());
    count("sort_by_key", pairs().shuffle_into(0).sort_by_key().count());
    count("sort_by", cx.range(0..10).shuffle_into(0).sort_by(|n| *n).count());
    count("range_in", cx.range_in(0..10, 0).count());
    count("parallelize_in", cx.parallelize_in([1, 2], 0).count());
}

#[test]
fn every_action_reports_a_mistake_in_the_plan() {
    let cx = cx();
    let wrong = cx.range_in(0..10, 0);
    let told = |result: Result<()>| {
        assert!(plan_error(result).0.contains("range_in"));
    };
    told(wrong.collect().map(drop));
    told(wrong.count().map(drop));
    told(wrong.take(3).map(drop));
    told(wrong.take(0).map(drop));
    told(wrong.first().map(drop));
    told(wrong.sum().map(drop));
    told(wrong.min().map(drop));
    told(wrong.fold(0, |a, b| a + b).map(drop));
    told(wrong.take_ordered_by(1, |n| *n).map(drop));
    told(wrong.for_each(|_| {}));
    told(wrong.explain().map(drop));
    told(wrong.explain_dot().map(drop));
    told(wrong.background().count().map(drop));
    told(wrong.map(|n| (n, n)).reduce_by_key(|a, _| a).count().map(drop));
    told(cx.range(0..3).union(&wrong).count().map(drop));
}

#[test]
fn coalesce_groups_neighbours() -> Result<()> {
    let cx = cx();
    let data = cx.range_in(0..1000, 10);
    assert_eq!(glom(&data.coalesce(10)), glom(&data));
    assert_eq!(data.coalesce(20).partitions(), 10);
    for to in [1, 3, 9] {
        let parts = glom(&data.coalesce(to));
        assert_eq!(parts.len() as u32, to);
        assert_eq!(parts.concat(), (0..1000).collect::<Vec<_>>());
        // Whole partitions of 100 items.
        assert!(parts.iter().all(|part| part.len() % 100 == 0));
        let lengths: BTreeSet<usize> = parts.iter().map(Vec::len).collect();
        assert!(lengths.last().unwrap() - lengths.first().unwrap() <= 100);
    }
    let many = cx.range_in(0..10_000, 10_000).coalesce(7);
    assert_eq!(glom(&many).concat(), (0..10_000).collect::<Vec<_>>());
    assert!(glom(&many).iter().all(|part| part.len() / 2 == 714 || part.len().abs_diff(1428) <= 1));
    Ok(())
}

#[test]
fn zip_pairs_items_one_to_one() -> Result<()> {
    let cx = cx();
    let numbers = cx.range_in(0..10_000, 3);
    // The sides come in batches of different sizes.
    let left = numbers.filter(|n| n % 4 == 0);
    let right = numbers.flat_map(|n| if n % 4 == 0 { vec![n * 2] } else { vec![] });
    let expected: Vec<_> = (0..10_000).filter(|n| n % 4 == 0).map(|n| (n, n * 2)).collect();
    assert_eq!(left.zip(&right).collect()?, expected);
    Ok(())
}

#[test]
fn zip_of_unequal_partitions_fails_when_planned() {
    let cx = cx();
    let zipped = cx.range_in(0..10, 2).zip(&cx.range_in(0..10, 3));
    let line = line!() - 1;
    let (message, site) = plan_error(zipped.collect());
    assert!(message.contains("2 partitions") && message.contains('3'), "{message}");
    assert_eq!((site.file, site.line), (file!(), line));
}

#[test]
fn zip_of_unequal_lengths_fails_when_run() {
    let cx = cx();
    for (left, right, longer) in [(10, 11, "right"), (11, 10, "left"), (0, 1, "right"), (3000, 2048, "left")] {
        let zipped = cx.range_in(0..left, 1).zip(&cx.range_in(0..right, 1));
        let (message, _) = plan_error(zipped.count());
        assert!(message.contains(&format!("the {longer} side has more items")), "{message}");
    }
}

#[test]
fn union_takes_the_partitions_of_both() -> Result<()> {
    let cx = cx();
    let (some, none) = (cx.range_in(0..10, 3), cx.from_fn(0, |_| [0u64]));
    let both = some.union(&cx.range_in(5..7, 2));
    assert_eq!(both.partitions(), 5);
    assert_eq!(both.collect()?, (0..10).chain(5..7).collect::<Vec<_>>());
    assert_eq!(some.union(&none).collect()?, (0..10).collect::<Vec<_>>());
    assert_eq!(none.union(&some).collect()?, (0..10).collect::<Vec<_>>());
    assert_eq!(none.union(&none).collect()?, Vec::<u64>::new());
    Ok(())
}

#[test]
fn more_partitions_than_a_dataset_has_are_a_mistake_of_the_call() {
    const MOST: u32 = 1 << 24;
    let cx = cx();
    let told = |(message, site): (String, tryworks::Site), call: &str, asked: u32| {
        let expected = format!("{call}: a dataset has at most {MOST} partitions, and {asked} were asked for");
        assert!(message == expected && site.file.ends_with("operators.rs"), "{message} at {site}");
    };
    let many = cx.range_in(0..u64::MAX, MOST);
    told(plan_error(many.union(&many).count()), "union", 2 * MOST);
    told(plan_error(cx.union(vec![many.boxed(); 300]).count()), "union", u32::MAX);
    assert_eq!(many.take(1), Ok(vec![0]));
    let few = cx.range_in(0..10, 2);
    for asked in [u32::MAX, MOST + 1] {
        told(plan_error(few.repartition(asked).count()), "repartition", asked);
        told(
            plan_error(few.map(|n| (n, n)).shuffle_into(asked).reduce_by_key(|a, _| a).count()),
            "reduce_by_key",
            asked,
        );
        told(plan_error(few.map(|n| (n, n)).shuffle_into(asked).group_by_key().count()), "group_by_key", asked);
        told(plan_error(few.map(|n| (n, n)).shuffle_into(asked).sort_by_key().count()), "sort_by_key", asked);
        told(plan_error(cx.range_in(0..10, asked).count()), "range_in", asked);
        told(plan_error(cx.from_fn(asked, |n| [n]).count()), "from_fn", asked);
    }
}

#[test]
fn a_shuffle_whose_buckets_alone_are_more_than_all_memory_is_an_error_that_says_so() -> Result<()> {
    let cx = Context::builder().threads(2).memory(1 << 20).progress(false).build()?;
    for error in [
        cx.range_in(0..10, 2).repartition(1_000_000).count().unwrap_err(),
        cx.range_in(0..10, 2).map(|n| (n, n)).shuffle_into(1_000_000).group_by_key().count().unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Limit { name, .. } if name == "memory"), "{error}");
        assert!(error.to_string().contains("1000000 buckets") && error.to_string().contains("fewer partitions"));
    }
    assert_eq!(cx.range_in(0..10, 2).repartition(1_000).count()?, 10);
    Ok(())
}

#[test]
fn a_dataset_of_no_partitions_runs_every_action() -> Result<()> {
    let cx = cx();
    let none = cx.from_fn(0, |partition| [u64::from(partition)]);
    assert_eq!(none.partitions(), 0);
    assert_eq!((none.count()?, none.collect()?, none.take(2)?), (0, vec![], vec![]));
    assert_eq!((none.sum()?, none.fold(3, |a, b| a + b)?), (0, 3));
    assert_eq!(none.reduce(|a, b| a + b)?, None);
    none.for_each(|_| panic!("there is nothing to call it with"))?;
    assert_empty(none.coalesce(3).collect()?);
    assert_empty(none.repartition(3).collect()?);
    assert_empty(none.distinct().collect()?);
    assert_empty(none.sort_by(|n| *n).collect()?);
    assert_empty(none.key_by(|n| *n).reduce_by_key(|a, _| a).collect()?);
    assert_empty(none.key_by(|n| *n).join(&cx.range(0..3).key_by(|n| *n)).collect()?);
    assert_empty(cx.range(0..3).key_by(|n| *n).join(&none.key_by(|n| *n)).collect()?);
    Ok(())
}

#[test]
fn slices_are_exact_up_to_the_ends_of_the_integers() -> Result<()> {
    let cx = cx();
    assert_eq!(cx.range(u64::MAX - 3..u64::MAX).collect()?, [u64::MAX - 3, u64::MAX - 2, u64::MAX - 1]);
    for partitions in [1, 2, 3, 7, 100] {
        let few = cx.range_in(u64::MAX - 50..u64::MAX, partitions);
        assert_eq!(few.collect()?, (u64::MAX - 50..u64::MAX).collect::<Vec<_>>());
    }
    let all = cx.range_in(0..u64::MAX, 3).map_partitions(|mut numbers| numbers.next());
    assert_eq!(all.collect()?, [0, u64::MAX / 3, u64::MAX / 3 * 2]);
    let extremes = [i64::MIN, -1, 0, 1, i64::MAX];
    assert_eq!(cx.parallelize_in(extremes, 3).collect()?, extremes);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 10..3;
    assert_empty(cx.range(backwards).collect()?);
    Ok(())
}

#[test]
fn more_partitions_than_items_leaves_some_empty() -> Result<()> {
    let cx = cx();
    let data = cx.parallelize_in([1u64, 2, 3], 10);
    let parts = glom(&data);
    assert_eq!((parts.len(), parts.concat()), (10, vec![1, 2, 3]));
    assert_eq!(data.map(|n| (n, 1u64)).reduce_by_key(|a, b| a + b).count()?, 3);
    assert_eq!((data.min()?, data.max()?, data.reduce(|a, b| a + b)?), (Some(1), Some(3), Some(6)));
    Ok(())
}

#[test]
fn map_partitions_may_read_as_little_as_it_wants() -> Result<()> {
    let cx = cx();
    let numbers = cx.range_in(0..10_000, 4);
    assert_eq!(numbers.map_partitions(|items| items.take(2)).collect()?, [0, 1, 2500, 2501, 5000, 5001, 7500, 7501]);
    assert_eq!(numbers.map_partitions(|_| [7]).collect()?, [7; 4]);
    assert_eq!(numbers.map_partitions(|_| None::<u8>).count()?, 0);
    let sums = numbers.map_partitions_with_index(|index, items| [(index, items.sum::<u64>())]).collect()?;
    let expected: Vec<_> = (0..4u32).map(|p| (p, (u64::from(p) * 2500..u64::from(p + 1) * 2500).sum())).collect();
    assert_eq!(sums, expected);
    Ok(())
}

#[test]
fn flat_maps_give_nothing_or_much_for_an_item() -> Result<()> {
    let cx = cx();
    let expected: Vec<u64> = (0..100u64).flat_map(|n| std::iter::repeat_n(n, (n * 7 % 50) as usize)).collect();
    let numbers = cx.range_in(0..100, 3);
    assert_eq!(numbers.flat_map(|n| std::iter::repeat_n(n, (n * 7 % 50) as usize)).collect()?, expected);
    let into = numbers.flat_map_into(|n, out| (0..n * 7 % 50).for_each(|_| out.push(n)));
    assert_eq!(into.collect()?, expected);
    let tried = numbers.try_flat_map(|n| Ok(vec![n; (n * 7 % 50) as usize]));
    assert_eq!(tried.collect()?, expected);
    assert_eq!(numbers.flat_map(|n| 0..n * 1000).count()?, (0..100).sum::<u64>() * 1000);
    Ok(())
}

#[test]
fn one_dataset_serves_many_actions() -> Result<()> {
    let cx = cx();
    let squares = cx.range(0..100).map(|n| n * n);
    let (even, odd) = (squares.filter(|n| n % 2 == 0), squares.filter(|n| n % 2 == 1));
    assert_eq!(even.count()? + odd.count()?, squares.count()?);
    assert_eq!(sorted(even.union(&odd).collect()?), squares.collect()?);
    Ok(())
}
