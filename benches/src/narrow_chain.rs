//! Benchmark: map, filter, map, sum over a range of numbers, against a rayon loop.

use rayon::prelude::*;
use tryworks::prelude::*;

use crate::harness::{Answer, Bench, Outcome, Pair, Settings};

/// Numbers in the range.
const NUMBERS: u64 = 100_000_000;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let numbers = settings.scaled(NUMBERS);
    let cx = settings.context()?;
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || ours(&cx, numbers))),
        twin: Box::new(move || Ok(twin(numbers))),
        after: None,
        goal: Some(0.9),
        cpu: true,
    }))
}

/// The first map: the compiler cannot sum it in closed form.
#[inline]
pub fn scramble(x: u64) -> u64 {
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// The filter: three of four numbers stay.
#[inline]
pub fn keep(x: &u64) -> bool {
    x & 0x30 != 0
}

/// The second map.
#[inline]
pub fn scramble_again(x: u64) -> u64 {
    (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn ours(cx: &Context, numbers: u64) -> Outcome<Answer> {
    let scrambled = cx.range(0..numbers).map(scramble).filter(keep).map(scramble_again);
    Ok(Answer { count: numbers, checksum: scrambled.fold(0, u64::wrapping_add)? })
}

fn twin(numbers: u64) -> Answer {
    let sum =
        (0..numbers).into_par_iter().map(scramble).filter(keep).map(scramble_again).reduce(|| 0, u64::wrapping_add);
    Answer { count: numbers, checksum: sum }
}
