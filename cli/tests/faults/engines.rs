//! Engines that are killed, stopped, or missing.

use crate::here;
use crate::rig::{Cluster, Engine, driving, gate, mark, signal, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use tryworks::prelude::*;

/// The variable that names the stage whose tasks wait for the test: `map`, `reduce` or `again`.
const WAITS: &str = "TRYWORKS_TEST_WAITS";

fn waits(stage: &str) {
    if std::env::var(WAITS).is_ok_and(|waits| waits == stage) {
        gate(stage);
    }
}

/// Values larger than a small block.
fn pair(n: u64) -> (u64, String) {
    (n % 97, format!("{n:0100}"))
}

/// Groups by key in 8 map and 4 reduce partitions. Tasks from map partition 4 on, or before the reduce partitions, wait
/// if the test wants it. Each begin and each end leaves a mark.
fn program() {
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..8_000, 8).map(|n| {
        if n % 1_000 == 0 {
            mark(format!("map-{}", n / 1_000));
            mark("map");
            if n >= 4_000 {
                waits("map");
            }
        }
        pair(n)
    });
    let groups = rows.shuffle_into(4).group_by_key().map_partitions(|items| {
        mark("reduce");
        waits("reduce");
        items
    });
    let mut expected = BTreeMap::<u64, Vec<String>>::new();
    (0..8_000).map(pair).for_each(|(key, value)| expected.entry(key).or_default().push(value));
    let found = groups.collect().unwrap();
    assert!(found.iter().cloned().collect::<BTreeMap<_, _>>() == expected, "the answer is wrong");
    if std::env::var(WAITS).is_ok_and(|waits| waits == "again") {
        mark("once");
        gate("again");
        assert!(groups.collect().unwrap() == found);
    }
}

/// Waits until an engine runs in another process than this one.
fn restarted(cluster: &Cluster, name: &str, old: u32) {
    until("it is started again", || {
        cluster.engines().iter().any(|(known, pid)| known == name && *pid != old).then_some(())
    });
}

/// Waits until the first four map partitions are made, and another one waits for the test.
fn first_half(cluster: &Cluster) {
    until("the first four are made", || {
        (cluster.status()["running"][0]["progress"]["partitions_done"] == 4).then_some(())
    });
    cluster.shared.wait_for("map", 5);
}

/// The map partitions that ran more than once.
fn recomputed(cluster: &Cluster) -> Vec<usize> {
    (0..8).filter(|part| cluster.shared.marks(&format!("map-{part}")) > 1).collect()
}

#[test]
fn only_what_a_killed_engine_had_is_recomputed() {
    if driving() {
        return program();
    }
    let cluster = Cluster::start(2, 1);
    for stage in ["map", "reduce"] {
        cluster.shared.clear();
        let driver = cluster.begin(here!(), &[(WAITS, stage)]);
        match stage {
            "map" => first_half(&cluster),
            // They are so small that one task has them all.
            _ => cluster.shared.wait_for("reduce", 1),
        }
        let running = cluster.shared.markers(stage);
        let (victims, others): (Vec<_>, Vec<_>) =
            cluster.engines().into_iter().partition(|(_, pid)| cluster.children(*pid).contains(&running[0]));
        let [(name, victim)] = &victims[..] else { panic!("{victims:?} run {running:?}") };
        let children = cluster.children(others[0].1);
        signal(*victim, Signal::KILL);
        driver.says(&format!("{name} on"));
        driver.says("was lost (its connection ended)");
        cluster.shared.open(stage);
        let done = driver.ends_well();
        assert!(
            done.err.contains("map outputs that it held are recomputed where they are still needed"),
            "{}",
            done.err
        );
        let again = recomputed(&cluster);
        assert!(!again.is_empty() && again.len() < 8, "{stage}: {again:?}");
        for part in again {
            let by = cluster.shared.markers(&format!("map-{part}"));
            assert!(by.iter().any(|pid| !children.contains(pid)), "{part} was made by the engine that lived: {by:?}");
        }
        restarted(&cluster, name, *victim);
        assert_eq!(cluster.engine(&others[0].0), others[0].1);
    }

    // Repeatedly, each time the other engine, while the job is in the middle of its map stage.
    cluster.shared.clear();
    let driver = cluster.begin(here!(), &[(WAITS, "map")]);
    first_half(&cluster);
    for (round, name) in ["engine-1", "engine-2", "engine-1"].into_iter().enumerate() {
        let pid = cluster.engine(name);
        let begun = cluster.shared.marks("map");
        signal(pid, Signal::KILL);
        restarted(&cluster, name, pid);
        // Tasks that waited for the first engine have gone to the second one, and from there back to the first.
        if round > 0 {
            cluster.shared.wait_for("map", begun + 1);
        }
    }
    cluster.shared.open("map");
    let done = driver.ends_well();
    assert!(done.err.matches("was lost (its connection ended)").count() >= 3, "{}", done.err);
}

#[test]
fn a_silent_engine_is_lost_and_may_return() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[("TRYWORKS_ENGINE_SILENCE", "1500ms")]);
    let driver = cluster.begin(here!(), &[(WAITS, "map")]);
    first_half(&cluster);
    let one = cluster.engine("engine-1");
    signal(one, Signal::STOP);
    driver.says("was lost (nothing was heard of it for 1.5s)");
    assert_eq!(cluster.engines().len(), 1, "it is not listed any more");
    cluster.shared.open("map");
    driver.ends_well();
    assert!(!recomputed(&cluster).is_empty());

    // The engine returns, and its late messages change nothing. The program is still there, and asks again.
    cluster.shared.clear();
    signal(one, Signal::CONT);
    cluster.wait_for_engines(2);
    let driver = cluster.begin(here!(), &[(WAITS, "again")]);
    cluster.shared.wait_for("once", 1);
    signal(one, Signal::STOP);
    driver.says("was lost");
    signal(one, Signal::CONT);
    cluster.wait_for_engines(2);
    cluster.shared.open("again");
    driver.ends_well();
    assert_eq!(cluster.engine("engine-1"), one, "it is the same process");
}

#[test]
fn jobs_without_an_engine_wait_and_then_fail() {
    if driving() {
        let cx = Context::init().unwrap();
        match cx
            .range_in(0..4, 2)
            .map(|n| {
                mark("ran");
                gate("map");
                n
            })
            .sum()
        {
            Ok(sum) => println!("SUM {sum}"),
            Err(error) => println!("ERROR {error}"),
        }
        return;
    }
    let mut cluster = Cluster::by_hand(1, 1, &[]);
    let impatient = [("TRYWORKS_PATIENCE", "700ms")];
    let driver = cluster.begin(here!(), &impatient);
    cluster.shared.wait_for("ran", 1);
    signal(cluster.engine("engine-1"), Signal::KILL);
    driver.says("there is no engine: job 1 waits for one, for 700ms at most (sum at ");
    let done = driver.ends_well();
    assert!(done.out.contains("ERROR there was no engine for 7"), "{}", done.out);
    assert!(done.out.contains("what to do: start engines"), "{}", done.out);
    assert_eq!(cluster.engines(), []);

    // No engine from the beginning.
    let done = cluster.begin(here!(), &impatient).ends_well();
    assert!(
        done.err.contains("there is no engine: job 2 waits") && done.out.contains("ERROR there was no"),
        "{}",
        done.err
    );

    // An engine that comes in time.
    cluster.shared.open("map");
    let driver = cluster.begin(here!(), &[]);
    driver.says("there is no engine");
    cluster.add("engine-2", Engine { slots: 1, ..Engine::default() });
    assert!(driver.ends_well().out.contains("SUM 6"));
}
