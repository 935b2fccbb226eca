//! `cluster clean`: what killed clusters left goes, and nothing else.

use crate::home::{Bystander, Home, Process};
use crate::wait::until;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

fn write(path: &Path, process: Process) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, json!({ "pid": process.pid, "start_time": process.start_time }).to_string()).unwrap();
}

/// The record of a cluster that this process supervises.
fn record(directory: &Path, supervisor: Process) {
    let supervisor = json!({ "pid": supervisor.pid, "start_time": supervisor.start_time });
    let options = json!({ "engines": 1, "slots": 1, "memory": 1, "listen": "127.0.0.1" });
    let record = json!({ "cluster": "old", "supervisor": supervisor, "started": 0, "options": options });
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("supervisor.json"), record.to_string()).unwrap();
}

#[test]
fn what_a_killed_cluster_left_is_ended_and_removed() {
    let home = Home::new();
    let old = home.cluster("old");
    let [mut hub, mut worker, mut innocent] = [(); 3].map(|()| Bystander::sleep());
    // A process with the number of the dead supervisor, but another start time, is somebody else.
    let recycled = Process { start_time: innocent.process().start_time + 1, ..innocent.process() };
    record(&old, recycled);
    write(&old.join("hub.pid"), hub.process());
    write(&old.join("engines/engine-1/workers/3.pid"), worker.process());
    write(&old.join("engines/engine-1/engine.pid"), recycled);
    fs::write(old.join("engines/half.pid"), "{\"pid\":").unwrap();
    assert_eq!(home.json(&["cluster", "list"])[0]["state"], "dead");

    let said = home.good(&["cluster", "clean"]);
    assert!(said.contains("2 processes ended"), "{said}");
    assert!(!old.exists());
    assert_eq!([hub.end(), worker.end()], ["signal: 15 (SIGTERM)"; 2]);
    assert!(innocent.lives(), "the innocent process was ended");
}

#[test]
fn a_process_that_does_not_listen_is_killed() {
    let home = Home::new();
    let old = home.cluster("old");
    let gone = Bystander::sleep().process();
    record(&old, gone);
    let ready = home.cluster("ready");
    let script = "trap '' TERM; echo > $0; exec sleep 1000";
    let mut deaf = Bystander(Command::new("sh").args(["-c", script]).arg(&ready).spawn().unwrap());
    until("it is deaf", || ready.exists().then_some(()));
    write(&old.join("hub.pid"), deaf.process());
    // `stop` does the same for a cluster whose supervisor is gone.
    home.good(&["cluster", "stop", "--name", "old"]);
    assert_eq!(deaf.end(), "signal: 9 (SIGKILL)");
    assert!(!old.exists());
}

#[test]
fn what_runs_or_was_not_started_here_is_left_alone() {
    let home = Home::new();
    let [mut supervisor, mut hub] = [(); 2].map(|()| Bystander::sleep());
    record(&home.cluster("busy"), supervisor.process());
    write(&home.cluster("busy").join("hub.pid"), hub.process());
    write(&home.cluster("alone").join("hub.pid"), hub.process());
    let said = home.good(&["cluster", "clean"]);
    assert!(said.contains("busy: runs") && said.contains("alone: not made"), "{said}");
    assert!(home.cluster("busy").exists() && home.cluster("alone").exists());
    assert!(supervisor.lives() && hub.lives());
    drop((supervisor, hub));
    assert!(home.good(&["cluster", "clean"]).contains("busy: its supervisor"));
    assert_eq!(home.entries(), ["alone"]);
}
