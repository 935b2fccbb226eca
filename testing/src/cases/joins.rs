//! Joins of the kinds that keep or drop what has no match, and sets.

use super::{Case, PARTS, ROWS, few, grouped, late, many, sorted};
use crate::numbers::mix;
use std::collections::{BTreeMap, BTreeSet};
use tryworks::prelude::*;

/// The left pairs of a small case: their keys repeat, and some have no match.
fn left_pair(n: u64) -> (u64, u64) {
    (mix(n) % 300, n)
}

/// The right pairs of a small case.
fn right_pair(n: u64) -> (u64, String) {
    (mix(n + 7) % 300, format!("right {n}"))
}

fn lefts<S: Sources>(cx: &S) -> Dataset<impl Pipe<Item = (u64, u64)> + use<S>> {
    few(cx).map(left_pair)
}

fn rights<S: Sources>(cx: &S) -> Dataset<impl Pipe<Item = (u64, String)> + use<S>> {
    cx.range_in(0..150, 4).map(right_pair)
}

/// The right values of each key of a small case.
fn right_values() -> BTreeMap<u64, Vec<String>> {
    grouped((0..150).map(right_pair))
}

/// The values of keys that only one side may have.
type Both = (Option<u64>, Option<String>);

/// What a full join of these pairs gives.
fn full(lefts: &[(u64, u64)], rights: &[(u64, String)]) -> Vec<(u64, Both)> {
    let (by_left, by_right) = (grouped(lefts.iter().copied()), grouped(rights.iter().cloned()));
    let mut all = Vec::new();
    for (key, value) in lefts {
        match by_right.get(key) {
            Some(others) => all.extend(others.iter().map(|other| (*key, (Some(*value), Some(other.clone()))))),
            None => all.push((*key, (Some(*value), None))),
        }
    }
    all.extend(
        rights.iter().filter(|(key, _)| !by_left.contains_key(key)).map(|(key, v)| (*key, (None, Some(v.clone())))),
    );
    all
}

/// What the joins of a small case give, by a full join.
fn fully() -> Vec<(u64, Both)> {
    full(&(0..1_000).map(left_pair).collect::<Vec<_>>(), &(0..150).map(right_pair).collect::<Vec<_>>())
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new(
            "left_join",
            |cx: &S| lefts(cx).left_join(&rights(cx)).collect(),
            |got: Vec<(u64, (u64, Option<String>))>| {
                let expected = fully().into_iter().filter_map(|(key, (left, right))| Some((key, (left?, right))));
                assert_eq!(sorted(got), sorted(expected));
            },
        ),
        Case::new(
            "right_join",
            |cx: &S| lefts(cx).shuffle_into(5).right_join(&rights(cx)).collect(),
            |got: Vec<(u64, (Option<u64>, String))>| {
                let expected = fully().into_iter().filter_map(|(key, (left, right))| Some((key, (left, right?))));
                assert_eq!(sorted(got), sorted(expected));
            },
        ),
        Case::new(
            "full_join of what is partitioned already",
            |cx: &S| {
                let sums = lefts(cx).reduce_by_key(|a, b| a + b);
                Ok((
                    sums.full_join(&rights(cx)).collect()?,
                    sums.full_join(&sums.map_values(|n| n.to_string())).collect()?,
                ))
            },
            |(got, all): (Vec<(u64, Both)>, Vec<(u64, Both)>)| {
                let sums =
                    grouped((0..1_000).map(left_pair)).into_iter().map(|(key, values)| (key, values.iter().sum()));
                let sums: Vec<(u64, u64)> = sums.collect();
                assert_eq!(sorted(got), sorted(full(&sums, &(0..150).map(right_pair).collect::<Vec<_>>())));
                assert_eq!(
                    sorted(all),
                    sums.iter().map(|(key, n)| (*key, (Some(*n), Some(n.to_string())))).collect::<Vec<_>>()
                );
            },
        ),
        Case::large(
            "full_join",
            |cx: &S| {
                let left = many(cx, ROWS / 2).map(|n| (mix(n) % 4_000, n));
                let right = cx.range_in(0..ROWS / 4, 5).map(|n| (mix(n + 7) % 8_000, format!("right {n}")));
                left.full_join(&right).map(late).collect()
            },
            |got: Vec<(u64, Both)>| {
                let lefts: Vec<_> = (0..ROWS / 2).map(|n| (mix(n) % 4_000, n)).collect();
                let rights: Vec<_> = (0..ROWS / 4).map(|n| (mix(n + 7) % 8_000, format!("right {n}"))).collect();
                assert!(grouped(got) == grouped(full(&lefts, &rights)));
            },
        ),
        Case::new(
            "semi_join, anti_join and subtract_by_key",
            |cx: &S| {
                let (left, right) = (lefts(cx), rights(cx));
                let sums = left.reduce_by_key(|a, b| a + b);
                let kept = (left.semi_join(&right).collect()?, left.anti_join(&right).collect()?);
                let none = cx.range(0..0).map(|n| (n, ()));
                let without = (left.semi_join(&none).count()?, left.anti_join(&none).count()?);
                let in_place = (sums.semi_join(&sums).count()?, sums.anti_join(&sums).count()?);
                Ok((kept, sorted(left.subtract_by_key(&right).collect()?), without, in_place))
            },
            |(kept, subtracted, without, in_place): (Two, Pairs, (u64, u64), (u64, u64))| {
                let rights = right_values();
                let (with, no): (Pairs, Pairs) =
                    (0..1_000).map(left_pair).partition(|(key, _)| rights.contains_key(key));
                assert_eq!((sorted(kept.0), sorted(kept.1)), (sorted(with), sorted(no.clone())));
                assert_eq!((subtracted, without), (sorted(no), (0, 1_000)));
                assert_eq!(in_place, (grouped((0..1_000).map(left_pair)).len() as u64, 0));
            },
        ),
        Case::large(
            "anti_join of many",
            |cx: &S| {
                let left = many(cx, ROWS).map(|n| (mix(n), n));
                left.anti_join(&cx.range_in(0..ROWS, PARTS).filter(|n| n % 3 > 0).map(|n| (mix(n), ())))
                    .map(late)
                    .collect()
            },
            |got: Pairs| assert!(sorted(got) == sorted((0..ROWS).step_by(3).map(|n| (mix(n), n)))),
        ),
        Case::new(
            "subtract and intersection",
            |cx: &S| {
                let (left, right) = (few(cx).map(|n| mix(n % 400)), cx.range_in(0..900, 2).map(|n| mix(n % 300 * 2)));
                // Pairs are whole items, even where they are partitioned by their keys.
                let sums = lefts(cx).reduce_by_key(|a, b| a + b);
                let changed = sums.map_values(|sum| sum / 2 * 2);
                let pairs = (sums.subtract(&changed).collect()?, sums.intersection(&changed).collect()?);
                Ok((left.subtract(&right).collect()?, left.shuffle_into(5).intersection(&right).collect()?, pairs))
            },
            |(left, both, pairs): (Vec<u64>, Vec<u64>, Two)| {
                let rights: BTreeSet<u64> = (0..300).map(|n| mix(n * 2)).collect();
                let lefts = (0..1_000).map(|n| mix(n % 400));
                assert_eq!(sorted(left), sorted(lefts.clone().filter(|n| !rights.contains(n))));
                let lefts: BTreeSet<u64> = lefts.collect();
                assert_eq!(sorted(both), lefts.intersection(&rights).copied().collect::<Vec<_>>());
                let sums = grouped((0..1_000).map(left_pair)).into_iter().map(|(key, n)| (key, n.iter().sum::<u64>()));
                let (odd, even): (Pairs, Pairs) = sums.partition(|(_, sum)| sum % 2 == 1);
                assert_eq!((sorted(pairs.0), sorted(pairs.1)), (odd, even));
            },
        ),
    ]
}

/// Pairs, and two lists of them.
type Pairs = Vec<(u64, u64)>;
type Two = (Pairs, Pairs);
