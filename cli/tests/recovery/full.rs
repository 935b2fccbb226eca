//! The disk of the journal and of all logs is full for a while: running jobs continue, and so does the journal.

use crate::here;
use crate::rig::{Cluster, Engine, SmallDisk, driving, until};
use std::fs::{self, File};
use std::io::Write;
use tryworks::prelude::*;

fn program() {
    let cx = Context::init().unwrap();
    let sums = cx.range_in(0..100, 4).map(|n| (n % 7, n)).reduce_by_key(|a, b| a + b);
    assert_eq!(sums.map(|(_, sum)| sum).sum().unwrap(), 4_950);
}

#[test]
fn hub_and_engines_survive_a_full_disk_and_the_journal_continues_when_there_is_space() {
    if driving() {
        return program();
    }
    let Some(disk) = SmallDisk::mount("32m") else { return };
    let elsewhere = tempfile::Builder::new().prefix("tw").tempdir_in("/tmp").unwrap();
    let mut cluster = Cluster::on(&disk);
    let directory = elsewhere.path().join("e");
    cluster.add("engine-1", Engine { slots: 2, directory: Some(&directory), ..Engine::default() });
    cluster.wait_for_engines(1);
    cluster.drive(here!());

    // A file can grow to the end of its last page.
    for name in ["hub", "engine-1"] {
        let mut log = File::options().append(true).open(cluster.log(name)).unwrap();
        let len = log.metadata().unwrap().len();
        log.write_all(&vec![b'\n'; (len.next_multiple_of(4096) - len) as usize]).unwrap();
    }
    let filler = disk.fill();
    // A job needs no disk space there, but nothing about it is recorded. If there were more jobs than reserved numbers,
    // the later ones would be refused.
    cluster.drive(here!());
    let journal = |cluster: &Cluster| cluster.status()["journal"].as_str().map(String::from);
    until("the journal cannot be written", || journal(&cluster).filter(|why| why.contains("full")));
    // The hub wrote the error to its log, which has no space either. It is still running.
    assert!(!fs::read_to_string(cluster.log("hub")).unwrap().contains("cannot be written"));
    cluster.drive(here!());

    fs::remove_file(filler).unwrap();
    until("the journal goes on", || journal(&cluster).is_none().then_some(()));
    cluster.drive(here!());
    let jobs: serde_json::Value = serde_json::from_str(&cluster.good(&["jobs", "-o", "json"])).unwrap();
    let states: Vec<_> = jobs.as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done"; 4], "all jobs are in the journal, those of the bad time too");
    assert_eq!(cluster.status()["epoch"], 1, "it is the same hub");
    for (name, child) in &mut cluster.children {
        assert!(child.try_wait().unwrap().is_none(), "{name} has ended");
    }
    until("the hub's log tells what is missing", || {
        fs::read_to_string(cluster.log("hub")).unwrap().contains("lines are missing here").then_some(())
    });
    drop(cluster);
}
