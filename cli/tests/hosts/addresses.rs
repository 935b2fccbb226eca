//! Addresses of IPv6.

use crate::driver::{drive, role};
use crate::host::{Network, ipv6};
use crate::shuffle::{count, expected};
use std::fs;
use tryworks::prelude::*;

#[test]
fn hosts_that_speak_ipv6_alone_shuffle() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        println!("answer {}", count(&cx).unwrap());
        // It is fetched from the engine's own port.
        println!("large {}", cx.range_in(0..600_000, 2).map(|n| n * 3).collect().unwrap().len());
        return;
    }
    if !ipv6() {
        return eprintln!("skipped: this kernel has no IPv6");
    }
    let Some(network) = Network::of(&["hub", "one", "two", "driver"]) else { return };
    let [hub, one, two, driver] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub_at("fd77::1");
    let file: serde_json::Value = serde_json::from_slice(&fs::read(hub.seen("hub/driver.json")).unwrap()).unwrap();
    for address in ["gateway", "data"] {
        assert!(file[address].as_str().unwrap().starts_with("[fd77::1]:"), "{}", file[address]);
    }
    // One engine finds its address by the way to the hub; the other one is given it.
    let _engines = [one.engine(hub, &[]), two.engine(hub, &["--listen", "fd77::3"])];
    hub.wait_for(&["one", "two"]);
    let before = [one, two].map(|host| host.received());
    let mut run = drive(driver, hub, "addresses::hosts_that_speak_ipv6_alone_shuffle", "drive");
    assert_eq!(run.line("answer "), expected().to_string());
    assert_eq!(run.line("large "), "600000");
    run.ends_well();
    assert!([one, two].iter().zip(before).all(|(host, before)| host.received() > before + 100_000));
}
