//! Which job saves where: a directory belongs to one job, whichever drivers ask for it. That of a detached job stays
//! its own.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark, path, signal};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use tryworks::prelude::*;

fn role() -> String {
    std::env::var("TRYWORKS_TEST_WORK").unwrap()
}

/// The lines that were saved, in the order of the parts.
fn lines(dir: &Path) -> Vec<u64> {
    let mut parts: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    assert_eq!(parts.remove(0).file_name().unwrap(), "_SUCCESS");
    let texts = parts.into_iter().map(|part| fs::read_to_string(part).unwrap());
    texts.collect::<String>().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_second_of_two_drivers_that_save_into_one_directory_gets_an_error() {
    if driving() {
        let cx = Context::init().unwrap();
        match role().as_str() {
            "first" => {
                let rows = cx.range_in(0..100, 4).map_partitions(|items| {
                    mark("running");
                    gate("save");
                    items
                });
                rows.save_as_text_file(path("out")).unwrap();
            }
            _ => {
                let rows = cx.range_in(500..600, 4);
                println!("TOLD {}", rows.save_as_text_file(path("out")).unwrap_err());
                println!("TOLD {}", rows.to_driver().save_as_text_file(path("out")).unwrap_err());
            }
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let first = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "first")]);
    cluster.shared.wait_for("running", 1);
    let second = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "second")]).ends_well();
    let out = cluster.shared.0.join("out");
    let told = format!("TOLD preparing to save failed at {}: another job is saving", out.display());
    assert_eq!(second.out.matches(&told).count(), 2, "{}", second.out);
    cluster.shared.open("save");
    first.ends_well();
    assert_eq!(lines(&out), (0..100).collect::<Vec<_>>());
    cluster.is_clean();
}

#[test]
fn a_detached_save_keeps_its_directory_when_its_driver_dies() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..100, 4).map_partitions(|items| {
            mark("running");
            gate("save");
            items
        });
        let save = || rows.background().detached("night").save_as_text_file(path("out"));
        match role().as_str() {
            "dies" => {
                let _job = save().unwrap();
                mark("submitted");
                gate("never");
            }
            "other" => println!("TOLD {}", cx.range_in(0..10, 2).save_as_text_file(path("out")).unwrap_err()),
            _ => save().unwrap().wait().unwrap(),
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let first = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "dies")]);
    cluster.shared.wait_for("submitted", 1);
    cluster.shared.wait_for("running", 2);
    signal(first.child.id(), Signal::KILL);
    first.ends();
    let other = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "other")]).ends_well();
    assert!(other.out.contains("the detached job `night` saves to this directory"), "{}", other.out);
    cluster.shared.open("save");
    cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "waits")]).ends_well();
    assert_eq!(lines(&cluster.shared.0.join("out")), (0..100).collect::<Vec<_>>());
    assert_eq!(cluster.shared.marks("running"), 4, "nothing ran twice");
    cluster.is_clean();
}
