//! Runs a simulated world with many seeds.
//!
//! `TRYWORKS_SIM_SEED=123` replays one seed with a trace (with `-- --nocapture`). `TRYWORKS_SIM_SEEDS=20000` runs that many,
//! and `TRYWORKS_SIM_FIRST=50000` begins with that one.

use std::collections::BTreeMap;
use std::panic::{RefUnwindSafe, catch_unwind};

/// The counts of a run, by what was counted.
pub type Counts = Vec<(&'static str, u64)>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds that the environment names, or the first `often`, and names each that fails. `run` takes a seed and
/// whether to print a trace. If at least `often` seeds were run, each count has to be there, or the test proves nothing.
pub fn run_seeds(test: &str, often: u64, run: impl Fn(u64, bool) -> Result<Counts, String> + RefUnwindSafe) {
    if let Some(seed) = number("TRYWORKS_SIM_SEED") {
        println!("{:#?}", run(seed, true).unwrap());
        return;
    }
    let seeds = number("TRYWORKS_SIM_SEEDS").unwrap_or(often);
    let first = number("TRYWORKS_SIM_FIRST").unwrap_or(0);
    let mut all = BTreeMap::<&str, u64>::new();
    let mut violations = Vec::new();
    for seed in first..first + seeds {
        let violation = match catch_unwind(|| run(seed, false)) {
            Ok(Ok(counts)) => {
                counts.into_iter().for_each(|(what, times)| *all.entry(what).or_default() += times);
                continue;
            }
            Ok(Err(violation)) => violation,
            Err(_) => "it panicked".into(),
        };
        let replay = format!("TRYWORKS_SIM_SEED={seed} cargo test -p tryworks-simulator --test {test} -- --nocapture");
        violations.push(format!("{violation}\nreplay it: {replay}"));
    }
    assert!(violations.is_empty(), "{} of {seeds} seeds:\n{}", violations.len(), violations.join("\n\n"));
    println!("{seeds} seeds: {all:#?}");
    for (what, times) in all.into_iter().filter(|_| seeds >= often) {
        assert!(times > 0 || what == "planted", "no {what} in {seeds} seeds");
    }
}

/// Runs seeds with a bug until its checker reports it. Another checker may report first, if the bug has consequences.
pub fn assert_noticed(bug: &impl std::fmt::Debug, said: &str, run: impl Fn(u64) -> Option<String>) {
    let noticed = (0..400).filter_map(run).any(|violation| violation.contains(said));
    assert!(noticed, "no checker said of {bug:?}: {said}");
}
