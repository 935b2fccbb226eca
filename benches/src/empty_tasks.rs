//! Benchmark: tasks that do nothing, how many a second in one job.

use crate::harness::{Bench, Figure, Figures, Outcome, Settings};

/// Tasks of the job.
#[allow(dead_code, reason = "our side uses it")]
pub const TASKS: usize = 100_000;

/// The benchmark.
pub fn bench(_settings: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "a second", unit: "tasks/s", goal: None }];
    Ok(Bench::Figures(Figures { rows, measure: None }))
}
