//! Benchmarks of the way through the hub: empty tasks per second; and one tiny job after another, from its submission
//! to its result.

use std::time::Instant;

use tryworks::prelude::*;

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// Tasks of one job.
const TASKS: u32 = 10_000;
/// Tiny jobs.
const JOBS: usize = 2_000;

/// The benchmark of empty tasks.
pub fn empty_tasks(_: &Settings) -> Outcome<Bench> {
    let rows = vec![Figure { label: "a second", unit: "tasks/s", goal: Some(Goal::AtLeast(50_000.0)) }];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure_tasks)) }))
}

fn measure_tasks() -> Outcome<Vec<f64>> {
    let cluster = Cluster::start(2)?;
    let cx = cluster.context()?;
    let tasks = cx.from_fn(TASKS, |_| std::iter::empty::<u64>());
    let mut rates = Vec::new();
    for _ in 0..9 {
        let begin = Instant::now();
        let count = tasks.count()?;
        rates.push(f64::from(TASKS) / begin.elapsed().as_secs_f64());
        if count != 0 {
            return Err(format!("empty tasks gave {count} items").into());
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(vec![rates[4]])
}

/// The benchmark of tiny jobs.
pub fn tiny_job(_: &Settings) -> Outcome<Bench> {
    let rows = vec![
        Figure { label: "median", unit: "us", goal: Some(Goal::AtMost(1000.0)) },
        Figure { label: "99th percentile", unit: "us", goal: Some(Goal::AtMost(5000.0)) },
    ];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure_jobs)) }))
}

fn measure_jobs() -> Outcome<Vec<f64>> {
    let cluster = Cluster::start(2)?;
    let cx = cluster.context()?;
    let numbers = cx.range_in(0..10, 1);
    let mut times = Vec::with_capacity(JOBS);
    for at in 0..JOBS + 100 {
        let begin = Instant::now();
        let sum = numbers.sum()?;
        if at >= 100 {
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        if sum != 45 {
            return Err(format!("the sum is {sum}").into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(vec![times[JOBS / 2], times[JOBS * 99 / 100]])
}
