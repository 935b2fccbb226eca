//! Failures: the errors that users see, that nothing hangs, and that the context works afterwards.

use crate::support::{assert_empty, cx, fault, pairs, plan_error, sorted, wait_until};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tryworks::Summand;
use tryworks::prelude::*;

#[test]
fn an_error_says_what_where_and_by_which_call() {
    let cx = cx();
    let texts = cx.parallelize_in(["1", "2", "three", "4"].map(String::from), 4);
    let parsed = texts.try_map(|text| Ok(text.parse::<u64>()?));
    let line = line!() - 1;
    let error = parsed.map(|n| n + 1).collect().unwrap_err();
    let text = error.to_string();
    assert_eq!(text, format!("{error:?}"));
    let first = text.lines().next().unwrap();
    assert!(first.contains("try_map") && first.contains("invalid digit found in string"), "{first}");
    let fault = fault(error);
    assert_eq!((fault.operator.as_str(), fault.panicked, fault.attempts), ("try_map", false, 1));
    assert_eq!((fault.site.file, fault.site.line), (file!(), line));
    assert_eq!(fault.source.map(|source| (source.file, source.line)), Some((file!(), line)));
    assert_eq!(fault.place.partition, 2);
    assert!(text.contains("partition 2") && text.contains(&format!("{}:{line}", file!())), "{text}");
}

#[test]
fn a_panic_says_what_where_and_by_which_call() {
    let cx = cx();
    let numbers = cx.range_in(0..100, 10);
    let mapped = numbers.map(|n| if n == 57 { panic!("no {n} here") } else { n });
    let line = line!() - 1;
    let fault = fault(mapped.filter(|n| n % 2 == 1).count().unwrap_err());
    assert_eq!((fault.operator.as_str(), fault.panicked), ("map", true));
    assert_eq!(fault.message, "no 57 here");
    assert_eq!((fault.site.file, fault.site.line), (file!(), line));
    assert_eq!(fault.source.map(|source| (source.file, source.line)), Some((file!(), line)));
    assert_eq!(fault.place.partition, 5);
}

#[test]
fn a_panic_that_user_code_caught_is_not_blamed_for_a_later_one() -> Result<()> {
    let cx = cx();
    let inner = cx.range_in(0..10, 1).map(|n| if n == 3 { panic!("inner") } else { n });
    let caught = inner.map_partitions(|items| {
        let items = std::panic::AssertUnwindSafe(|| items.for_each(drop));
        [std::panic::catch_unwind(items).is_err()]
    });
    assert_eq!(caught.collect()?, [true]);
    let fault = fault(caught.filter(|_| panic!("outer")).count().unwrap_err());
    assert_eq!((fault.operator.as_str(), fault.message.as_str()), ("filter", "outer"));
    Ok(())
}

/// Returns `value`, and fails at item 40.
pub(crate) fn at<T>(n: u64, value: T) -> T {
    assert!(n != 40, "boom at {n}");
    value
}

/// A number whose addition fails for some values.
struct Odd(u64);

impl Summand for Odd {
    type Sum = u64;

    fn nothing() -> u64 {
        0
    }

    fn add(sum: u64, more: Odd) -> Option<u64> {
        at(more.0, Some(sum))
    }

    fn join(sum: u64, later: u64) -> Option<u64> {
        Some(sum + later)
    }

    fn end(sum: u64) -> Option<Odd> {
        Some(Odd(sum))
    }
}

/// A number whose sums cannot be merged.
struct Refusing;

impl Summand for Refusing {
    type Sum = ();

    fn nothing() {}

    fn add((): (), _: Refusing) -> Option<()> {
        Some(())
    }

    fn join((): (), (): ()) -> Option<()> {
        panic!("boom")
    }

    fn end((): ()) -> Option<Refusing> {
        Some(Refusing)
    }
}

/// The expected name and the error, for a call on one of these lines.
macro_rules! failing {
    ($name:literal, $result:expr) => {
        ($name, line!(), $result.map(drop).expect_err($name))
    };
}

#[test]
fn a_panic_in_any_operator_names_it() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..100, 4);
    let p = n.map(|n| (n % 7, n));
    let cases = [
        failing!("map", n.map(|n| at(n, n)).count()),
        failing!("filter", n.filter(|n| at(*n, true)).count()),
        failing!("flat_map", n.flat_map(|n| at(n, [n])).count()),
        failing!("flat_map", n.flat_map(|n| (0..1).map(move |_| at(n, n))).count()),
        failing!("flat_map_into", n.flat_map_into(|n, out| out.push(at(n, n))).count()),
        failing!("key_by", n.key_by(|n| at(*n, 0)).count()),
        failing!("map_values", p.map_values(|n| at(n, n)).count()),
        failing!("map_partitions", n.map_partitions(|items| items.map(|n| at(n, n))).count()),
        failing!("map_partitions", n.map_partitions(|items| items.map(|n| at(n, n)).collect::<Vec<_>>()).count()),
        failing!(
            "map_partitions_with_index",
            n.map_partitions_with_index(|part, items| items.map(move |n| (part, at(n, n)))).count()
        ),
        failing!("try_map", n.try_map(|n| Ok(at(n, n))).count()),
        failing!("try_filter", n.try_filter(|n| Ok(at(*n, true))).count()),
        failing!("try_flat_map", n.try_flat_map(|n| Ok(at(n, [n]))).count()),
        failing!("from_fn", cx.from_fn(50, |part| at(part.into(), [part])).count()),
        failing!("from_fn", cx.from_fn(2, |_| (0..50).map(|n| at(n, n))).count()),
        failing!("reduce_by_key", p.reduce_by_key(|a, b| at(b, a + b)).count()),
        failing!("sort_by", n.sort_by(|n| at(*n, 0)).count()),
        failing!("for_each", n.for_each(|n| at(n, ()))),
        failing!("try_for_each", n.try_for_each(|n| at(n, Ok(())))),
        failing!("reduce", n.reduce(|a, b| at(b, a))),
        failing!("sum", n.map(Odd).sum()),
        failing!("fold", n.fold(0, |a, b| at(b, a))),
        failing!("aggregate", n.aggregate(0, |a, b| at(b, a), |a: u64, b| a + b)),
        failing!("take_ordered_by", n.take_ordered_by(3, |n| at(*n, 0))),
        failing!("map", n.with(1).map(|_, n| at(n, n)).count()),
        failing!("map", n.with_init(40u64, |n| Ok::<_, UserError>(at(*n, 0))).map(|_, n| n).count()),
        failing!("map", n.map(|n| at(n, n)).boxed().map(|n| n).boxed().count()),
        failing!("map", n.boxed().map(|n| at(n, n)).boxed().count()),
        failing!("map", n.map(|n| at(n, n)).cache().count()),
        failing!("map", n.map(|n| at(n, n)).zip(&n).count()),
        failing!("map", n.map(|n| at(n, n)).union(&n).coalesce(2).count()),
        failing!("map", n.map(|n| at(n, n)).repartition(3).count()),
        failing!("map", n.map(|n| at(n, n)).distinct().count()),
        failing!("map", p.map(|(k, n)| (at(n, k), n)).group_by_key().count()),
        failing!("map", p.map(|(k, n)| (at(n, k), n)).join(&p).count()),
        failing!("map", p.map(|(k, n)| (at(n, k), n)).sort_by_key().count()),
    ];
    for (name, line, error) in cases {
        let fault = fault(error);
        assert_eq!((fault.operator.as_str(), fault.panicked), (name, true), "{fault}");
        assert_eq!(fault.message, "boom at 40", "{fault}");
        assert_eq!(fault.site.file, file!(), "{fault}");
        assert!((line..line + 3).contains(&fault.site.line), "not at line {line}: {fault}");
        assert_eq!(fault.source.map(|source| source.file), Some(file!()), "{fault}");
    }
    // The context works as before.
    assert_eq!(n.sum()?, 4950);
    Ok(())
}

#[test]
fn an_error_of_any_fallible_function_names_it() {
    let cx = cx();
    let n = cx.range_in(0..100, 4);
    let cases = [
        failing!("try_map", n.try_map(|n| if n == 40 { Err(UserError::msg("odd one")) } else { Ok(n) }).count()),
        failing!(
            "try_filter",
            n.try_filter(|n| if *n == 40 { Err(UserError::msg("odd one")) } else { Ok(true) }).count()
        ),
        failing!(
            "try_flat_map",
            n.try_flat_map(|n| if n == 40 { Err(UserError::msg("odd one")) } else { Ok([n]) }).count()
        ),
        failing!("try_for_each", n.try_for_each(|n| if n == 40 { Err(UserError::msg("odd one")) } else { Ok(()) })),
        failing!("map", n.with_init(1, |_| Err::<u8, _>(UserError::msg("odd one"))).map(|_, n| n).count()),
    ];
    for (name, line, error) in cases {
        let fault = fault(error);
        assert_eq!((fault.operator.as_str(), fault.panicked), (name, false), "{fault}");
        assert_eq!(fault.message, "odd one", "{fault}");
        let here = |site: tryworks::Site| site.file == file!() && (line..line + 4).contains(&site.line);
        assert!(here(fault.site) && fault.source.is_some_and(here), "{fault}");
    }
}

/// A key whose own code panics when it is told to.
#[derive(Clone, PartialEq, Eq)]
struct Thorny<const IN: char>(u64);

impl<const IN: char> Thorny<IN> {
    fn used(&self, by: char) {
        assert!(by != IN || self.0 != 40, "boom");
    }
}

impl<const IN: char> std::hash::Hash for Thorny<IN> {
    fn hash<H: std::hash::Hasher>(&self, to: &mut H) {
        self.used('h');
        self.0.hash(to);
    }
}

impl<const IN: char> Ord for Thorny<IN> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.used('o');
        self.0.cmp(&other.0)
    }
}

impl<const IN: char> PartialOrd for Thorny<IN> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const IN: char> Serialize for Thorny<IN> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.used('s');
        self.0.serialize(to)
    }
}

impl<'de, const IN: char> Deserialize<'de> for Thorny<IN> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Thorny(u64::deserialize(from)?))
    }
}

#[test]
fn a_panic_in_a_types_own_code_is_not_called_a_bug_of_ours() {
    let cx = cx();
    let n = cx.range_in(0..100, 4);
    let cases = [
        failing!("group_by_key", n.key_by(|n| Thorny::<'h'>(*n)).group_by_key().count()),
        failing!("reduce_by_key", n.key_by(|n| Thorny::<'h'>(*n)).reduce_by_key(|a, _| a).count()),
        failing!("distinct", n.map(Thorny::<'h'>).distinct().count()),
        failing!("join", n.key_by(|n| *n % 2).join(&n.map(|n| (n, Thorny::<'s'>(n + 15)))).count()),
        failing!("sort_by_key", n.key_by(|n| Thorny::<'o'>(*n)).sort_by_key().count()),
        failing!("sort_by", n.sort_by(|n| Thorny::<'o'>(*n)).count()),
        failing!("collect", n.map(|n| Thorny::<'s'>(n + 15)).collect()),
        failing!("max", n.map(Thorny::<'o'>).max()),
    ];
    for (name, line, error) in cases {
        let fault = fault(error);
        assert_eq!((fault.operator.as_str(), fault.panicked), (name, true), "{fault}");
        assert_eq!((fault.site.file, fault.site.line), (file!(), line), "{fault}");
        assert_eq!(fault.source.map(|source| source.file), Some(file!()), "{fault}");
        assert!(fault.message.starts_with("boom"), "{fault}");
        let known = matches!(name, "sort_by_key" | "sort_by" | "max");
        assert_eq!(fault.message.contains("`Ord`, `Hash`, `Clone` or serde"), !known, "{fault}");
    }
}

#[test]
fn a_question_mark_carries_any_error_with_its_causes() {
    #[derive(Debug)]
    struct Outer(std::num::ParseFloatError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the gauge cannot be read")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let texts = cx().parallelize(vec!["1.5".to_string(), "x".to_string()]);
    let fault = fault(texts.try_map(|text| Ok(text.parse::<f64>().map_err(Outer)?)).sum().unwrap_err());
    assert_eq!(fault.message, "the gauge cannot be read: invalid float literal");
}

#[test]
fn a_panic_where_partitions_are_brought_together_is_an_error_too() {
    let cx = cx();
    // Each partition has one item, so the function first runs on the driver.
    let n = cx.range_in(0..2, 2);
    let cases = [
        failing!("reduce", n.reduce(|_, _| panic!("boom"))),
        failing!("sum", n.map(|_| Refusing).sum()),
        failing!("fold", n.fold(0, |a, b| if a > 0 { panic!("boom") } else { b + 1 })),
        failing!("aggregate", n.aggregate(0, |a, _| a, |_, _: u64| panic!("boom"))),
    ];
    for (name, _, error) in cases {
        let fault = fault(error);
        assert_eq!((fault.operator.as_str(), fault.panicked, fault.message.as_str()), (name, true, "boom"));
        assert_eq!((fault.site.file, fault.source.map(|source| source.file)), (file!(), Some(file!())));
    }
}

#[test]
fn every_action_on_a_stopped_context_is_an_error() {
    let cx = cx();
    let before = cx.range(0..10);
    let reduced = before.key_by(|n| n % 2).reduce_by_key(|a, b| a + b);
    assert_eq!(reduced.count(), Ok(2));
    cx.stop();
    cx.stop();
    let stopped = |result: Result<()>| assert_eq!(result, Err(Error::Stopped));
    stopped(before.collect().map(drop));
    stopped(before.count().map(drop));
    stopped(before.take(1).map(drop));
    stopped(before.take(0).map(drop));
    stopped(before.first().map(drop));
    stopped(before.reduce(|a, b| a + b).map(drop));
    stopped(before.fold(0, |a, b| a + b).map(drop));
    stopped(before.sum().map(drop));
    stopped(before.min().map(drop));
    stopped(before.take_ordered_by(1, |n| *n).map(drop));
    stopped(before.for_each(|_| {}));
    stopped(before.background().count().map(drop));
    stopped(reduced.count().map(drop));
    stopped(cx.range(0..10).count().map(drop));
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("out");
    stopped(before.save_as_text_file(&dir));
    assert!(Error::Stopped.to_string().contains("stopped"));
}

#[test]
fn a_job_that_fails_leaves_no_blocks_and_no_reservations() -> Result<()> {
    let cx = cx();
    {
        let failing = cx.parallelize_in(pairs(1, 5000, 100), 8).group_by_key().map(|(key, all)| {
            assert!(key != 3, "boom");
            all.len()
        });
        assert_eq!(fault(failing.count().unwrap_err()).message, "boom");
    }
    wait_until("all blocks are gone", || cx.blocks() == 0);
    wait_until("all memory is given back", || cx.memory().used() == 0);
    assert_eq!(cx.spill_bytes(), 0);
    Ok(())
}

#[test]
fn a_result_that_is_larger_than_the_driver_takes_names_the_limit() -> Result<()> {
    let cx = Context::builder().threads(2).max_result_bytes(10_000).progress(false).build()?;
    let error = cx.range_in(0..100_000, 10).collect().unwrap_err();
    let Error::Limit { name, value, .. } = &error else { panic!("not a limit: {error}") };
    assert_eq!((name.as_str(), *value), ("max_result_bytes", 10_000));
    assert_eq!(cx.range_in(0..100, 10).collect()?.len(), 100);
    assert_eq!(cx.range_in(0..100_000, 10).count()?, 100_000);
    Ok(())
}

/// Regression: only lists counted. An aggregation whose parts are large maps returned any number of bytes to the
/// driver.
#[test]
fn results_of_every_action_count_for_the_limit_of_results() -> Result<()> {
    let cx = Context::builder().threads(2).max_result_bytes(10_000).progress(false).build()?;
    let numbers = cx.range_in(0..10_000, 10);
    let words = numbers.map(|n| format!("{n:>100}"));
    let into = |mut all: BTreeMap<u64, u64>, n: u64| {
        *all.entry(n % 500).or_default() += 1;
        all
    };
    let merge = |mut one: BTreeMap<u64, u64>, other: BTreeMap<u64, u64>| {
        other.into_iter().for_each(|(key, count)| *one.entry(key).or_default() += count);
        one
    };
    let results = [
        ("aggregate", numbers.aggregate(BTreeMap::new(), into, merge).map(drop)),
        ("fold", words.fold(String::new(), |all, word| all + &word).map(drop)),
        ("reduce", words.reduce(|all, word| all + &word).map(drop)),
        ("take", words.take(9_000).map(drop)),
        ("take_ordered_by", words.take_ordered_by(500, |word| word.len()).map(drop)),
        ("collect", words.collect().map(drop)),
    ];
    for (action, result) in results {
        let error = result.unwrap_err();
        let limit = matches!(&error, Error::Limit { name, value: 10_000, .. } if name == "max_result_bytes");
        assert!(limit, "{action}: {error}");
    }
    assert_eq!((words.count()?, numbers.sum()?, words.take(3)?.len()), (10_000, 49_995_000, 3));
    let none = Context::builder().threads(2).max_result_bytes(0).progress(false).build()?;
    assert!(none.range(0..10).sum().unwrap_err().to_string().contains("max_result_bytes"));
    none.range(0..10).for_each(drop)
}

#[test]
fn missing_input_fails_the_action_and_names_the_call() {
    let cx = cx();
    let lines = cx.text_file("/nonexistent/whales.txt");
    let line = line!() - 1;
    let (message, site) = plan_error(lines.map(|line| line).count());
    assert!(message.contains("/nonexistent/whales.txt"), "{message}");
    assert_eq!((site.file, site.line), (file!(), line));
}

#[test]
fn input_that_turns_out_wrong_while_it_is_read_is_told_with_the_call() {
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (latin, cut) = (file("latin", b"caf\xe9\n"), file("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff"));
    let (changed, changed_records) = (file("changed", b"one\n"), file("records", b"onetwo"));
    let line = line!();
    let errors = [
        (cx.text_file(latin).boxed(), "latin, byte 3: this byte is not UTF-8"),
        (cx.read(text(cut)).boxed(), "cut.gz, byte 10: the compressed data ends too early"),
        (cx.text_file(&changed).boxed(), "changed: "),
        (cx.records::<3>(&changed_records).map(|record| format!("{record:?}")).boxed(), "records: "),
    ];
    for path in [&changed, &changed_records] {
        std::fs::write(path, b"longer than before\n").unwrap();
    }
    for (at, (lines, message)) in errors.into_iter().enumerate() {
        let error = lines.map(|line| line.len()).count().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(error.contains(&format!("\n  at {}:{}:", file!(), line as usize + 2 + at)), "{error}");
    }
}

#[test]
fn saving_to_a_place_that_is_taken_harms_nothing() -> Result<()> {
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("out");
    cx.range_in(0..10, 2).save_as_text_file(&dir)?;
    let saved = || cx.text_file(&dir).try_map(|line| Ok(line.parse::<u64>()?)).collect();
    assert_eq!(sorted(saved()?), (0..10).collect::<Vec<_>>());
    assert!(cx.range_in(5..6, 1).save_as_text_file(&dir).is_err());
    assert_eq!(sorted(saved()?), (0..10).collect::<Vec<_>>());
    let other = scratch.path().join("failed");
    assert!(cx.range_in(0..100, 4).map(|n| at(n, n)).save_as_text_file(&other).is_err());
    let left: Vec<_> =
        std::fs::read_dir(&other).map_or(vec![], |files| files.flatten().map(|f| f.file_name()).collect());
    assert_empty(left);
    Ok(())
}

#[test]
fn a_mistake_in_the_plan_leaves_no_directory() {
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("out");
    let wrong =
        [cx.range_in(0..10, 0).boxed(), cx.range(0..10).repartition(0).boxed(), cx.range(0..9).sample(2.0, 1).boxed()];
    for data in wrong {
        plan_error(data.save_as_text_file(&dir));
        plan_error(data.background().save_as_text_file(&dir).map(drop));
        plan_error(data.to_driver().save_as_text_file(&dir));
        assert!(!dir.exists(), "nothing was to be saved there");
    }
}
