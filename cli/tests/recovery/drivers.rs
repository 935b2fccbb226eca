//! Drivers that go away: everything of theirs is removed, unless they reconnect in time.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark, signal, until};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use tryworks::prelude::*;

/// Writes a connection file in the form for another machine: its sockets are not there.
fn elsewhere(cluster: &Cluster, name: &str) -> String {
    let own = std::fs::read_to_string(cluster.home().join("default/driver.json")).unwrap();
    let mut own: serde_json::Value = serde_json::from_str(&own).unwrap();
    own["sockets"] = "/nowhere".into();
    let path = cluster.home().join(name);
    // A process that reads it at this time gets the old one.
    let new = path.with_extension("new");
    std::fs::write(&new, own.to_string()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&new, private).unwrap();
    std::fs::rename(&new, &path).unwrap();
    path.display().to_string()
}

/// Shuffles, holds the blocks, and then waits forever in a task.
fn program() {
    let cx = Context::init().unwrap();
    let pairs = cx.range_in(0..400_000, 4).map(|n| (n % 100_000, n)).shuffle_into(4).reduce_by_key(|a, b| a + b);
    assert_eq!(pairs.count().unwrap(), 100_000);
    eprintln!("SHUFFLED");
    let held = pairs.map(|pair| {
        mark("waiting");
        gate("never");
        pair
    });
    let _ = held.count();
}

/// Regression: the hub waited for such a driver during its grace period. The next program did not know why it got no
/// slots.
#[test]
fn a_driver_that_is_ended_leaves_no_job_no_worker_and_no_block() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[("TRYWORKS_DRIVER_GRACE", "1h")]);
    for (number, end) in ["2", "4", "6"].iter().zip([Signal::KILL, Signal::TERM, Signal::INT]) {
        let mut driver = cluster.begin(here!(), &[]);
        driver.says("SHUFFLED");
        cluster.shared.wait_for("waiting", 2);
        assert!(!cluster.block_files().is_empty());
        let alone = 3;
        assert!(cluster.processes().len() > alone, "hub, engines, driver and workers");
        signal(driver.child.id(), end);
        assert_eq!(driver.child.wait().unwrap().signal(), Some(end.as_raw()));
        until("the workers are gone", || (cluster.processes().len() == alone).then_some(()));
        until("the blocks are gone", || cluster.block_files().is_empty().then_some(()));
        let status = cluster.status();
        assert_eq!((status["drivers"].as_u64(), status["running"].as_array().unwrap().len()), (Some(0), 0));
        cluster.job_is(number, "cancelled");
        cluster.shared.clear();
    }
}

/// A stopped driver sends nothing, and is cut off. It may continue at any time, so its tasks are kept. A program that
/// waits for its slots gets a message.
#[test]
fn a_program_that_waits_for_slots_of_a_lost_driver_sees_a_message() {
    if driving() {
        let cx = Context::init().unwrap();
        if std::env::var_os("TRYWORKS_TEST_SECOND").is_some() {
            return assert_eq!(cx.range_in(0..10, 2).count().unwrap(), 10);
        }
        // More tasks than engines hold in advance.
        let held = cx.range_in(0..50, 50).map(|n| {
            mark("waiting");
            gate("first");
            n
        });
        return assert_eq!(held.count().unwrap(), 50);
    }
    let cluster = Cluster::by_hand(1, 2, &[("TRYWORKS_DRIVER_GRACE", "1h")]);
    let first = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("waiting", 2);
    signal(first.child.id(), Signal::STOP);
    let second = cluster.begin(here!(), &[("TRYWORKS_TEST_SECOND", "1")]);
    let who = format!("process {} on ", first.child.id());
    second.says(&format!("waits for slots: {who}"));
    let why = cluster.good(&["why", "2", "--cluster", "default"]);
    assert!(why.contains("engines are busy") && why.contains(&who) && why.contains(" tasks on engines"), "{why}");
    signal(first.child.id(), Signal::CONT);
    cluster.shared.open("first");
    first.ends_well();
    second.ends_well();
}

/// Hubs are restarted after a crash, and programs do not choose when they start.
#[test]
fn a_driver_that_starts_while_there_is_no_hub_waits_for_it() {
    if driving() {
        let cx = Context::init().unwrap();
        return assert_eq!(cx.range_in(0..10, 2).count().unwrap(), 10);
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    cluster.kill_hub();
    let driver = cluster.begin(here!(), &[]);
    driver.says("cannot be reached");
    assert!(driver.err().contains("trying again for up to 60s"), "{}", driver.err());
    cluster.start_hub();
    driver.ends_well();
    // It does not wait for longer than its limit.
    cluster.kill_hub();
    let done = cluster.begin(here!(), &[("TRYWORKS_PATIENCE", "200ms")]).ends();
    assert!(!done.status.success() && done.err.contains("cannot be reached"), "{}", done.err);
    // Where there is no cluster, it fails at once.
    let done = cluster.begin(here!(), &[("TRYWORKS_CLUSTER", "/nowhere/driver.json")]).ends();
    assert!(!done.status.success() && done.err.contains("/nowhere/driver.json"), "{}", done.err);
    assert!(!done.err.contains("trying again"), "{}", done.err);
}

/// The next hub may get another port than the hub before.
#[test]
fn a_driver_reads_its_connection_file_again_when_the_hub_is_elsewhere() {
    if driving() {
        let cx = Context::init().unwrap();
        let held = cx.range_in(0..2, 2).map(|n| {
            mark("waiting");
            gate("first");
            n
        });
        return assert_eq!(held.count().unwrap(), 2);
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    let path = elsewhere(&cluster, "driver.json");
    let gateway = || {
        let text = std::fs::read_to_string(&path).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["gateway"].as_str().unwrap().to_string()
    };
    let before = gateway();
    let driver = cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &path)]);
    cluster.shared.wait_for("waiting", 2);
    cluster.kill_hub();
    // Another process has the port now.
    let taken = std::net::TcpListener::bind(&before).unwrap();
    cluster.start_hub();
    elsewhere(&cluster, "driver.json");
    assert_ne!(gateway(), before);
    until("the driver is there again", || (cluster.status()["drivers"] == 1).then_some(()));
    cluster.shared.open("first");
    driver.ends_well();
    drop(taken);
}

/// Regression: drivers of a cluster tried to reach its hub at the old ports until their patience ended.
#[test]
fn drivers_find_a_cluster_that_is_started_again_under_the_same_name() {
    if driving() {
        let cx = Context::init().unwrap();
        let held = cx.range_in(0..2, 2).map(|n| {
            mark("waiting");
            gate("never");
            n
        });
        let error = held.count().unwrap_err().to_string();
        assert!(error.contains("was started again and does not know this job"), "{error}");
        return assert_eq!(cx.range_in(0..10, 2).map(|n| (n, n)).group_by_key().count().unwrap(), 10);
    }
    let cluster = Cluster::start(1, 2);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("waiting", 2);
    let record = std::fs::read_to_string(cluster.home().join("default/supervisor.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let supervisor = record["supervisor"]["pid"].as_u64().unwrap() as u32;
    // This happens when the machine is short of memory. No process closes its connections properly.
    let others = cluster.children(supervisor);
    for pid in [vec![supervisor], others].concat() {
        signal(pid, Signal::KILL);
        cluster.wait_for_end(pid);
    }
    cluster.good(&["cluster", "start", "-n", "1", "--slots", "2", "--memory", "1G"]);
    driver.ends_well();
}

#[test]
fn a_driver_that_died_with_its_hub_is_given_up_after_its_grace() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[("TRYWORKS_DRIVER_GRACE", "300ms")]);
    let mut driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("waiting", 1);
    // When it has answered, the job is in the journal.
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
            cx.range_in(0..1_000, 4).map(|n| (n % 7, 1)).shuffle_into(3).reduce_by_key(|a, b| a + b).count().unwrap(),
            7
        );
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let old = elsewhere(&cluster, "old.json");
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
    cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &elsewhere(&cluster, "new.json"))]).ends_well();
    cluster.begin(here!(), &[]).ends_well();
}
