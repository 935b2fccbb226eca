//! Drivers that go away: what they had goes with them, unless they come back in time.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark, until};
use tryworks::prelude::*;

/// Shuffles, keeps the blocks, and then waits for ever in a task.
fn program() {
    let cx = Context::init().unwrap();
    let pairs = cx.range_in(0..400_000, 4).map(|n| (n % 100_000, n)).reduce_by_key_in(4, |a, b| a + b);
    assert_eq!(pairs.count().unwrap(), 100_000);
    eprintln!("SHUFFLED");
    let held = pairs.map(|pair| {
        mark("waiting");
        gate("never");
        pair
    });
    let _ = held.count();
}

#[test]
fn a_driver_that_is_killed_leaves_no_job_no_worker_and_no_block_after_its_grace() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[("TRYWORKS_DRIVER_GRACE", "300ms")]);
    let mut driver = cluster.begin(here!(), &[]);
    driver.says("SHUFFLED");
    cluster.shared.wait_for("waiting", 2);
    assert!(!cluster.block_files().is_empty());
    let alone = 3;
    assert!(cluster.processes().len() > alone, "hub, engines, driver and workers");
    driver.child.kill().unwrap();
    assert!(!driver.child.wait().unwrap().success());
    until("the workers are gone", || (cluster.processes().len() == alone).then_some(()));
    until("the blocks are gone", || cluster.block_files().is_empty().then_some(()));
    let status = cluster.status();
    assert_eq!((status["drivers"].as_u64(), status["running"].as_array().unwrap().len()), (Some(0), 0));
    cluster.job_is("2", "cancelled");
}

#[test]
fn a_driver_that_died_with_its_hub_is_not_waited_for_longer_than_its_grace() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[("TRYWORKS_DRIVER_GRACE", "300ms")]);
    let mut driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("waiting", 1);
    // By its answer it is written down.
    cluster.job_is("2", "running");
    cluster.kill_hub();
    driver.child.kill().unwrap();
    assert!(!driver.child.wait().unwrap().success());
    assert_eq!(cluster.start_hub(), 2);
    until("the workers are gone", || (cluster.processes().len() == 2).then_some(()));
    until("the blocks are gone", || cluster.block_files().is_empty().then_some(()));
    cluster.job_is("2", "cancelled");
}

#[test]
fn after_a_rotation_old_files_are_refused_and_new_ones_are_good() {
    if driving() {
        let cx = Context::init().unwrap();
        return assert_eq!(
            cx.range_in(0..1_000, 4).map(|n| (n % 7, 1)).reduce_by_key_in(3, |a, b| a + b).count().unwrap(),
            7
        );
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    // A file as it is on another machine: its sockets are not there.
    let elsewhere = |name: &str| {
        let own = std::fs::read_to_string(cluster.home().join("default/driver.json")).unwrap();
        let mut own: serde_json::Value = serde_json::from_str(&own).unwrap();
        own["sockets"] = "/nowhere".into();
        let path = cluster.home().join(name);
        std::fs::write(&path, own.to_string()).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        path.display().to_string()
    };
    let old = elsewhere("old.json");
    cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &old)]).ends_well();
    let said = cluster.good(&["cluster", "rotate", "--name", "default"]);
    assert!(said.contains("the certificates are new"), "{said}");
    until("another hub has begun, with the engines", || {
        let asked = cluster.try_status()?;
        (asked["epoch"] == 2 && asked["engines"].as_array()?.len() == 2).then_some(())
    });
    let refused = cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &old)]).ends();
    assert!(!refused.status.success());
    assert!(refused.err.contains("certificate"), "{}", refused.err);
    cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &elsewhere("new.json"))]).ends_well();
    cluster.begin(here!(), &[]).ends_well();
}
