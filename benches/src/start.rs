//! Benchmark: from the start of a context to the first result of a trivial job, in microseconds.

use std::time::Instant;

use tryworks::prelude::*;

use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// How many times it is measured; the figure is the median.
pub const TIMES: usize = 50;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "to first result", unit: "us", goal: Some(Goal::AtMost(5000.0)) }];
    let threads = settings.threads;
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(move || measure(threads))) }))
}

fn measure(threads: usize) -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begin = Instant::now();
        let cx = Context::builder().threads(threads).progress(false).build()?;
        let sum = cx.range(0..1000).map(|n| n * 2).sum()?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        if sum != 999_000 {
            return Err(format!("the sum is {sum}").into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(vec![times[TIMES / 2]])
}
