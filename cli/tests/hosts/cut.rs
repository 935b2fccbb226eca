//! A host that is cut off in the middle of a shuffle and comes back.

use crate::driver::{drive_with, mix, role, token, tokens};
use crate::host::Network;
use crate::wait::until;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tryworks::prelude::*;

const ROWS: u64 = 60_000;

/// Waits until the test has made a token. Tasks that wait for it run on both hosts when the cable is taken out.
fn wait_for(name: &str) {
    while !token(name).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_host_that_is_cut_off_in_a_shuffle_comes_back_and_changes_nothing() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        let pairs = cx.range_in(0..ROWS, 8).map(|n| (mix(n) % 1_000, n)).group_by_key_in(8);
        let sums = pairs.map_partitions(|rows| {
            // Reading has begun: blocks of both hosts are wanted.
            fs::write(token(&format!("reads-{}", crate::host::host_name())), "").unwrap();
            wait_for("go on");
            rows.map(|(key, values): (u64, Vec<u64>)| (key, values.into_iter().sum::<u64>()))
        });
        // Beside a source no two partitions share a task.
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
    until("both hosts read", || (fs::read_dir(place.path()).unwrap().count() >= 2).then_some(()));
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
    assert!(said.contains("map outputs that it held are made again"), "{said}");
}
