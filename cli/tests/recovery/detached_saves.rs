//! Detached saves: however many drivers ask for one, one job writes the directory, and it is complete when they get
//! their answer.

use crate::here;
use crate::rig::{Cluster, Driver, driving, gate, mark, signal};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use tryworks::prelude::*;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Saves a hundred numbers under the name `night`; all partitions but the first wait at a gate.
fn program() {
    let cx = Context::init().unwrap();
    let (first, out) =
        (variable("TRYWORKS_TEST_FIRST").parse::<u64>().unwrap(), PathBuf::from(variable("TRYWORKS_TEST_OUT")));
    let rows = |parts| {
        cx.range_in(first..first + 100, parts).map_partitions(|items| {
            let items: Vec<u64> = items.collect();
            mark("running");
            if !items[0].is_multiple_of(100) {
                gate("save");
            }
            items
        })
    };
    let background = |parts| rows(parts).background().detached("night").save_as_text_file(&out);
    match variable("TRYWORKS_TEST_WORK").as_str() {
        "dies" => {
            let _job = background(4).unwrap();
            mark("submitted");
            gate("never");
        }
        "waits" => {
            let job = background(4).unwrap();
            mark("begun");
            job.wait().unwrap();
        }
        "fewer" => background(2).unwrap().wait().unwrap(),
        "told" => println!("TOLD {}", background(4).err().unwrap()),
        "by number" => {
            let number = variable("TRYWORKS_TEST_NUMBER").parse().unwrap();
            let told = rows(4).background().attach(number).count().err().unwrap();
            println!("TOLD {told}");
            rows(4).background().attach(number).save_as_text_file(&out).unwrap().wait().unwrap();
        }
        "others" => {
            println!("TOLD {}", background(20).err().unwrap());
            println!("TOLD {}", background(2).err().unwrap());
            let other = out.with_file_name("other");
            println!("TOLD {}", rows(4).background().detached("night").save_as_text_file(&other).err().unwrap());
            assert!(!other.exists(), "nothing was begun there");
            println!("TOLD {}", rows(4).background().detached("night").sum().err().unwrap());
            println!("TOLD {}", rows(4).save_as_text_file(&out).err().unwrap());
        }
        other => panic!("there is no part {other}"),
    }
}

fn begin(cluster: &Cluster, test: &str, work: &str, first: u64, out: &Path) -> Driver {
    let number = cluster.try_status().map(|_| cluster.good(&["jobs", "--cluster", "default", "-o", "json"]));
    let jobs: serde_json::Value = number.map(|jobs| serde_json::from_str(&jobs).unwrap()).unwrap_or_default();
    let number = jobs[0]["job"].to_string();
    let environment = [
        ("TRYWORKS_TEST_WORK", work),
        ("TRYWORKS_TEST_FIRST", &first.to_string()),
        ("TRYWORKS_TEST_OUT", &out.display().to_string()),
        ("TRYWORKS_TEST_NUMBER", &number),
    ];
    cluster.begin(test, &environment)
}

/// Begins the job, and kills its driver while two tasks run. By then the first part may be there.
fn submit_and_kill(cluster: &Cluster, test: &str, out: &Path) {
    let first = begin(cluster, test, "dies", 0, out);
    cluster.shared.wait_for("submitted", 1);
    cluster.shared.wait_for("running", 3);
    signal(first.child.id(), Signal::KILL);
    first.ends();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The lines that were saved, in the order of the parts. No other file may be there.
fn lines(dir: &Path) -> Vec<u64> {
    let names = names(dir);
    assert_eq!(names[0], "_SUCCESS", "{names:?}");
    assert!(names[1..].iter().all(|name| name.starts_with("part-")), "{names:?}");
    let texts = names[1..].iter().map(|name| fs::read_to_string(dir.join(name)).unwrap());
    texts.collect::<String>().lines().map(|line| line.parse().unwrap()).collect()
}

/// All but one driver got the error that another process had removed or taken the directory.
#[test]
fn drivers_that_begin_one_detached_save_at_once_share_its_job_and_all_succeed() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let out = cluster.shared.0.join("out");
    let test = here!();
    let drivers: Vec<_> = (0..4).map(|_| begin(&cluster, test, "waits", 0, &out)).collect();
    cluster.shared.wait_for("begun", 4);
    cluster.shared.open("save");
    drivers.into_iter().for_each(|driver| drop(driver.ends_well()));
    assert_eq!(lines(&out), (0..100).collect::<Vec<_>>());
    assert_eq!(cluster.shared.marks("running"), 4, "nothing ran twice");
    cluster.is_clean();
}

/// A driver that collected with more partitions got an error that named a bug, and removed what was saved.
#[test]
fn asking_for_another_save_under_a_name_is_refused_with_the_difference_and_loses_nothing() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let out = cluster.shared.0.join("out");
    submit_and_kill(&cluster, here!(), &out);
    cluster.shared.open("save");
    cluster.job_is("night", "done");
    let before = names(&out);
    for turn in 0..2 {
        let told = begin(&cluster, here!(), "others", 0, &out).ends_well().out;
        let other = out.with_file_name("other");
        let expected = [
            "its number of partitions is `4`, and `20` is asked for".to_string(),
            "its number of partitions is `4`, and `2` is asked for".into(),
            format!("its place is `directory {}`, and `directory {}` is asked for", out.display(), other.display()),
            "it is `save`, and `sum` is asked for".into(),
            "the detached job `night` saves to this directory".into(),
        ];
        for text in expected {
            assert!(told.contains(&text), "{text}: {told}");
        }
        assert_eq!(told.matches("`tryworks cancel night` drops its results and frees the name").count(), 4, "{told}");
        assert_eq!(names(&out), before);
        if turn == 0 {
            // The next hub knows what the job was from the journal alone.
            cluster.kill_hub();
            assert_eq!(cluster.start_hub(), 2);
            cluster.wait_for_engines(2);
        }
    }
    let told = begin(&cluster, here!(), "by number", 0, &out).ends_well().out;
    assert!(told.contains("it is `save`, and `count` is asked for"), "{told}");
    assert_eq!(lines(&out), (0..100).collect::<Vec<_>>());
}

/// The directory had old and new rows.
#[test]
fn a_detached_save_does_not_continue_in_the_directory_of_a_stopped_cluster() {
    if driving() {
        return program();
    }
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let cluster = Cluster::by_hand(2, 1, &[]);
    submit_and_kill(&cluster, here!(), &out);
    let before = names(&out);
    assert!(before.contains(&"part-00000".to_string()), "{before:?}");
    drop(cluster);
    let cluster = Cluster::by_hand(2, 1, &[]);
    cluster.shared.open("save");
    let told = begin(&cluster, here!(), "told", 1_000, &out).ends_well().out;
    let expected = format!(
        "TOLD preparing to save failed at {}: the detached job `night` saves to this directory, or was of a cluster that \
         is gone and has left its files here; save to another one, or remove it if no cluster has that job any more",
        out.display()
    );
    assert!(told.contains(&expected), "{told}");
    assert_eq!(names(&out), before);
    fs::remove_dir_all(&out).unwrap();
    begin(&cluster, here!(), "waits", 1_000, &out).ends_well();
    assert_eq!(lines(&out), (1_000..1_100).collect::<Vec<_>>());
}

/// The hub knows no job. The four parts of the earlier job are removed.
#[test]
fn a_detached_save_clears_its_directory_if_the_hub_has_no_job_of_its_name() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let out = cluster.shared.0.join("out");
    submit_and_kill(&cluster, here!(), &out);
    assert!(names(&out).contains(&"part-00000".to_string()));
    cluster.kill_hub();
    for entry in fs::read_dir(cluster.home().join("default")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal.sqlite") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(cluster.start_hub(), 1, "it knows of no hub before it");
    cluster.wait_for_engines(2);
    cluster.shared.open("save");
    begin(&cluster, here!(), "fewer", 1_000, &out).ends_well();
    assert_eq!(lines(&out), (1_000..1_100).collect::<Vec<_>>());
    assert_eq!(names(&out).len(), 3);
    // After a second cancellation the job is forgotten, although no driver has collected it.
    fs::remove_dir_all(&out).unwrap();
    cluster.shared.clear();
    submit_and_kill(&cluster, here!(), &out);
    for said in ["is being cancelled", "the name `night` is free"] {
        crate::rig::until(said, || {
            let done = cluster.command(&["cancel", "night", "--cluster", "default"]).output().unwrap();
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).contains(said).then_some(())
        });
    }
    cluster.shared.open("save");
    begin(&cluster, here!(), "fewer", 1_000, &out).ends_well();
    assert_eq!(lines(&out), (1_000..1_100).collect::<Vec<_>>());
}

/// The save was begun again and failed, because its directory was complete. The driver's error named files that were
/// not there.
#[test]
fn a_driver_that_was_away_while_another_collected_its_save_succeeds() {
    if driving() {
        return program();
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    let out = cluster.shared.0.join("out");
    let test = here!();
    let drivers = [(); 2].map(|()| begin(&cluster, test, "waits", 0, &out));
    cluster.shared.wait_for("begun", 2);
    cluster.shared.wait_for("running", 3);
    let [away, other] = drivers;
    cluster.kill_hub();
    signal(away.child.id(), Signal::STOP);
    assert_eq!(cluster.start_hub(), 2);
    cluster.shared.open("save");
    other.ends_well();
    assert_eq!(lines(&out), (0..100).collect::<Vec<_>>());
    signal(away.child.id(), Signal::CONT);
    away.ends_well();
    assert_eq!(lines(&out), (0..100).collect::<Vec<_>>());
}
