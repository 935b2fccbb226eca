//! Runs many seeds through the real hub, and proves that its checkers can fail.
//!
//! `TRYWORKS_SIM_SEED=123` replays one seed with a trace (with `-- --nocapture`); `TRYWORKS_SIM_SEEDS=20000` runs that
//! many.

use tryworks_simulator::cluster::{Bug, Options, Outcome, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn replay(seed: u64) -> String {
    format!("TRYWORKS_SIM_SEED={seed} cargo test -p tryworks-simulator --test cluster -- --nocapture")
}

#[test]
fn every_job_ends_rightly_whatever_is_cut_killed_or_full() {
    if let Some(seed) = number("TRYWORKS_SIM_SEED") {
        println!("{:#?}", run(seed, &Options { trace: true, bug: None }).unwrap());
        return;
    }
    let seeds = number("TRYWORKS_SIM_SEEDS").unwrap_or(300);
    let first = number("TRYWORKS_SIM_FIRST").unwrap_or(0);
    let mut all = Outcome::default();
    let mut violations = Vec::new();
    for seed in first..first + seeds {
        match std::panic::catch_unwind(|| run(seed, &Options::default())) {
            Ok(Ok(outcome)) => all = all.plus(&outcome),
            Ok(Err(violation)) => violations.push(format!("{violation}\nreplay it: {}", replay(seed))),
            Err(_) => violations.push(format!("the hub panicked\nreplay it: {}", replay(seed))),
        }
    }
    assert!(violations.is_empty(), "{} of {seeds} seeds:\n{}", violations.len(), violations.join("\n\n"));
    println!("{seeds} seeds: {all:#?}");
    if seeds < 300 {
        return;
    }
    // If a fault never happened, the test proves nothing.
    for (fault, times) in all.counts() {
        assert!(times > 0 || fault == "planted", "no {fault} in {seeds} seeds");
    }
}

/// Runs seeds with the bug until its checker reports it. Another checker may report first, if the bug has consequences.
fn is_noticed(bug: Bug, said: &str) -> bool {
    let mut violations = (0..400).filter_map(|seed| run(seed, &Options { trace: false, bug: Some(bug) }).err());
    violations.any(|violation| violation.contains(said))
}

#[test]
fn each_planted_bug_is_noticed_by_its_checker() {
    for (bug, said) in Bug::ALL {
        assert!(is_noticed(bug, said), "no checker said of {bug:?}: {said}");
    }
}

#[test]
fn a_seed_is_the_whole_run() {
    for seed in 0..10 {
        assert_eq!(run(seed, &Options::default()), run(seed, &Options::default()));
    }
}
