//! Pipelines whose answers follow from the input alone, for threads and for clusters: what runs them is to give the same
//! bits, whatever happens meanwhile. `crate::event` is told now and then that a task is in a map or in a reduce stage.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks::prelude::*;

pub const ROWS: u64 = 60_000;
pub const PARTS: u32 = 12;

/// Numbers that look random and follow from `n` alone.
pub fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x7fb5_d329_728e_a185);
    let n = (n ^ n >> 27).wrapping_mul(0x81da_def4_bc2d_d44d);
    n ^ n >> 33
}

/// A number from 0 to 1 whose sums depend on their order.
pub fn fraction(n: u64) -> f64 {
    (mix(n) >> 11) as f64 / (1u64 << 53) as f64
}

fn bits<K>(rows: Vec<(K, f64)>) -> Vec<(K, u64)> {
    rows.into_iter().map(|(key, value)| (key, value.to_bits())).collect()
}

fn rows(cx: &Context, rows: u64) -> Dataset<impl Pipe<Item = u64> + use<>> {
    cx.range_in(0..rows, PARTS).map(|n| {
        if n % 2_000 == 1_999 {
            crate::event("map");
        }
        n
    })
}

/// What is done with the items of a reduce stage.
fn late<T>(item: T) -> T {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if COUNT.fetch_add(1, Relaxed) % 200 == 100 {
        crate::event("reduce");
    }
    item
}

pub fn float_sums(cx: &Context) -> Result<Vec<(u64, u64)>> {
    let pairs = rows(cx, ROWS).map(|n| (mix(n) % 20_011, fraction(n)));
    Ok(bits(pairs.reduce_by_key(|a, b| a + b).map(late).collect()?))
}

pub fn float_reduce(cx: &Context) -> Result<(u64, u64)> {
    let dealt = rows(cx, ROWS).map(fraction).repartition(7).map(late);
    Ok((dealt.reduce(|a, b| a + b)?.to_bits(), dealt.sum()?.to_bits()))
}

pub fn joined(cx: &Context) -> Result<Vec<(u64, (u64, String))>> {
    let left = rows(cx, ROWS / 2).map(|n| (mix(n) % 4_000, n));
    let right = cx.range_in(0..ROWS / 4, 5).map(|n| (mix(n + 7) % 8_000, format!("right {n}")));
    left.join(&right).map(late).collect()
}

pub fn sorted_with_ties(cx: &Context) -> Result<Vec<(u16, u64)>> {
    rows(cx, ROWS).map(|n| ((mix(n) % 97) as u16, n)).sort_by_key().map(late).collect()
}

pub fn sorted_descending(cx: &Context) -> Result<Vec<String>> {
    let words = rows(cx, ROWS / 2).map(|n| format!("{:x}", mix(n) >> 40));
    words.sort_by(|word| Reverse((word.len(), word.as_bytes()[0]))).map(late).collect()
}

pub fn sampled(cx: &Context) -> Result<Vec<u64>> {
    rows(cx, ROWS).repartition(9).sample(0.25, 11).map(late).collect()
}

pub fn sampled_with_replacement(cx: &Context) -> Result<Vec<u64>> {
    rows(cx, ROWS).repartition(9).sample_with_replacement(2.0, 3).map(late).collect()
}

pub fn distinct(cx: &Context) -> Result<Vec<u64>> {
    rows(cx, ROWS).map(|n| mix(n % 25_000)).distinct().map(late).collect()
}

pub fn groups(cx: &Context) -> Result<Vec<(u64, Vec<u64>)>> {
    rows(cx, ROWS).map(|n| (mix(n) % 3_001, n)).group_by_key_in(5).map(late).collect()
}

pub fn first_items(cx: &Context) -> Result<(Vec<(u64, u64)>, (u64, u64))> {
    let sorted = rows(cx, ROWS).map(|n| (mix(n), n)).sort_by_key();
    Ok((sorted.take(1_234)?, sorted.first()?))
}

pub fn first_with_ties(cx: &Context) -> Result<Vec<u64>> {
    rows(cx, ROWS).repartition(4).take_ordered_by(5_000, |n| Reverse(mix(*n) % 50))
}

pub fn dealt_again(cx: &Context) -> Result<(Vec<Vec<u64>>, Vec<u64>)> {
    let dealt = rows(cx, ROWS).repartition(17);
    Ok((dealt.map_partitions(|items| [items.collect::<Vec<u64>>()]).collect()?, dealt.map(late).collect()?))
}

pub fn union(cx: &Context) -> Result<(Vec<(u64, i32)>, Vec<(u64, i32)>, Vec<(u64, i32)>)> {
    let one = rows(cx, ROWS).map(|n| (n % 9_001, 1)).reduce_by_key(|a, b| a + b);
    let other = cx.range_in(0..ROWS / 2, 3).map(|n| (mix(n), 2)).sort_by_key();
    Ok((one.union(&other).map(late).collect()?, one.collect()?, other.collect()?))
}

pub const PAGES: u64 = 2_000;

/// The pages that a page refers to.
pub fn links(page: u64) -> Vec<u64> {
    (0..page % 7 + 1).map(|i| mix(page * 31 + i) % PAGES).collect()
}

pub fn ranks(cx: &Context) -> Result<Vec<(u64, u64)>> {
    let pages = cx.range_in(0..PAGES, 6).map(|page| (page, links(page))).group_by_key_in(4).cache();
    let mut ranks: Data<(u64, f64)> = pages.map_values(|_| 1.0).boxed();
    for _ in 0..4 {
        let given = pages.join(&ranks).flat_map_into(|(_, (links, rank)), out| {
            for link in &links[0] {
                out.push((*link, rank / links[0].len() as f64));
            }
        });
        ranks = given.reduce_by_key_in(4, |a, b| a + b).map(late).map_values(|sum| 0.15 + 0.85 * sum).boxed();
    }
    Ok(bits(ranks.collect()?))
}
