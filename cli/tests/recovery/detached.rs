//! Jobs that continue without their drivers, and drivers that collect the results.

use crate::here;
use crate::rig::{Cluster, Driver, driving, gate, mark, until};
use serde::{Deserialize, Serialize};
use tryworks::prelude::*;

/// The variable that says what a driver does.
const ROLE: &str = "TRYWORKS_TEST_PART";

const PARTS: u64 = 8;

/// Counts under the name `night`; the second half of the partitions waits at a gate.
fn program() {
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..PARTS * 100, PARTS as u32).map(|n| {
        if n >= PARTS * 50 && n.is_multiple_of(100) {
            gate("night");
        }
        if n % 100 == 99 {
            mark("part");
        }
        (n % 5, n)
    });
    let groups = rows.shuffle_into(3).reduce_by_key(|a, b| a.max(b));
    let background = groups.background();
    match std::env::var(ROLE).unwrap().as_str() {
        "submit" => {
            let job = background.detached("night").count().unwrap();
            eprintln!("SUBMITTED {}", job.id());
            std::thread::park();
        }
        "collect" => {
            let job = background.detached("night").count().unwrap();
            eprintln!("ATTACHED {}", job.id());
            assert_eq!(job.wait().unwrap(), 5);
        }
        "drop" => drop(background.detached("night").count().unwrap()),
        "attach" => {
            let number = std::env::var("TRYWORKS_TEST_NUMBER").unwrap().parse().unwrap();
            assert_eq!(background.attach(number).count().unwrap().wait().unwrap(), 5);
        }
        "unsigned" => {
            drop(cx.range_in(0..1_000, 4).background().detached("typed").sum().unwrap());
            drop(cx.range_in(0..1_000, 4).background().detached("taken").take(5).unwrap());
            #[derive(Serialize, Deserialize)]
            struct Price {
                net: u64,
                gross: u64,
            }
            let prices = cx.range_in(0..10, 4).map(|n| Price { net: n, gross: 2 * n });
            drop(prices.background().detached("prices").collect().unwrap());
        }
        "signed" => {
            let signed = cx.range_in(0..1_000, 4).map(|n| n as i64);
            let error = signed.background().detached("typed").sum().err().unwrap().to_string();
            assert!(error.contains("its type of results is `u64`, and `i128` is asked for"), "{error}");
            let error = cx.range_in(0..1_000, 5).background().detached("typed").sum().err().unwrap().to_string();
            assert!(error.contains("its number of partitions is `4`, and `5` is asked for"), "{error}");
            let error = cx.range_in(0..1_000, 4).background().detached("taken").take(6).err().unwrap().to_string();
            assert!(error.contains("its number of items is `5`, and `6` is asked for"), "{error}");
            // The fields have changed places.
            #[derive(Debug, Serialize, Deserialize)]
            struct Price {
                gross: u64,
                net: u64,
            }
            let prices = cx.range_in(0..10, 4).map(|n| Price { gross: 2 * n, net: n });
            let error = prices.background().detached("prices").collect().err().unwrap().to_string();
            assert!(error.contains("Price>`, with other fields or options than are asked for"), "{error}");
        }
        "other" => {
            let error = background.detached("night").collect().err().unwrap().to_string();
            assert!(error.contains("the detached job `night` (job "), "{error}");
            assert!(error.contains("it is `count`, and `collect` is asked for"), "{error}");
            let error = groups.background().attach(4_711).count().err().unwrap().to_string();
            assert!(error.contains("there is no detached job with the number 4711"), "{error}");
        }
        other => panic!("there is no part {other}"),
    }
}

fn begin(cluster: &Cluster, test: &str, part: &str) -> Driver {
    cluster.begin(test, &[(ROLE, part)])
}

/// Starts the job, waits until half of it is done, and kills its driver.
fn submit_and_kill(cluster: &Cluster, test: &str) {
    let mut driver = begin(cluster, test, "submit");
    driver.says("SUBMITTED");
    cluster.shared.wait_for("part", PARTS as usize / 2 - 1);
    driver.child.kill().unwrap();
    assert!(!driver.child.wait().unwrap().success());
}

#[test]
fn another_run_of_a_killed_driver_gets_the_result() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 2, &[("TRYWORKS_DRIVER_GRACE", "100ms")]);
    submit_and_kill(&cluster, here!());
    cluster.shared.open("night");
    cluster.job_is("night", "done");
    assert_eq!(cluster.shared.marks("part"), PARTS as usize);
    begin(&cluster, here!(), "other").ends_well();
    begin(&cluster, here!(), "collect").ends_well();
    assert_eq!(cluster.shared.marks("part"), PARTS as usize, "nothing ran for the second driver");
    // The name is free now.
    begin(&cluster, here!(), "collect").ends_well();
    assert_eq!(cluster.shared.marks("part"), 2 * PARTS as usize);
}

/// Regression: the bytes of an unsigned sum were read as those of a signed one, which is another number.
#[test]
fn a_program_whose_types_have_changed_does_not_get_the_result() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    begin(&cluster, here!(), "unsigned").ends_well();
    begin(&cluster, here!(), "signed").ends_well();
    cluster.is_clean();
}

#[test]
fn two_drivers_at_once_get_the_same_job_by_its_name_and_its_number() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    begin(&cluster, here!(), "drop").ends_well();
    let number = cluster.job("night")["job"]["job"].to_string();
    let by_name = begin(&cluster, here!(), "collect");
    by_name.says(&format!("ATTACHED {number}"));
    let by_number = cluster.begin(here!(), &[(ROLE, "attach"), ("TRYWORKS_TEST_NUMBER", &number)]);
    until("all are there", || (cluster.status()["drivers"] == 2).then_some(()));
    cluster.shared.open("night");
    by_name.ends_well();
    by_number.ends_well();
    assert_eq!(cluster.shared.marks("part"), PARTS as usize);
}

#[test]
fn a_detached_job_continues_after_the_hub_is_killed_and_its_result_survives_the_next_kill() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 4, &[("TRYWORKS_DRIVER_GRACE", "100ms")]);
    submit_and_kill(&cluster, here!());
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 2);
    cluster.shared.open("night");
    cluster.job_is("night", "done");
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 3);
    cluster.wait_for_engines(2);
    let before = cluster.shared.marks("part");
    begin(&cluster, here!(), "collect").ends_well();
    assert_eq!(cluster.shared.marks("part"), before, "it was not begun again");
}

#[test]
fn a_driver_that_waits_for_a_detached_job_gets_it_from_the_next_hub() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 4, &[]);
    let driver = begin(&cluster, here!(), "collect");
    driver.says("ATTACHED");
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 2);
    cluster.shared.open("night");
    driver.ends_well();
}
