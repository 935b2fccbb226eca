//! Runs many seeds through the simulator, and proves that its checkers can fail.
//!
//! `TRYWORKS_SIM_SEED=123` replays one seed with a trace (with `-- --nocapture`); `TRYWORKS_SIM_SEEDS=20000` runs that
//! many.

use tryworks_simulator::{Bug, Options, Outcome, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn replay(seed: u64) -> String {
    format!("TRYWORKS_SIM_SEED={seed} cargo test -p tryworks-simulator --test simulator -- --nocapture")
}

#[test]
fn every_job_ends_rightly_whatever_dies() {
    if let Some(seed) = number("TRYWORKS_SIM_SEED") {
        println!("{:#?}", run(seed, &Options { trace: true, bug: None }).unwrap());
        return;
    }
    let seeds = number("TRYWORKS_SIM_SEEDS").unwrap_or(1_000);
    let mut all = Outcome::default();
    for seed in 0..seeds {
        match std::panic::catch_unwind(|| run(seed, &Options::default())) {
            Ok(Ok(outcome)) => all = all.plus(&outcome),
            Ok(Err(violation)) => panic!("{violation}\nreplay it: {}", replay(seed)),
            Err(_) => panic!("the scheduler panicked\nreplay it: {}", replay(seed)),
        }
    }
    println!("{seeds} seeds: {all:#?}");
    if seeds < 1_000 {
        return;
    }
    // If a fault never happened, the test proves nothing.
    for (fault, times) in [
        ("starts of the hub", all.hubs_started),
        ("blocks known to a new hub", all.blocks_known),
        ("engines asked to leave", all.engines_drained),
        ("engines that may go", all.engines_let_go),
        ("blocks moved", all.blocks_moved),
        ("moves that failed", all.moves_failed),
        ("second launches", all.copies),
        ("second launches that won", all.copies_won),
        ("engines lost", all.engines_lost),
        ("workers died", all.workers_died),
        ("blocks lost", all.blocks_lost),
        ("engines short of memory", all.gates_closed),
        ("starts that failed", all.starts_failed),
        ("fetches failed", all.fetches_failed),
        ("several blocks missing at once", all.lost_together),
        ("user errors", all.user_errors),
        ("repeated tasks that answered differently", all.nondeterministic),
        ("other answers than those that a hub before was told of", all.changed_since),
        ("tasks run alone", all.alone),
        ("attempts stopped", all.stopped),
        ("messages dropped", all.messages_dropped),
        ("messages doubled", all.messages_doubled),
        ("jobs done", all.done),
        ("jobs cancelled", all.cancelled),
        ("jobs failed by a task", all.failed[0]),
        ("jobs failed by a worker", all.failed[1]),
        ("jobs failed by lost engines", all.failed[2]),
        ("jobs failed by fetches", all.failed[3]),
        ("jobs failed by a result that cannot be taken back", all.failed[4]),
        ("jobs failed by a limit", all.failed[5]),
        ("jobs failed for want of engines", all.failed[6]),
        ("jobs failed since no engine could start them", all.failed[7]),
    ] {
        assert!(times > 0, "no {fault} in {seeds} seeds");
    }
}

/// Runs seeds with the bug until its checker reports it. Another checker may report first, if the bug has consequences.
fn is_noticed(bug: Bug, said: &str) -> bool {
    let mut violations = (0..200).filter_map(|seed| run(seed, &Options { trace: false, bug: Some(bug) }).err());
    violations.any(|violation| violation.contains(said))
}

#[test]
fn each_planted_bug_is_noticed_by_its_checker() {
    for (bug, said) in [
        (Bug::CommitTwice, "is committed twice"),
        (Bug::LoseTask, "did not end"),
        (Bug::LoseCommit, "was never committed"),
        (Bug::WrongValue, "a sequential run gives"),
        (Bug::LaunchTwice, "and so does"),
        (Bug::KeepBlocks, "all jobs ended, and yet engine"),
        (Bug::WrongReason, "a reason that never happened"),
        (Bug::EndEarly, "was never committed"),
    ] {
        assert!(is_noticed(bug, said), "no checker said of {bug:?}: {said}");
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
