//! Shuffles, large results and programs that cross from host to host.

use crate::driver::{drive, role};
use crate::host::{Network, is_filled};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use tryworks::prelude::*;
use tryworks_testing::mix;

const ROWS: u64 = 400_000;
const KEYS: u64 = 50_000;

/// The result of the shuffle, and the same result by an independent way.
pub fn count(cx: &Context) -> Result<u64> {
    let counts = cx.range_in(0..ROWS, 12).map(|n| (mix(n) % KEYS, mix(n))).reduce_by_key(|a, b| a.wrapping_add(b));
    let counts: BTreeMap<u64, u64> = counts.collect()?.into_iter().collect();
    Ok(hash(&counts))
}

pub fn expected() -> u64 {
    let mut counts = BTreeMap::<u64, u64>::new();
    (0..ROWS).for_each(|n| {
        let sum = counts.entry(mix(n) % KEYS).or_default();
        *sum = sum.wrapping_add(mix(n));
    });
    hash(&counts)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_hosts_shuffle_and_a_third_one_drives() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        println!("answer {}", count(&cx).unwrap());
        // Too large for a report: it stays with its engine and is fetched from there.
        let large = cx.range_in(0..600_000, 2).map(mix).collect().unwrap();
        println!("large {}", hash(&large));
        return;
    }
    let Some(network) = Network::of(&["hub", "one", "two", "driver"]) else { return };
    let [hub, one, two, driver] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub();
    let _engines = [one.engine(hub, &[]), two.engine(hub, &[])];
    hub.wait_for(&["one", "two"]);
    let before = [one, two, driver].map(|host| host.received());
    let mut run = drive(driver, hub, "shuffle::two_hosts_shuffle_and_a_third_one_drives", "drive");
    let answer = run.line("answer ");
    let shuffled = [one, two].map(|host| host.received());
    let large = run.line("large ");
    run.ends_well();
    assert_eq!(answer, expected().to_string());
    assert_eq!(large, hash(&(0..600_000).map(mix).collect::<Vec<_>>()).to_string());
    // About half of what each host's readers read was made by the other host. Which host reads how much is not fixed.
    let crossed = shuffled[0] + shuffled[1] - before[0] - before[1];
    assert!(crossed > KEYS * 8, "{before:?} {shuffled:?}");
    assert!(driver.received() - before[2] > 600_000 * 8, "the large result came to the driver");
    // No directory is shared: each engine has its own, and the hub's host has none.
    assert!(is_filled(&one.seen("engine")) && is_filled(&two.seen("engine")));
    assert!(!hub.seen("engine").exists(), "the hub has no engine");
    assert!(!one.seen("program").exists(), "an engine has the program under its hash alone");
    assert!(driver.seen("program").exists(), "the driver has its own");
}

#[test]
fn an_engine_that_others_cannot_reach_is_reported() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        println!("answer {}", count(&cx).unwrap());
        return;
    }
    let Some(network) = Network::of(&["hub", "one", "two"]) else { return };
    let [hub, one, two] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub();
    // Only its own host reaches its data port.
    let _engines = [one.engine(hub, &["--listen", "127.0.0.1"]), two.engine(hub, &[])];
    hub.wait_for(&["one", "two"]);
    let mut run = drive(hub, hub, "shuffle::an_engine_that_others_cannot_reach_is_reported", "drive");
    // What the other host cannot read is recomputed where it can be read.
    assert_eq!(run.line("answer "), expected().to_string());
    let said = run.ends_well();
    assert!(said.contains("cannot be reached from two: no engine can be reached at 127.0.0.1:"), "{said}");
    assert!(said.contains("start engines with `--listen`"), "{said}");
}
