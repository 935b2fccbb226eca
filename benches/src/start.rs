//! Benchmark: from nothing to the first result of a trivial job, in microseconds.

use crate::harness::{Bench, Figure, Figures, Outcome, Settings};

/// How often it is measured; the figure is the median.
#[allow(dead_code, reason = "our side uses it")]
pub const TIMES: usize = 50;

/// The benchmark.
pub fn bench(_settings: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "to first result", unit: "us", goal: None }];
    Ok(Bench::Figures(Figures { rows, measure: None }))
}
