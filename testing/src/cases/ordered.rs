//! Operators and actions that put items in order.

use super::{Case, ROWS, dealt, few, late, many, sorted};
use crate::numbers::mix;
use std::cmp::Reverse;
use tryworks::prelude::*;

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::large(
            "sort_by_key",
            |cx: &S| many(cx, ROWS).map(|n| ((mix(n) % 97) as u16, n)).sort_by_key().map(late).collect(),
            |pairs: Vec<(u16, u64)>| {
                let mut expected: Vec<_> = (0..ROWS).map(|n| ((mix(n) % 97) as u16, n)).collect();
                expected.sort_by_key(|(key, _)| *key);
                assert!(pairs == expected, "equal keys stay in the order in which they came");
            },
        ),
        Case::large(
            "sort_by",
            |cx: &S| {
                let words = many(cx, ROWS / 2).map(|n| format!("{:x}", mix(n) >> 40));
                words.sort_by(|word| Reverse((word.len(), word.as_bytes()[0]))).map(late).collect()
            },
            |words: Vec<String>| {
                let mut expected: Vec<_> = (0..ROWS / 2).map(|n| format!("{:x}", mix(n) >> 40)).collect();
                expected.sort_by_key(|word| Reverse((word.len(), word.as_bytes()[0])));
                assert!(words == expected);
            },
        ),
        Case::new(
            "sorts into five",
            |cx: &S| {
                let by_key = few(cx).key_by(|n| n % 7).shuffle_into(5).sort_by_key();
                Ok((by_key.partitions(), by_key.values().shuffle_into(5).sort_by(|n| Reverse(*n)).collect()?))
            },
            |(partitions, items): (u32, Vec<u64>)| {
                assert_eq!(partitions, 5);
                assert_eq!(items, (0..1_000).rev().collect::<Vec<u64>>());
            },
        ),
        Case::new(
            "sort_by with a value",
            |cx: &S| few(cx).with(511u64).sort_by(|k, n| n ^ k).collect(),
            |got| {
                let mut expected: Vec<u64> = (0..1_000).collect();
                expected.sort_by_key(|n| n ^ 511);
                assert_eq!(got, expected);
            },
        ),
        Case::large(
            "the first items of a sorted dataset",
            |cx: &S| {
                let sorted = many(cx, ROWS).map(|n| (mix(n), n)).sort_by_key();
                Ok((sorted.take(1_234)?, sorted.first()?))
            },
            |(taken, first): (Vec<(u64, u64)>, Option<(u64, u64)>)| {
                let expected = sorted((0..ROWS).map(|n| (mix(n), n)));
                assert!(taken == expected[..1_234]);
                assert_eq!(first, Some(expected[0]));
            },
        ),
        Case::large(
            "take_ordered_by",
            |cx: &S| many(cx, ROWS).repartition(4).take_ordered_by(5_000, |n| Reverse(mix(*n) % 50)),
            |top: Vec<u64>| {
                let mut expected = dealt(ROWS, 4).concat();
                expected.sort_by_key(|n| Reverse(mix(*n) % 50));
                assert!(top == expected[..5_000]);
            },
        ),
        // Keys that were made where the tasks ran are also made on the driver, which orders what the tasks found.
        Case::new(
            "take_ordered_by with a value",
            |cx: &S| {
                let made = few(cx).with_init("7".to_string(), |text| text.parse::<u64>());
                made.take_ordered_by(3, |seven, n| n ^ seven)
            },
            |got| assert_eq!(got, [7u64, 6, 5]),
        ),
    ]
}
