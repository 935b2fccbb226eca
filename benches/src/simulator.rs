//! Benchmark: decisions of the scheduler a second, on the simulator's clock and network.

use crate::harness::{Bench, Figure, Figures, Outcome, Settings};

/// The benchmark.
pub fn bench(_settings: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "decisions", unit: "/s", goal: None }];
    Ok(Bench::Figures(Figures { rows, measure: None }))
}
