//! Aggregations by key, and actions that make one answer of all items: their errors and their edges.

use crate::support::{cx, fault, plan_error};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

#[test]
fn a_sum_that_is_too_large_only_with_all_partitions_is_an_error_every_time() {
    for partitions in [1, 3] {
        let halves = cx().range_in(0..3, partitions).map(|_| ((), u32::MAX / 2 + 1));
        let sums = halves.sum_by_key();
        // The outputs of the first action are left, and the second one reads them.
        for _ in 0..2 {
            let (message, site) = plan_error(sums.collect());
            assert!(message.starts_with("sum_by_key: the sum of a key does not fit into `u32`"), "{message}");
            assert_eq!(site.file, file!());
        }
    }
}

#[test]
fn a_sum_of_signed_numbers_names_the_key_of_which_it_does_not_fit() -> Result<()> {
    let pairs = cx().range_in(0..6, 3).map(|n| (format!("key {}", n % 2), if n % 2 == 0 { i64::MAX / 2 } else { -7 }));
    let (message, _) = plan_error(pairs.sum_by_key().collect());
    assert!(message.starts_with("sum_by_key: the sum of the key \"key 0\" does not fit into `i64`"), "{message}");
    assert_eq!(pairs.filter(|pair| pair.1 < 0).sum_by_key().collect()?, [("key 1".to_string(), -21)]);
    Ok(())
}

#[test]
fn a_panic_in_an_aggregation_names_its_call() {
    let pairs = cx().range_in(0..100, 3).map(|n| (n % 5, n));
    let failed = [
        ("aggregate_by_key", pairs.aggregate_by_key(0, |_, _| panic!("boom"), |a, _| a).map(drop).collect()),
        ("aggregate_by_key", pairs.aggregate_by_key(0, |a, _| a, |_, _| panic!("boom")).map(drop).collect()),
        ("fold_by_key", pairs.fold_by_key(0, |_, _| panic!("boom")).map(drop).collect()),
        ("combine_by_key", pairs.combine_by_key(|_| panic!("boom"), |a: u64, _| a, |a, _| a).map(drop).collect()),
        ("combine_by_key", pairs.combine_by_key(|n| n, |_, _| panic!("boom"), |a, _| a).map(drop).collect()),
        ("group_by", pairs.group_by(|_| -> u64 { panic!("boom") }).map(drop).collect()),
    ];
    for (name, result) in failed {
        let fault = fault(result.unwrap_err());
        assert_eq!((fault.operator.as_str(), fault.site.file), (name, file!()));
        assert!(fault.message.contains("boom"));
    }
}

#[test]
fn looking_up_a_key_of_a_partitioned_dataset_reads_one_partition() -> Result<()> {
    static READ: AtomicUsize = AtomicUsize::new(0);
    let pairs = cx().range_in(0..1_000, 4).map(|n| (n % 200, n)).shuffle_into(8).reduce_by_key(|a, b| a + b);
    let watched = pairs.map_values(|sum| {
        READ.fetch_add(1, Relaxed);
        sum
    });
    for key in 0..200 {
        assert_eq!(watched.lookup(key)?, [5 * key + 2_000]);
    }
    // Each key was read for every key of its partition, about 25, and not for all 200.
    let read = READ.load(Relaxed);
    assert!((200 * 20..200 * 60).contains(&read), "{read} pairs were read");
    Ok(())
}

#[test]
fn the_greatest_of_equal_items_is_the_first_of_them() -> Result<()> {
    /// A number that is compared by its tens.
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    struct Tens(u64);
    impl Ord for Tens {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            (self.0 / 10).cmp(&(other.0 / 10))
        }
    }
    impl PartialOrd for Tens {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl PartialEq for Tens {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Tens {}

    let tens = cx().range_in(0..30, 4).map(Tens);
    let numbers = |tens: Vec<Tens>| tens.into_iter().map(|ten| ten.0).collect::<Vec<_>>();
    assert_eq!(numbers(tens.top(12)?), (20..30).chain(10..12).collect::<Vec<_>>());
    assert_eq!(numbers(tens.take_ordered(12)?), (0..12).collect::<Vec<_>>());
    assert_eq!((tens.max()?.map(|ten| ten.0), tens.min()?.map(|ten| ten.0)), (Some(20), Some(0)));
    assert_eq!(tens.max_by(|ten| ten.0 / 10)?.map(|ten| ten.0), Some(20));
    let top = tens.map(|ten| ((), ten)).top_by_key(12).collect()?;
    assert_eq!(numbers(top.into_iter().flat_map(|(_, top)| top).collect()), (20..30).chain(10..12).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn buckets_and_errors_that_make_no_sense_are_mistakes_that_name_the_call() {
    let n = cx().range_in(0..10, 2);
    let pairs = n.map(|n| (n % 2, n));
    let mistakes = [
        ("histogram: there must be at least one bucket", n.histogram(0).map(drop)),
        ("histogram_in: [1.0] are no bounds of buckets", n.histogram_in(vec![1.0]).map(drop)),
        (
            "histogram_in: the bounds have to ascend, and two neighbours are [1.0, 1.0]",
            n.histogram_in(vec![0.5, 1.0, 1.0, 2.0]).map(drop),
        ),
        (
            "histogram_in: the bounds have to ascend, and two neighbours are [0.0, NaN]",
            n.histogram_in(vec![0.0, f64::NAN]).map(drop),
        ),
        ("histogram: 1048577 buckets are too many", n.histogram((1 << 20) + 1).map(drop)),
        ("count_approx_distinct: the error has to be at most 0.26", n.count_approx_distinct(0.5).map(drop)),
        ("count_approx_distinct: the error has to be at least", n.count_approx_distinct(0.0).map(drop)),
        (
            "count_approx_distinct_by_key: the error has to be at most",
            pairs.count_approx_distinct_by_key(f64::NAN).count().map(drop),
        ),
        ("sum_by_key: there must be at least one partition", pairs.shuffle_into(0).sum_by_key().count().map(drop)),
        ("top: `shuffle_into(3)` does not apply", n.shuffle_into(3).top(1).map(drop)),
        (
            "cogroup: `shuffle_into(3)` was called on its right side",
            pairs.cogroup(&pairs.shuffle_into(3)).count().map(drop),
        ),
    ];
    for (expected, result) in mistakes {
        let (message, site) = plan_error(result);
        assert!(message.starts_with(expected), "{message}");
        assert_eq!(site.file, file!());
    }
    let unread = n.shuffle_into(3).to_local_iterator().next();
    assert!(plan_error(unread.unwrap()).0.starts_with("to_local_iterator: `shuffle_into(3)` does not apply"));
}

#[test]
fn a_local_iterator_runs_what_is_before_a_shuffle_once_and_a_partition_when_it_gets_there() -> Result<()> {
    static MAPPED: AtomicUsize = AtomicUsize::new(0);
    static READ: AtomicUsize = AtomicUsize::new(0);
    let pairs = cx().range_in(0..100, 4).map(|n| {
        MAPPED.fetch_add(1, Relaxed);
        (n % 50, n)
    });
    let sums = pairs.shuffle_into(5).reduce_by_key(|a, b| a + b).map(|pair| {
        READ.fetch_add(1, Relaxed);
        pair
    });
    let mut items = sums.to_local_iterator();
    assert!(items.next().unwrap().is_ok());
    assert!(READ.load(Relaxed) < 50, "one partition of five is read");
    assert_eq!(items.count(), 49);
    assert_eq!((MAPPED.load(Relaxed), READ.load(Relaxed)), (100, 50));
    Ok(())
}
