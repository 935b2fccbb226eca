//! What users see of jobs after the hub was killed, and after the driver has left.

use crate::here;
use crate::rig::{Cluster, driving, gate, until};
use std::io::Write;
use std::time::Duration;
use tryworks::prelude::*;

fn two_stages() {
    let cx = Context::init().unwrap();
    let sums = cx.range_in(0..100, 4).map(|n| (n % 7, 1)).shuffle_into(3).reduce_by_key(|a, b| a + b);
    let counted = sums.map(|(_, count)| {
        gate("rest");
        count
    });
    assert_eq!(counted.collect().unwrap().into_iter().sum::<i32>(), 100);
}

#[test]
fn times_and_stages_of_running_jobs_continue_after_the_hub_was_killed() {
    if driving() {
        return two_stages();
    }
    let mut cluster = Cluster::by_hand(1, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    let job = |cluster: &Cluster| {
        let jobs = cluster.good(&["jobs", "-o", "json"]);
        serde_json::from_str::<Vec<serde_json::Value>>(&jobs).ok()?.pop()
    };
    let progress = |job: &serde_json::Value, of: &str| job["progress"][of].as_u64().unwrap();
    let before = until("the first stage is done", || {
        let job = job(&cluster)?;
        (progress(&job, "stages_done") == 1 && progress(&job, "partitions_done") == 4).then_some(job)
    });
    let stage = |cluster: &Cluster| cluster.job("1")["stages"][0].clone();
    let known = until("the journal has it", || Some(stage(&cluster)).filter(|stage| !stage["ended"].is_null()));
    for epoch in 2..4 {
        cluster.kill_hub();
        assert_eq!(cluster.start_hub(), epoch);
        // Until the driver and the engine are back, the last state in the journal is shown.
        let done = |job: &serde_json::Value| (progress(job, "stages_done"), progress(job, "partitions_done"));
        let after = until("it runs again", || {
            let job = job(&cluster)?;
            (progress(&job, "running") > 0 && done(&job) == done(&before)).then_some(job)
        });
        assert_eq!(after["submitted"], before["submitted"], "its time goes on");
        for of in ["stages", "partitions"] {
            assert_eq!(progress(&after, of), progress(&before, of), "{of} goes on: {after}");
        }
        let now = stage(&cluster);
        assert_eq!((&now["began"], &now["ended"]), (&known["began"], &known["ended"]), "{now}");
    }
    cluster.shared.open("rest");
    driver.ends_well();
    cluster.job_is("1", "done");
    let done = job(&cluster).unwrap();
    assert_eq!(done["submitted"], before["submitted"]);
    assert_eq!(progress(&done, "partitions_done"), progress(&before, "partitions"));
}

fn talkative() {
    let cx = Context::init().unwrap();
    for number in 1..=2 {
        let talks = cx.range_in(0..2, 1).with(number).map(|number, n| {
            print!("job {number} says");
            std::io::stdout().flush().unwrap();
            // So that the engine reads it in pieces.
            std::thread::sleep(Duration::from_millis(30));
            println!(" something of {n} in one line");
            n
        });
        assert_eq!(talks.count().unwrap(), 2);
    }
}

#[test]
fn output_of_a_job_is_shown_after_its_driver_has_left() {
    if driving() {
        return talkative();
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    cluster.drive(here!());
    until("the driver has gone", || (cluster.status()["drivers"] == 0).then_some(()));
    let engine = cluster.engines()[0].0.clone();
    for number in ["1", "2"] {
        let lines = cluster.good(&["logs", "--job", number]);
        let said = |n: u64| format!("job {number} says something of {n} in one line");
        let shown: Vec<&str> = lines.lines().filter_map(|line| line.split_once(" | ")).map(|(_, line)| line).collect();
        // The harness, which the worker runs too, has printed something before.
        let shown: Vec<&str> = shown.into_iter().filter(|line| line.contains("says")).collect();
        assert_eq!(shown.len(), 2, "{lines}");
        assert!(shown[0].ends_with(&said(0)) && shown[1] == said(1), "{lines}");
        assert!(lines.starts_with(&engine), "{lines}");
        assert_eq!(cluster.good(&["logs", "--job", number, "--engine", &engine]), lines);
    }
    let unknown = cluster.command(&["logs", "--job", "77"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no job `77`"));
    let unknown = cluster.command(&["logs", "--job", "1", "--engine", "x"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no engine `x`"));
}
