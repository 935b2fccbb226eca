//! Runs many seeds through the real scheduler, and proves that its checkers can fail.

mod seeds;

use tryworks_simulator::{Bug, Options, run};

#[test]
fn every_job_ends_rightly_whatever_dies() {
    seeds::run_seeds("simulator", 1_000, |seed, trace| Ok(run(seed, &Options { trace, bug: None })?.counts()));
}

#[test]
fn each_planted_bug_is_noticed_by_its_checker() {
    for (bug, said) in Bug::ALL {
        seeds::assert_noticed(&bug, said, |seed| run(seed, &Options { trace: false, bug: Some(bug) }).err());
    }
}

#[test]
fn a_seed_is_the_whole_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, &Options::default()), run(seed, &Options::default()));
    }
}

#[test]
fn a_waiting_task_costs_no_memory_and_a_job_leaves_none() {
    let small = tryworks_simulator::scale::run(10, 2_000);
    let large = tryworks_simulator::scale::run(10, 40_000);
    assert!(large.bytes_per_task < 32.0, "{large:?}");
    assert!(large.bytes_after <= small.bytes_after, "{large:?}");
}
