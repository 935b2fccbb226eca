//! Benchmark: 64 engines on this machine, from their start through a job of 10,000 tasks to their end.

use std::time::Instant;

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Outcome, Settings};

/// Engines.
const ENGINES: u32 = 64;
/// Tasks of the job.
const TASKS: u32 = 10_000;

/// The benchmark.
pub fn bench(_: &Settings) -> Outcome<Bench> {
    let row = |label| Figure { label, unit: "s", goal: None };
    let rows = vec![row("64 engines register"), row("10,000 tasks on them"), row("they leave")];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}

fn measure() -> Outcome<Vec<f64>> {
    let begin = Instant::now();
    let cluster = Cluster::start(ENGINES)?;
    let registered = begin.elapsed();
    let begin = Instant::now();
    let cx = cluster.context()?;
    let sum = cx.from_fn(TASKS, |task| [u64::from(task)]).sum()?;
    let ran = begin.elapsed();
    if sum != u64::from(TASKS) * u64::from(TASKS - 1) / 2 {
        return Err(format!("the sum is {sum}").into());
    }
    drop(cx);
    let begin = Instant::now();
    drop(cluster);
    Ok(vec![registered.as_secs_f64(), ran.as_secs_f64(), begin.elapsed().as_secs_f64()])
}
