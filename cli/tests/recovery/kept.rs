//! What a restarted hub learns: partitions that workers cache, blocks that were moved, and results that are lost.

use crate::here;
use crate::rig::{Cluster, Engine, driving, gate, mark, signal, until};
use rustix::process::Signal;
use tryworks::prelude::*;

const PARTS: u64 = 8;

#[test]
fn the_next_hub_uses_partitions_that_workers_cache() {
    if driving() {
        let cx = Context::init().unwrap();
        let made = cx.range_in(0..2, 2).map(|n| {
            mark("made");
            gate("both");
            n + 70
        });
        let kept = made.cache();
        assert_eq!(kept.sum().unwrap(), 141);
        mark("kept");
        for hub in ["second", "third"] {
            gate(hub);
            assert_eq!(kept.sum().unwrap(), 141);
            mark(format!("used-{hub}"));
        }
        return;
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("made", 2);
    let workers = cluster.shared.markers("made");
    assert_ne!(workers[0], workers[1], "each engine keeps one of them");
    cluster.shared.open("both");
    cluster.shared.wait_for("kept", 1);
    // Does so at once, whether or not the engines are back.
    cluster.shared.open("second");
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 2);
    cluster.shared.wait_for("used-second", 1);
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 3);
    cluster.wait_for_engines(2);
    cluster.shared.open("third");
    driver.ends_well();
    assert_eq!(cluster.shared.marks("made"), 2, "nothing was made a second time");
}

#[test]
fn blocks_that_were_taken_over_are_offered_to_the_next_hub() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..PARTS * 1_000, PARTS as u32).map(|n| {
            if n % 1_000 == 0 {
                mark("map");
            }
            (n % 97, format!("{n:0100}"))
        });
        let groups = rows.shuffle_into(2).group_by_key();
        assert_eq!(groups.count().unwrap(), 97);
        mark("shuffled");
        gate("again");
        let rows: Vec<usize> = groups.map(|(_, values)| values.len()).collect().unwrap();
        assert_eq!(rows.into_iter().sum::<usize>() as u64, PARTS * 1_000);
        return;
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("shuffled", 1);
    let one = cluster.engine("engine-1");
    let two = cluster.engine("engine-2");
    let makers = cluster.shared.markers("map");
    let workers = [one, two].map(|engine| cluster.children(engine));
    assert!(workers.iter().all(|own| makers.iter().any(|pid| own.contains(pid))), "both have blocks");
    // One engine leaves its blocks to the other, whose own worker dies. The other engine has neither made them nor a
    // worker that did.
    cluster.good(&["cluster", "drain", "engine-1", "--name", "default"]);
    cluster.wait_for_end(one);
    assert_eq!(cluster.block_files().len(), PARTS as usize);
    for worker in &workers[1] {
        signal(*worker, Signal::KILL);
        cluster.wait_for_end(*worker);
    }
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 2);
    cluster.wait_for_engines(1);
    cluster.shared.open("again");
    driver.ends_well();
    assert_eq!(cluster.shared.marks("map"), PARTS as usize, "no map task ran again");
    cluster.is_clean();
}

/// The variable that says what a driver does.
const ROLE: &str = "TRYWORKS_TEST_PART";

#[test]
fn large_results_lost_with_their_engine_are_an_error_and_their_name_is_free() {
    if driving() {
        let cx = Context::init().unwrap();
        let large = cx.range_in(0..2, 2).map(|n| {
            mark("made");
            vec![n as u8; 1200 << 10]
        });
        let job = large.background().detached("large").collect().unwrap();
        if std::env::var(ROLE).unwrap() == "submit" {
            eprintln!("SUBMITTED {}", job.id());
            std::thread::park();
        }
        match job.wait() {
            Ok(found) => println!("FOUND {}", found.iter().map(Vec::len).sum::<usize>()),
            Err(error) => println!("LOST {}: {error}", matches!(error, Error::Lost { .. })),
        }
        return;
    }
    for hub_dies_too in [false, true] {
        let mut cluster = Cluster::by_hand(1, 2, &[("TRYWORKS_DRIVER_GRACE", "100ms")]);
        let mut driver = cluster.begin(here!(), &[(ROLE, "submit")]);
        driver.says("SUBMITTED");
        cluster.job_is("large", "done");
        driver.child.kill().unwrap();
        assert!(!driver.child.wait().unwrap().success());
        assert_eq!(cluster.block_files().len(), 2, "the results stay with the engine");
        let engine = cluster.engine("engine-1");
        signal(engine, Signal::KILL);
        cluster.wait_for_end(engine);
        until("the hub knows", || cluster.engines().is_empty().then_some(()));
        if hub_dies_too {
            cluster.kill_hub();
            assert_eq!(cluster.start_hub(), 2);
        }
        // Another engine has its directory, and starts empty.
        cluster.add("engine-1", Engine { slots: 2, ..Engine::default() });
        cluster.wait_for_engines(1);
        assert_eq!(cluster.block_files().len(), 0);
        let done = cluster.begin(here!(), &[(ROLE, "collect")]).ends_well();
        assert!(
            done.out.contains("LOST true: results of job 1 are lost: the engine that held them is gone"),
            "{}",
            done.out
        );
        assert!(done.out.contains("run the program again"), "{}", done.out);
        assert_eq!(cluster.shared.marks("made"), 2);
        // As the error advises.
        let done = cluster.begin(here!(), &[(ROLE, "collect")]).ends_well();
        assert!(done.out.contains(&format!("FOUND {}", 2400 << 10)), "{}", done.out);
        assert_eq!(cluster.shared.marks("made"), 4);
        cluster.is_clean();
    }
}
