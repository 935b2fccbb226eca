//! Benchmark: the word count while one of two engines is killed half-way and restarted by the supervisor, against an
//! undisturbed run.

use std::process::Command;
use std::time::{Duration, Instant};

use super::Cluster;
use crate::harness::{Bench, Figure, Figures, Goal, Outcome, Settings};
use crate::word_count::{forms::reduce, text_file};

/// How many times each is measured; the figure is the median.
const TIMES: usize = 5;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = text_file(settings)?;
    let rows = vec![
        Figure { label: "undisturbed", unit: "s", goal: None },
        Figure { label: "killed half-way", unit: "s", goal: None },
        Figure { label: "times as long", unit: "x", goal: Some(Goal::AtMost(1.5)) },
    ];
    let measure = move || -> Outcome<Vec<f64>> {
        let cluster = Cluster::start(2)?;
        let cx = cluster.context()?;
        let expected = reduce(&cx, &path)?;
        let timed = |kill_after: Option<Duration>| -> Outcome<f64> {
            let begin = Instant::now();
            let victim = cluster.engine("engine-1")?;
            let found = std::thread::scope(|scope| -> Outcome<_> {
                let killer = kill_after.map(|after| {
                    scope.spawn(move || {
                        std::thread::sleep(after);
                        Command::new("kill").args(["-9", &victim.to_string()]).status().is_ok_and(|done| done.success())
                    })
                });
                let found = reduce(&cx, &path)?;
                match killer.map(|killer| killer.join()) {
                    None | Some(Ok(true)) => Ok(found),
                    _ => Err("the engine could not be killed".into()),
                }
            })?;
            if found != expected {
                return Err(format!("{found:?} was counted instead of {expected:?}").into());
            }
            Ok(begin.elapsed().as_secs_f64())
        };
        let (mut quiet, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            quiet.push(timed(None)?);
            disturbed.push(timed(Some(Duration::from_secs_f64(quiet[0] / 2.0)))?);
            // Both engines have to be back before the next run.
            std::thread::sleep(Duration::from_secs(1));
        }
        quiet.sort_by(f64::total_cmp);
        disturbed.sort_by(f64::total_cmp);
        let (quiet, disturbed) = (quiet[TIMES / 2], disturbed[TIMES / 2]);
        Ok(vec![quiet, disturbed, disturbed / quiet])
    };
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}
