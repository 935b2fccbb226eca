//! Programs that run many jobs.

use super::{Case, bits, late};
use crate::numbers::mix;
use std::collections::BTreeMap;
use tryworks::prelude::*;

const PAGES: u64 = 2_000;

/// The pages that a page refers to.
fn links(page: u64) -> Vec<u64> {
    (0..page % 7 + 1).map(|i| mix(page * 31 + i) % PAGES).collect()
}

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![Case::large(
        "ranks of pages",
        |cx: &S| {
            let pages = cx.range_in(0..PAGES, 6).map(|page| (page, links(page))).shuffle_into(4).group_by_key().cache();
            let mut ranks: Data<(u64, f64)> = pages.map_values(|_| 1.0).boxed();
            for _ in 0..4 {
                let given = pages.join(&ranks).flat_map_into(|(_, (links, rank)), out| {
                    for link in &links[0] {
                        out.push((*link, rank / links[0].len() as f64));
                    }
                });
                ranks = given
                    .shuffle_into(4)
                    .reduce_by_key(|a, b| a + b)
                    .map(late)
                    .map_values(|sum| 0.15 + 0.85 * sum)
                    .boxed();
            }
            Ok(bits(ranks.collect()?))
        },
        |ranks: Vec<(u64, u64)>| {
            let mut expected: BTreeMap<u64, f64> = (0..PAGES).map(|page| (page, 1.0)).collect();
            for _ in 0..4 {
                let mut sums = BTreeMap::<u64, f64>::new();
                for (page, rank) in &expected {
                    let links = links(*page);
                    links.iter().for_each(|link| *sums.entry(*link).or_default() += rank / links.len() as f64);
                }
                expected = sums.into_iter().map(|(page, sum)| (page, 0.15 + 0.85 * sum)).collect();
            }
            assert_eq!(ranks.len(), expected.len());
            for (page, rank) in ranks {
                let (rank, expected) = (f64::from_bits(rank), expected[&page]);
                assert!((rank - expected).abs() < 1e-12 * expected, "page {page}: {rank}, not {expected}");
            }
        },
    )]
}
