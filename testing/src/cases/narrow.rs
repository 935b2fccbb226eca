//! Operators that work item by item.

use super::{Case, few, those};
use tryworks::prelude::*;

const WORDS: [&str; 3] = ["call", "me", "ishmael"];

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "map",
            |cx: &S| few(cx).map(|n| n * 3 + 1).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(|n| n * 3 + 1).collect::<Vec<u64>>());
            },
        ),
        Case::new(
            "filter",
            |cx: &S| few(cx).filter(|n| n % 3 == 0).collect(),
            |got| assert_eq!(got, those(|n| n % 3 == 0)),
        ),
        Case::new(
            "flat_map",
            |cx: &S| few(cx).flat_map(|n| vec![n; n as usize % 3]).collect(),
            |got| {
                assert_eq!(got, (0..1_000).flat_map(|n| vec![n; n as usize % 3]).collect::<Vec<u64>>());
            },
        ),
        Case::new(
            "flat_map_into",
            |cx: &S| few(cx).flat_map_into(|n, out| (0..n % 3).for_each(|i| out.push((n, i)))).collect(),
            |got| {
                assert_eq!(got, (0..1_000).flat_map(|n| (0..n % 3).map(move |i| (n, i))).collect::<Vec<(u64, u64)>>())
            },
        ),
        Case::new(
            "try_map",
            |cx: &S| few(cx).try_map(|n| Ok(format!("{n}").parse::<u64>()?)).collect(),
            |got| {
                assert_eq!(got, those(|_| true));
            },
        ),
        Case::new(
            "try_filter",
            |cx: &S| few(cx).try_filter(|n| Ok(n % 2 == 1)).collect(),
            |got| {
                assert_eq!(got, those(|n| n % 2 == 1));
            },
        ),
        Case::new(
            "try_flat_map",
            |cx: &S| few(cx).try_flat_map(|n| Ok((n % 5 == 0).then_some(n))).collect(),
            |got| {
                assert_eq!(got, those(|n| n % 5 == 0));
            },
        ),
        Case::new(
            "key_by",
            |cx: &S| few(cx).key_by(|n| n % 7).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(|n| (n % 7, n)).collect::<Vec<(u64, u64)>>());
            },
        ),
        Case::new(
            "keys",
            |cx: &S| few(cx).map(|n| (n, "value".to_string())).keys().collect(),
            |got| {
                assert_eq!(got, those(|_| true));
            },
        ),
        Case::new(
            "values",
            |cx: &S| few(cx).map(|n| ("key".to_string(), n)).values().collect(),
            |got| {
                assert_eq!(got, those(|_| true));
            },
        ),
        Case::new(
            "map_values",
            |cx: &S| few(cx).key_by(|n| n % 7).map_values(|n| n * 2).collect(),
            |got| {
                assert_eq!(got, (0..1_000).map(|n| (n % 7, n * 2)).collect::<Vec<(u64, u64)>>());
            },
        ),
        Case::new(
            "with",
            |cx: &S| {
                let words = WORDS.map(String::from).to_vec();
                few(cx).with(words).map(|words, n| words[n as usize % 3].clone()).collect()
            },
            |got| assert_eq!(got, (0..1_000).map(|n| WORDS[n % 3]).collect::<Vec<_>>() as Vec<&str>),
        ),
        Case::new(
            "with_init",
            |cx: &S| few(cx).with_init("7".to_string(), |text| text.parse::<u64>()).map(|seven, n| n * seven).collect(),
            |got| assert_eq!(got, (0..1_000).map(|n| n * 7).collect::<Vec<u64>>()),
        ),
        Case::new(
            "boxed",
            |cx: &S| {
                let words = WORDS.map(String::from).to_vec();
                few(cx).boxed().with(words).map(|words, n| n + words[n as usize % 3].len() as u64).boxed().collect()
            },
            |got| assert_eq!(got, (0..1_000).map(|n| n + WORDS[n as usize % 3].len() as u64).collect::<Vec<u64>>()),
        ),
    ]
}
