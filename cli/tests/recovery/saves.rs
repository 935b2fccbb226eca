//! A save that is interrupted by a kill: what remains never looks complete, and the next save works or says what to
//! remove.

use crate::here;
use crate::rig::{Cluster, driving, gate, mark, path, signal, until};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use tryworks::prelude::*;

/// Saves 100 numbers in 4 parts, of which all but the first wait for a gate.
fn program() {
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..100, 4).map_partitions(|items| {
        let items: Vec<u64> = items.collect();
        if items[0] > 0 {
            mark("running");
            gate("save");
        }
        items
    });
    match std::env::var("TRYWORKS_TEST_WORK").unwrap().as_str() {
        "save" => rows.save_as_text_file(path("out")).unwrap(),
        "told" => {
            println!("TOLD {}", rows.save_as_text_file(path("out")).unwrap_err());
            println!("TOLD {}", rows.to_driver().save_as_text_file(path("out")).unwrap_err());
            println!("READ {}", cx.text_file(path("out")).count().unwrap_err());
        }
        _ => assert_eq!(cx.text_file(path("out")).try_map(|line| Ok(line.parse::<u64>()?)).sum().unwrap(), 4_950),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const WHOLE: [&str; 5] = ["_SUCCESS", "part-00000", "part-00001", "part-00002", "part-00003"];

fn work(what: &str) -> [(&str, &str); 1] {
    [("TRYWORKS_TEST_WORK", what)]
}

#[test]
fn an_unfinished_save_of_a_killed_driver_does_not_look_complete() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let out = cluster.shared.0.join("out");
    let first = cluster.begin(here!(), &work("save"));
    until("a part is saved", || out.join("part-00000").exists().then_some(()));
    cluster.shared.wait_for("running", 1);
    signal(first.child.id(), Signal::KILL);
    first.ends();
    cluster.shared.open("save");
    let told = cluster.begin(here!(), &work("told")).ends_well();
    let said = format!(
        "TOLD preparing to save failed at {}: a job that ended before it was done has left its files in this directory; \
         remove it",
        out.display()
    );
    assert_eq!(told.out.matches(&said).count(), 2, "{}", told.out);
    assert!(told.out.contains("READ `text_file` cannot read") && told.out.contains("is not whole"), "{}", told.out);
    assert!(!out.join("_SUCCESS").exists());
    // No task that still runs may write into the directory of the next job.
    fs::remove_dir_all(&out).unwrap();
    cluster.begin(here!(), &work("save")).ends_well();
    assert_eq!(names(&out), WHOLE);
    cluster.begin(here!(), &work("read")).ends_well();
    cluster.is_clean();
}

#[test]
fn a_save_is_complete_although_an_engine_is_killed() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let saving = cluster.begin(here!(), &work("save"));
    cluster.shared.wait_for("running", 2);
    signal(cluster.engine("engine-1"), Signal::KILL);
    cluster.wait_for_engines(1);
    cluster.shared.open("save");
    saving.ends_well();
    assert_eq!(names(&cluster.shared.0.join("out")), WHOLE);
    cluster.begin(here!(), &work("read")).ends_well();
}

#[test]
fn a_save_is_complete_although_the_hub_is_killed() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let saving = cluster.begin(here!(), &work("save"));
    cluster.shared.wait_for("running", 2);
    cluster.kill_hub();
    assert_eq!(cluster.start_hub(), 2, "another hub has begun");
    cluster.shared.open("save");
    saving.ends_well();
    assert_eq!(names(&cluster.shared.0.join("out")), WHOLE);
    cluster.begin(here!(), &work("read")).ends_well();
}
