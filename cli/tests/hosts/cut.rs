//! A host that is cut off in the middle of a shuffle and comes back.

use crate::driver::{drive_with, role, token, tokens};
use crate::host::Network;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tryworks::prelude::*;
use tryworks_testing::{mix, until};

const ROWS: u64 = 60_000;

/// Waits until the test has created a token. Tasks that wait for it run on both hosts when the cable is pulled.
fn wait_for(name: &str) {
    while !token(name).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lines that each task writes before, while and after the driver's cable is pulled.
const LINES: u64 = 200;

#[test]
fn a_driver_that_is_cut_off_attaches_again_and_misses_nothing() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        let sums = cx.from_fn(4, |part| {
            let said = move |when: &str| (0..LINES).for_each(|n| println!("task {part} {when} {n}."));
            said("before");
            fs::write(token(&format!("before-{part}")), "").unwrap();
            wait_for("cut");
            said("while");
            fs::write(token(&format!("while-{part}")), "").unwrap();
            if part < 2 {
                // The other tasks end with their results while the driver hears nothing.
                wait_for("heal");
            }
            said("after");
            [u64::from(part) + 1].into_iter()
        });
        println!("answer {:?}", sums.collect().unwrap());
        println!("large {}", cx.range_in(0..600_000, 2).map(mix).collect().unwrap().len());
        return;
    }
    let Some(network) = Network::of(&["hub", "one", "two", "driver"]) else { return };
    let [hub, one, two, driver] = &network.hosts[..] else { unreachable!() };
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let _hub = hub.hub();
    let _engines = [one.engine(hub, &[]), two.engine(hub, &[])];
    hub.wait_for(&["one", "two"]);
    let name = "cut::a_driver_that_is_cut_off_attaches_again_and_misses_nothing";
    let mut run = drive_with(driver, hub, name, "drive", &[tokens(place.path())]);
    let have = |when: &str, parts: std::ops::Range<u32>| {
        until(when, || parts.clone().all(|part| place.path().join(format!("{when}-{part}")).exists()).then_some(()));
    };
    have("before", 0..4);
    assert_eq!(hub.drivers(), 1);
    network.plug(3, false);
    fs::write(place.path().join("cut"), "").unwrap();
    have("while", 0..4);
    until("the hub has given the connection up", || (hub.drivers() == 0).then_some(()));
    network.plug(3, true);
    until("the driver is there again", || (hub.drivers() == 1).then_some(()));
    fs::write(place.path().join("heal"), "").unwrap();
    let (code, said) = run.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("answer [1, 2, 3, 4]") && said.contains("large 600000"), "{said}");
    for part in 0..4 {
        for when in ["before", "while", "after"] {
            for n in 0..LINES {
                let line = format!("task {part} {when} {n}.");
                assert_eq!(said.matches(&line).count(), 1, "{line}");
            }
        }
    }
}

#[test]
fn a_host_that_is_cut_off_in_a_shuffle_comes_back_and_changes_nothing() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(8, |part| {
            // Both hosts make some of it. Neither holds tasks in advance, as it would after quick ones.
            fs::write(token(&format!("makes-{}", crate::host::host_name())), "").unwrap();
            ["one", "two"].into_iter().for_each(|host| wait_for(&format!("makes-{host}")));
            (u64::from(part) * ROWS / 8..u64::from(part + 1) * ROWS / 8).map(|n| (mix(n) % 1_000, n))
        });
        let pairs = rows.shuffle_into(8).group_by_key();
        let sums = pairs.map_partitions(|rows| {
            // Reading has begun: blocks of both hosts are wanted.
            fs::write(token(&format!("reads-{}", crate::host::host_name())), "").unwrap();
            wait_for("go on");
            rows.map(|(key, values): (u64, Vec<u64>)| (key, values.into_iter().sum::<u64>()))
        });
        // In a union with a source, no two partitions share a task.
        let sums = sums.union(&cx.parallelize_in(Vec::<(u64, u64)>::new(), 1));
        let sums: BTreeMap<u64, u64> = sums.collect().unwrap().into_iter().collect();
        let mut expected = BTreeMap::<u64, u64>::new();
        (0..ROWS).for_each(|n| *expected.entry(mix(n) % 1_000).or_default() += n);
        println!("answer {}", sums == expected);
        wait_for("end");
        return;
    }
    let Some(network) = Network::of(&["hub", "one", "two"]) else { return };
    let [hub, one, two] = &network.hosts[..] else { unreachable!() };
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let _hub = hub.hub();
    let _engines = [one.engine(hub, &[]), two.engine(hub, &[])];
    hub.wait_for(&["one", "two"]);
    let before = hub.sessions();
    let name = "cut::a_host_that_is_cut_off_in_a_shuffle_comes_back_and_changes_nothing";
    let mut run = drive_with(hub, hub, name, "drive", &[tokens(place.path())]);
    let reads = |host: &str| place.path().join(format!("reads-{host}")).exists();
    until("both hosts read", || (reads("one") && reads("two")).then_some(()));
    network.plug(2, false);
    hub.wait_for(&["one"]);
    fs::write(place.path().join("go on"), "").unwrap();
    assert_eq!(run.line("answer "), "true");
    network.plug(2, true);
    hub.wait_for(&["one", "two"]);
    let after = hub.sessions();
    assert!(after["one"] == before["one"] && after["two"] > before["two"], "{before:?} {after:?}");
    fs::write(place.path().join("end"), "").unwrap();
    let said = run.ends_well();
    assert!(said.contains("two on two was lost (nothing was heard of it"), "{said}");
    assert!(said.contains("map outputs that it held are recomputed"), "{said}");
}
