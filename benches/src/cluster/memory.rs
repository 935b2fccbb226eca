//! Benchmark: the memory of a hub that has run a hundred jobs of 10,000 empty tasks.

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};

/// Tasks of one job.
const TASKS: u32 = 10_000;
/// The number of jobs after which the memory is measured: the first time and the last.
const JOBS: [u32; 2] = [10, 100];

/// The benchmark.
pub fn bench(_: &Settings) -> Outcome<Bench> {
    let rows = vec![
        Figure { label: "after 100,000 tasks", unit: "MB", goal: None },
        Figure { label: "after 1,000,000 tasks", unit: "MB", goal: Some(Goal::AtMost(300.0)) },
        // Differences that come from the system's own memory management are no growth.
        Figure { label: "growth between them", unit: "MB", goal: Some(Goal::AtMost(20.0)) },
    ];
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}

fn measure() -> Outcome<Vec<f64>> {
    let cluster = Cluster::start(2)?;
    let hub = cluster.hub()?;
    let cx = cluster.context()?;
    let tasks = cx.from_fn(TASKS, |_| std::iter::empty::<u64>());
    let mut found = Vec::new();
    let mut ran = 0;
    for jobs in JOBS {
        while ran < jobs {
            tasks.count()?;
            ran += 1;
        }
        found.push(resident(hub)?);
    }
    let growth = found[1] - found[0];
    found.push(growth);
    Ok(found)
}

/// The resident set of a process, in MB.
fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the process has no memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}
