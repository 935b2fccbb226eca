//! Values given to functions: every operator's form with a value, and values that are made where they are used.

use crate::support::{Gate, cx, fault, sorted};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

#[test]
fn every_operator_has_a_form_with_a_value() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..10, 3);
    let p = n.map(|n| (n % 2, n));
    let even: Vec<u64> = (0..10).filter(|n| n % 2 == 0).collect();
    let by = 2u64;
    assert_eq!(n.with(by).map(|by, n| n * by).collect()?, (0..10).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(n.with(by).filter(|by, n| *n % by == 0).collect()?, even);
    assert_eq!(n.with(by).flat_map(|by, n| (n % by == 0).then_some(n)).collect()?, even);
    assert_eq!(
        n.with(by)
            .flat_map_into(|by, n, out| if n % by == 0 {
                out.push(n)
            })
            .collect()?,
        even
    );
    assert_eq!(n.with(by).key_by(|by, n| n % by).filter(|pair| pair.0 == 0).values().collect()?, even);
    assert_eq!(p.with(by).map_values(|by, n| n * by).values().sum()?, 90);
    assert_eq!(n.with(by).try_map(|by, n| n.checked_rem(*by).ok_or(UserError::msg("no"))).sum()?, 5);
    assert_eq!(n.with(by).try_filter(|by, n| Ok(n % by == 0)).collect()?, even);
    assert_eq!(n.with(by).try_flat_map(|by, n| Ok((n % by == 0).then_some(n))).collect()?, even);
    assert_eq!(n.with(by).map_partitions(|by, items| items.take(*by as usize)).collect()?, [0, 1, 3, 4, 6, 7]);
    let indexed = n.with(by).map_partitions_with_index(|by, index, items| [(u64::from(index) * by, items.count())]);
    assert_eq!(indexed.collect()?, [(0, 3), (2, 3), (4, 4)]);
    assert_eq!(sorted(p.with(1u64).reduce_by_key(|one, a, b| a + b + one).collect()?), [(0, 24), (1, 29)]);
    let into = p.shuffle_into(2).with(1u64).reduce_by_key(|one, a, b| a + b + one);
    assert_eq!((into.partitions(), sorted(into.collect()?)), (2, vec![(0, 24), (1, 29)]));
    assert_eq!(n.with(by).sort_by(|by, n| (n % by, *n)).collect()?, [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]);
    let into = n.shuffle_into(2).with(by).sort_by(|by, n| (n % by, *n));
    assert_eq!((into.partitions(), into.collect()?), (2, vec![0, 2, 4, 6, 8, 1, 3, 5, 7, 9]));
    assert_eq!(n.with(by).take_ordered_by(2, |by, n| (n % by, std::cmp::Reverse(*n)))?, [8, 6]);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    n.with(by).for_each(|by, n| {
        SEEN.fetch_add((n * by) as usize, Relaxed);
    })?;
    n.with(by).try_for_each(|by, n| {
        SEEN.fetch_add((n * by) as usize, Relaxed);
        Ok(())
    })?;
    assert_eq!(SEEN.load(Relaxed), 180);
    Ok(())
}

#[test]
fn any_serde_value_can_be_given() -> Result<()> {
    let cx = cx();
    let words = cx.parallelize(["the", "whale", "and", "the", "sea"].map(String::from));
    let stop: std::collections::BTreeSet<String> = ["the", "and"].map(String::from).into();
    let limits = (stop, 4usize, Some("!".to_string()));
    let kept = words.with(limits).flat_map(|(stop, most, end), word| {
        let fits = !stop.contains(&word) && word.len() <= *most;
        fits.then(|| word + end.as_deref().unwrap_or(""))
    });
    assert_eq!(kept.collect()?, ["sea!"]);
    Ok(())
}

#[test]
fn a_value_belongs_to_one_operator() -> Result<()> {
    let n = cx().range_in(0..4, 2);
    let given = n.with(10u64);
    let (sums, products) = (given.map(|ten, n| ten + n), given.map(|ten, n| ten * n));
    assert_eq!(sums.map(|n| n + 1).collect()?, [11, 12, 13, 14]);
    assert_eq!(products.with(3u64).map(|three, n| n + three).collect()?, [3, 13, 23, 33]);
    Ok(())
}

/// A value that serde does not know.
struct Matcher {
    ends: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

#[test]
fn a_value_is_made_once_however_many_tasks_begin_together() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static USED: AtomicUsize = AtomicUsize::new(0);
    static GATE: Gate = Gate::new();
    let cx = Context::local(4)?;
    let matched = cx.range_in(0..1000, 16).with_init(7u64, |digit| {
        MADE.fetch_add(1, Relaxed);
        GATE.pass();
        let digit = *digit;
        Ok::<_, UserError>(Matcher { ends: Box::new(move |n| n % 10 == digit) })
    });
    let matched = matched.filter(|matcher, n| {
        USED.fetch_add(1, Relaxed);
        (matcher.ends)(*n)
    });
    let job = matched.background().count()?;
    crate::support::wait_until("it is being made", || MADE.load(Relaxed) > 0);
    crate::support::wait_until("all threads have a task", || job.progress().running == 4);
    GATE.open();
    assert_eq!(job.wait()?, 100);
    assert_eq!((MADE.load(Relaxed), USED.load(Relaxed)), (1, 1000));
    Ok(())
}

#[test]
fn a_value_is_made_where_it_is_needed_and_not_before() -> Result<()> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let data = cx.range(0..10).with_init((), |()| {
        MADE.fetch_add(1, Relaxed);
        Ok::<_, UserError>(1u64)
    });
    let data = data.map(|one, n| n + one);
    let _ = data.explain()?;
    assert_eq!(MADE.load(Relaxed), 0);
    assert_eq!(data.sum()?, 55);
    assert_eq!(MADE.load(Relaxed), 1);
    Ok(())
}

#[test]
fn every_kind_of_stage_can_have_a_value_made() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..10, 3);
    let two = |text: &String| text.parse::<u64>();
    let text = || "2".to_string();
    assert_eq!(n.with_init(text(), two).map(|two, n| n * two).sum()?, 90);
    assert_eq!(n.with_init(text(), two).map_partitions(|two, items| items.take(*two as usize)).count()?, 6);
    assert_eq!(n.with_init(text(), two).sort_by(|two, n| (n % two, *n)).take(1)?, [0]);
    assert_eq!(n.with_init(text(), two).take_ordered_by(1, |two, n| n ^ two)?, [2]);
    let sums = n.map(|n| (n % 2, n)).with_init(text(), two).reduce_by_key(|two, a, b| a.max(b).max(*two));
    assert_eq!(sorted(sums.collect()?), [(0, 8), (1, 9)]);
    n.with_init(text(), two).for_each(|two, _| assert_eq!(*two, 2))?;
    Ok(())
}

#[test]
fn a_value_that_cannot_be_made_fails_the_job_with_the_reason() -> Result<()> {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let n = cx.range_in(0..10, 2);
    let parsed = n.with_init("forty".to_string(), |text| text.parse::<u64>()).map(|base, n| base + n);
    let line = line!() - 1;
    let told = fault(parsed.collect().unwrap_err());
    assert_eq!((told.operator.as_str(), told.panicked), ("map", false));
    assert_eq!(told.message, "invalid digit found in string");
    assert_eq!((told.site.file, told.site.line), (file!(), line));

    let panicking =
        n.with_init((), |()| if TRIED.fetch_add(1, Relaxed) < 2 { panic!("no") } else { Ok::<_, UserError>(1) });
    let panicking = panicking.map(|one, n| n + one);
    let told = fault(panicking.take(1).unwrap_err());
    assert_eq!((told.operator.as_str(), told.panicked, told.message.as_str()), ("map", true, "no"));
    // The failed attempt left nothing behind.
    assert_eq!(fault(panicking.take(1).unwrap_err()).message, "no");
    assert_eq!(panicking.take(1)?, [1]);
    Ok(())
}

#[test]
fn a_transient_failure_to_make_a_value_is_tried_again() -> Result<()> {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::builder().threads(1).max_attempts(2).progress(false).build()?;
    let data = cx.range_in(0..10, 2).with_init((), |()| match TRIED.fetch_add(1, Relaxed) {
        0 => Err(UserError::msg("the first time")),
        _ => Ok(1),
    });
    assert_eq!(data.map(|one, n| n + one).sum()?, 55);
    assert_eq!(TRIED.load(Relaxed), 2);
    Ok(())
}
