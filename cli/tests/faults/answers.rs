//! The same answers, bit for bit, on threads and on any number of engines, even if engines die in the middle.

use crate::here;
use crate::rig::{Cluster, Engine, claim, driving, gate, mark, signal, until};
use rustix::process::Signal;
use tryworks::prelude::*;
use tryworks_testing::cases;

/// Called by a task in the middle of a stage. A task that takes a token waits to be killed.
fn event(stage: &'static str) {
    if std::env::var_os("TRYWORKS_WORKER").is_some() && claim(stage) {
        mark("victim");
        gate("never");
    }
}

/// Compares every case on the cluster with threads of this process, and with a plain computation.
fn program() {
    cases::on_event(event);
    let cx = Context::init().unwrap();
    let threads = Context::local(2).unwrap();
    for case in cases::all() {
        let answer = case.run(&cx).unwrap_or_else(|error| panic!("`{}` failed: {error}", case.name));
        case.check(&answer);
        assert!(answer == case.run(&threads).unwrap(), "`{}` gives another answer on the cluster", case.name);
    }
}

#[test]
fn one_two_and_four_engines_give_the_same_bits() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(1, 1, &[]);
    cluster.drive(here!());
    for more in [&["b"][..], &["c", "d"]] {
        more.iter().for_each(|name| cluster.add(name, Engine { slots: 1, ..Engine::default() }));
        cluster.wait_for_engines(2 * more.len());
        cluster.drive(here!());
    }
    cluster.is_clean();
}

/// Two threads run jobs over the same shuffles again and again. Each job ends within milliseconds, so one worker opens
/// and forgets exchanges at the same time.
fn two_loops(cx: &Context) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let sums = cx.range_in(0..100, 4).map(|n| (n % 7, 1u64)).reduce_by_key(|a, b| a + b);
                    assert_eq!(sums.count().unwrap(), 7);
                }
            });
        }
    });
}

#[test]
fn threads_of_a_driver_run_jobs_at_the_same_time() {
    if driving() {
        let cx = Context::init().unwrap();
        two_loops(&cx);
        let threads = Context::local(2).unwrap();
        for case in cases::all().into_iter().filter(|case| case.spills) {
            let right = case.run(&threads).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert!(case.run(&cx).unwrap() == right, "`{}` gives another answer", case.name));
                }
            });
        }
        return;
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    cluster.drive(here!());
    cluster.add("b", Engine { slots: 2, ..Engine::default() });
    cluster.wait_for_engines(2);
    cluster.drive(here!());
    cluster.is_clean();
}

#[test]
fn threads_open_the_same_exchange_at_the_same_time() {
    if driving() {
        let cx = Context::init().unwrap();
        for _ in 0..20 {
            let sums = cx.range_in(0..1_000, 8).map(|n| (n % 100, n)).shuffle_into(8).reduce_by_key(|a, b| a + b);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(sums.map(|(_, sum)| sum).sum().unwrap(), 499_500));
                }
            });
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 2, &[]);
    cluster.drive(here!());
    cluster.is_clean();
}

#[test]
fn engines_that_die_in_the_middle_change_no_bit() {
    if driving() {
        return program();
    }
    let cluster = Cluster::start(2, 1);
    let driver = cluster.begin(here!(), &[]);
    for (count, stage) in ["map", "reduce", "map", "reduce"].into_iter().enumerate() {
        let before = cluster.shared.markers("victim");
        cluster.shared.tokens(stage, 1);
        cluster.shared.wait_for("victim", count + 1);
        let victim = cluster.shared.markers("victim").into_iter().find(|pid| !before.contains(pid)).unwrap();
        let engines = cluster.engines();
        let (name, pid) = engines.iter().find(|(_, engine)| cluster.children(*engine).contains(&victim)).unwrap();
        signal(*pid, Signal::KILL);
        until("it is started again", || cluster.engines().iter().any(|(n, p)| n == name && p != pid).then_some(()));
    }
    let done = driver.ends_well();
    assert!(done.err.matches("was lost (its connection ended)").count() >= 4, "{}", done.err);
    cluster.is_clean();
}
