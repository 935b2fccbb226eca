//! Benchmark: a shuffle of a million partitions is cancelled when half of them have left their blocks. At the same time
//! another driver runs one small job after another. None may fail, and no engine may be lost. The longest of these jobs
//! shows for how long the hub did not answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tryworks::prelude::*;

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Outcome, Settings};

/// Map tasks, each of which leaves a block: `--scale 10` makes them ten million.
const PARTITIONS: f64 = 1e6;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let rows = vec![
        Figure { label: "until half is made", unit: "s", goal: None },
        Figure { label: "longest small job after", unit: "s", goal: None },
        Figure { label: "blocks are gone after", unit: "s", goal: None },
    ];
    let partitions = (PARTITIONS * settings.scale) as u32;
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(move || measure(partitions))) }))
}

fn measure(partitions: u32) -> Outcome<Vec<f64>> {
    let cluster = Cluster::start(2)?;
    let engines = engines(&cluster)?;
    let (large, small) = (cluster.context()?, cluster.context()?);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome<Vec<f64>> {
        let begin = Instant::now();
        let shuffle = scope.spawn(|| {
            let numbers = large.range_in(0..u64::from(partitions), partitions);
            numbers.map(|n| (n, n)).shuffle_into(2).group_by_key().count()
        });
        // What half of the map tasks leave.
        let half = u64::from(partitions) / 2;
        while made(&cluster)? < half {
            if shuffle.is_finished() {
                return Err("the shuffle ended before it could be cancelled".into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let until_half = begin.elapsed().as_secs_f64();
        let others = scope.spawn(|| -> Result<f64> {
            let numbers = small.range_in(0..10, 1);
            let mut longest = 0_f64;
            while !over.load(Relaxed) {
                let begin = Instant::now();
                numbers.sum()?;
                longest = longest.max(begin.elapsed().as_secs_f64());
            }
            Ok(longest)
        });
        let begin = Instant::now();
        cluster.command(&["cancel", &job(&cluster)?])?;
        let cancelled = shuffle.join().map_err(|_| "the driver panicked")?;
        // Its blocks are held until its dataset is dropped, which has happened by now.
        let gone = loop {
            if blocks(&cluster)? == 0 || others.is_finished() {
                break begin.elapsed().as_secs_f64();
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        over.store(true, Relaxed);
        let longest = others.join().map_err(|_| "the other driver panicked")??;
        match cancelled {
            Err(Error::Cancelled) => {}
            other => return Err(format!("the shuffle was to be cancelled: {other:?}").into()),
        }
        if self::engines(&cluster)? != engines {
            return Err("an engine was lost".into());
        }
        Ok(vec![until_half, longest, gone])
    })
}

/// A number from the status for each engine, by its name in the text: nothing else here reads JSON.
fn numbers(text: &str, name: &str) -> Vec<u64> {
    let name = format!("\"{name}\":");
    let digits = |rest: &str| rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split(&name).skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

fn status(cluster: &Cluster) -> Outcome<String> {
    Ok(String::from_utf8(cluster.command(&["cluster", "status", "-o", "json"])?.stdout)?)
}

/// Engines by the hub's ids: an engine that is lost and comes back has another id.
fn engines(cluster: &Cluster) -> Outcome<Vec<u64>> {
    Ok(numbers(&status(cluster)?, "engine"))
}

fn blocks(cluster: &Cluster) -> Outcome<u64> {
    Ok(numbers(&status(cluster)?, "blocks").iter().sum())
}

/// The partitions that running jobs have made.
fn made(cluster: &Cluster) -> Outcome<u64> {
    Ok(numbers(&status(cluster)?, "partitions_done").iter().sum())
}

fn job(cluster: &Cluster) -> Outcome<String> {
    let running = numbers(&status(cluster)?, "job");
    Ok(running.first().ok_or("no job runs")?.to_string())
}
