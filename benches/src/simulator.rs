//! Benchmark: decisions of the scheduler a second with 1,000 engines, and its memory for each task.

use tryworks_simulator::scale;

use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// Engines.
const ENGINES: u32 = 1_000;

/// The benchmark.
pub fn bench(_settings: &Settings) -> Outcome<Bench> {
    let rows = vec![
        Figure { label: "decisions, 10,000 tasks", unit: "/s", goal: Some(Goal::AtLeast(200_000.0)) },
        Figure { label: "decisions, 100,000 tasks", unit: "/s", goal: Some(Goal::AtLeast(200_000.0)) },
        Figure { label: "decisions, 1,000,000 tasks", unit: "/s", goal: Some(Goal::AtLeast(200_000.0)) },
        Figure { label: "memory, 10,000 tasks", unit: "bytes/task", goal: None },
        Figure { label: "memory, 100,000 tasks", unit: "bytes/task", goal: None },
        Figure { label: "memory, 1,000,000 tasks", unit: "bytes/task", goal: None },
    ];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}

fn measure() -> Outcome<Vec<f64>> {
    let growth = scale::growth(ENGINES);
    Ok(growth.iter().map(|run| run.events_per_second).chain(growth.iter().map(|run| run.bytes_per_task)).collect())
}
