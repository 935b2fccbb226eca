//! Runs many seeds through the real hub, engines and drivers, and proves that their checkers can fail.

mod seeds;

use tryworks_simulator::cluster::{Bug, Options, run};

#[test]
fn every_job_ends_rightly_whatever_is_cut_killed_or_full() {
    seeds::run_seeds("cluster", 300, |seed, trace| Ok(run(seed, &Options { trace, bug: None })?.counts()));
}

#[test]
fn each_planted_bug_is_noticed_by_its_checker() {
    for (bug, said) in Bug::ALL {
        seeds::assert_noticed(&bug, said, |seed| run(seed, &Options { trace: false, bug: Some(bug) }).err());
    }
}

#[test]
fn a_seed_is_the_whole_run() {
    for seed in 0..10 {
        assert_eq!(run(seed, &Options::default()), run(seed, &Options::default()));
    }
}
