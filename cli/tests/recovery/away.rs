//! The hub is away when a driver needs its data port: the driver retries, as it does with all other requests.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark};
use tryworks::prelude::*;

/// Too large for a message.
const LEN: usize = 2 << 20;

#[test]
fn uploads_are_retried_until_the_hub_returns() {
    if driving() {
        let cx = Context::init().unwrap();
        assert_eq!(cx.range_in(0..8, 2).count().unwrap(), 8);
        mark("connected");
        gate("away");
        let sum = cx.range_in(0..8, 2).with("x".repeat(LEN)).map(|large, n| large.len() as u64 + n).sum();
        assert_eq!(sum.unwrap(), 8 * LEN as u64 + 28);
        return;
    }
    let mut cluster = Cluster::by_hand(1, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("connected", 1);
    cluster.kill_hub();
    cluster.shared.open("away");
    driver.says("cannot be sent");
    cluster.start_hub();
    let done = driver.ends_well();
    assert_eq!(done.err.matches("trying again for up to 60s").count(), 1, "{}", done.err);
    cluster.is_clean();
}

#[test]
fn the_error_after_patience_names_what_could_not_be_sent() {
    if driving() {
        let cx = Context::init().unwrap();
        assert_eq!(cx.range_in(0..8, 2).count().unwrap(), 8);
        mark("connected");
        gate("away");
        let sum = cx.range_in(0..8, 2).with("x".repeat(LEN)).map(|large, n| large.len() as u64 + n).sum();
        let error = sum.unwrap_err().to_string();
        assert!(error.contains("captures cannot be sent") || error.contains("the hub was lost"), "{error}");
        return;
    }
    let mut cluster = Cluster::by_hand(1, 1, &[("TRYWORKS_PATIENCE", "1s")]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("connected", 1);
    cluster.kill_hub();
    cluster.shared.open("away");
    driver.ends_well();
    // The checks at the end of the test need a hub.
    cluster.start_hub();
}
