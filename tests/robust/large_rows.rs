//! Rows of a mebibyte in a budget of a few of them. Each test runs in a process of its own, whose memory is watched from
//! outside. Regression: operators held a fixed number of rows, whatever these took.

use crate::child::{Process, role};
use crate::resident::watch;
use crate::support::Place;
use std::collections::BTreeMap;
use tryworks::prelude::*;

const LIMIT: u64 = 8 << 20;
const ROWS: u64 = 300;
/// What a process may hold: the budget, the table of a map task (16 MiB), and a few rows that are on their way.
const MOST: u64 = 72 << 20;

/// A mebibyte of one character, then the number, so that rows differ.
fn large(n: u64) -> String {
    format!("{}{n:04}", ((b'A' + (n * 7 % 26) as u8) as char).to_string().repeat(1 << 20))
}

/// The number at the end of a row.
fn number(text: &str) -> u64 {
    text[text.len() - 4..].parse().unwrap()
}

/// The numbers of the first rows, in the order of the rows.
fn in_order(rows: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..rows).collect();
    numbers.sort_by_key(|n| (n * 7 % 26, *n));
    numbers
}

/// Runs `job` in a process of its own, which has to stay close to its budget.
fn within(name: &str, job: fn(&Context) -> Result<()>) {
    if role().is_some() {
        let place = Place::with(1, LIMIT, |builder| builder.check_rows(false));
        println!("ready");
        job(&place.cx).unwrap();
        place.is_clean();
        return;
    }
    let peak = watch(Process::start(name, "job"));
    assert!(peak > 2 << 20, "the memory was not seen");
    assert!(peak < MOST, "{} MiB were held", peak >> 20);
}

fn spilled(cx: &Context) {
    assert!(cx.memory().spilled() > 0, "nothing was spilled");
}

#[test]
fn large_keys_are_sorted() {
    within("large_rows::large_keys_are_sorted", |cx| {
        let sorted = cx.range_in(0..ROWS, 2).map(|n| (large(n), n)).sort_by_key();
        assert_eq!(sorted.values().collect()?, in_order(ROWS));
        spilled(cx);
        Ok(())
    });
}

#[test]
fn large_values_are_sorted() {
    within("large_rows::large_values_are_sorted", |cx| {
        let sorted = cx.range_in(0..ROWS, 2).map(|n| (n * 7919 % ROWS, large(n))).shuffle_into(3).sort_by_key();
        let found = sorted.map(|(key, text)| (key, number(&text))).collect()?;
        let mut expected: Vec<(u64, u64)> = (0..ROWS).map(|n| (n * 7919 % ROWS, n)).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        spilled(cx);
        Ok(())
    });
}

#[test]
fn large_items_are_sorted_by_a_copy() {
    within("large_rows::large_items_are_sorted_by_a_copy", |cx| {
        // Each row is there twice, as the key and as the item.
        let sorted = cx.range_in(0..ROWS / 3, 2).map(large).shuffle_into(3).sort_by(|text| text.clone());
        assert_eq!(sorted.map(|text| number(&text)).collect()?, in_order(ROWS / 3));
        spilled(cx);
        Ok(())
    });
}

/// Runs end with large rows: what a merge needs is not seen at their beginning.
#[test]
fn rows_that_grow_with_their_keys_are_sorted() {
    within("large_rows::rows_that_grow_with_their_keys_are_sorted", |cx| {
        let rows = cx.range_in(0..100 * ROWS, 2).map(|n| match n % 100 {
            0 => (1, n, large(n / 100)),
            _ => (0, n, "0000".into()),
        });
        let sorted = rows.sort_by(|(class, n, _)| (*class, *n));
        let found = sorted.filter(|row| row.0 == 1).map(|(_, n, text)| (n / 100, number(&text))).collect()?;
        assert_eq!(found, (0..ROWS).map(|n| (n, n)).collect::<Vec<_>>());
        spilled(cx);
        Ok(())
    });
}

#[test]
fn large_keys_are_reduced() {
    within("large_rows::large_keys_are_reduced", |cx| {
        let sums = cx.range_in(0..ROWS, 2).map(|n| (large(n % (ROWS / 2)), n)).reduce_by_key(|a, b| a + b);
        let sums: BTreeMap<u64, u64> = sums.map(|(key, sum)| (number(&key), sum)).collect()?.into_iter().collect();
        assert_eq!(sums, (0..ROWS / 2).map(|n| (n, 2 * n + ROWS / 2)).collect());
        spilled(cx);
        Ok(())
    });
}

#[test]
fn large_items_that_are_distinct() {
    within("large_rows::large_items_that_are_distinct", |cx| {
        let mut found = cx.range_in(0..ROWS, 2).map(large).distinct().map(|text| number(&text)).collect()?;
        found.sort_unstable();
        assert_eq!(found, (0..ROWS).collect::<Vec<_>>());
        spilled(cx);
        Ok(())
    });
}

#[test]
fn the_first_of_large_items() {
    within("large_rows::the_first_of_large_items", |cx| {
        let first = cx.range_in(0..ROWS, 2).map(large).take_ordered_by(5, |text| text.clone())?;
        let numbers: Vec<u64> = first.iter().map(|text| number(text)).collect();
        assert_eq!(numbers, in_order(ROWS)[..5]);
        Ok(())
    });
}

/// The right side is read in place, so nothing bounds the rows that are read at a time but their reader.
#[test]
fn large_rows_are_joined_in_place() {
    within("large_rows::large_rows_are_joined_in_place", |cx| {
        let pairs = cx.range_in(0..ROWS, 2).map(|n| (n, n)).reduce_by_key(|a, _| a);
        let long = pairs.map_values(large);
        let found = pairs.join(&long).map(|(_, (n, text))| u64::from(number(&text) == n)).sum()?;
        assert_eq!(found, ROWS);
        spilled(cx);
        Ok(())
    });
}

#[test]
fn large_rows_are_kept_on_the_disk() {
    within("large_rows::large_rows_are_kept_on_the_disk", |cx| {
        let kept = cx.range_in(0..ROWS, 2).map(large).persist(StorageLevel::Disk);
        assert_eq!(kept.map(|text| number(&text)).collect()?, (0..ROWS).collect::<Vec<_>>());
        assert_eq!(kept.count()?, ROWS);
        spilled(cx);
        Ok(())
    });
}
