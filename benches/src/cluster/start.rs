//! Benchmark: from `cluster start -n 2` to the first result of a trivial job, in milliseconds.

use std::time::Instant;

use tryworks::prelude::*;

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// How many times it is measured; the figure is the median.
const TIMES: usize = 7;

/// The benchmark.
pub fn bench(_: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "to first result", unit: "ms", goal: Some(Goal::AtMost(500.0)) }];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}

fn measure() -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begin = Instant::now();
        let cluster = Cluster::start(2)?;
        let sum = cluster.context()?.range(0..1000).map(|n| n * 2).sum()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        if sum != 999_000 {
            return Err(format!("the sum is {sum}").into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(vec![times[TIMES / 2]])
}
