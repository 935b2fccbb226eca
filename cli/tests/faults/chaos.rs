//! Workers and engines are killed at random while shuffles run: answers are right or errors are clean, and nothing
//! remains.

use crate::here;
use crate::rig::{Cluster, driving, mark, path, signal, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::Duration;
use tryworks::prelude::*;

/// How many processes are killed.
const KILLS: usize = 12;

const ROWS: u64 = 24_000;

/// Repeats until the test says that it is enough, and once more.
fn program() {
    let cx = Context::init().unwrap();
    let mut expected = BTreeMap::<u64, (usize, u64)>::new();
    for n in 0..ROWS {
        let (count, sum) = expected.entry(n % 97).or_default();
        (*count, *sum) = (*count + 1, *sum + n);
    }
    loop {
        let last = path("enough.open").exists();
        let rows = cx.range_in(0..ROWS, 12).map(|n| (n % 97, format!("{n:0100}")));
        let shuffled = rows.repartition(7).shuffle_into(5).group_by_key().map(|(key, values)| {
            let sum: u64 = values.iter().map(|value| value.parse::<u64>().unwrap_or_default()).sum();
            (key, (values.len(), sum))
        });
        match shuffled.collect() {
            Ok(found) => {
                assert!(found.into_iter().collect::<BTreeMap<_, _>>() == expected, "the answer is wrong");
                mark("right");
            }
            // What was lost too often is reported as lost.
            Err(Error::Lost { what, .. }) => mark(format!("lost-{}", what.len())),
            Err(Error::Fetch { .. }) => mark("fetch"),
            Err(other) => panic!("no process that is killed explains this: {other}"),
        }
        if last {
            return;
        }
    }
}

#[test]
fn random_kills_during_shuffles_give_right_answers_or_clean_errors() {
    if driving() {
        return program();
    }
    let cluster = Cluster::start(2, 2);
    let mut driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("right", 1);
    let mut seed = 141u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut killed = [0; 2];
    while killed.iter().sum::<usize>() < KILLS {
        std::thread::sleep(Duration::from_millis(random(150)));
        assert!(driver.child.try_wait().unwrap().is_none(), "the driver ended: {}", driver.err());
        let engines = until("both engines are there", || Some(cluster.engines()).filter(|engines| engines.len() == 2));
        let engine = engines[random(2) as usize].1;
        let workers = cluster.children(engine);
        let victim = match workers.first() {
            Some(worker) if killed[0] <= killed[1] => *worker,
            _ => engine,
        };
        signal(victim, Signal::KILL);
        cluster.wait_for_end(victim);
        killed[usize::from(victim == engine)] += 1;
    }
    assert!(killed.iter().all(|times| *times > 2), "workers and engines were killed: {killed:?}");
    cluster.wait_for_engines(2);
    cluster.shared.open("enough");
    let before = cluster.shared.marks("right");
    let done = driver.ends_well();
    assert!(cluster.shared.marks("right") > before, "without further kills, answers are right");
    assert!(done.err.contains("was lost (its connection ended)") && done.err.contains("a worker died"), "{}", done.err);
    cluster.is_clean();
}
