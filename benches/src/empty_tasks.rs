//! Benchmark: how many empty tasks a second one job runs.

use std::time::Instant;

use tryworks::prelude::*;

use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// Tasks of the job.
pub const TASKS: u32 = 100_000;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "a second", unit: "tasks/s", goal: Some(Goal::AtLeast(200_000.0)) }];
    let threads = settings.threads;
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(move || measure(threads))) }))
}

fn measure(threads: usize) -> Outcome<Vec<f64>> {
    let cx = Context::builder().threads(threads).progress(false).build()?;
    let tasks = cx.from_fn(TASKS, |_| std::iter::empty::<u64>());
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let count = tasks.count()?;
        rates.push(f64::from(TASKS) / begin.elapsed().as_secs_f64());
        if count != 0 {
            return Err(format!("empty tasks gave {count} items").into());
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(vec![rates[2]])
}
