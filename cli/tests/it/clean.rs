//! `cluster clean`: removes what killed clusters left, and nothing else.

use crate::home::{Bystander, Home, Process, host};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use tryworks_testing::until;

fn write(path: &Path, process: Process) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, process.json().to_string()).unwrap();
}

/// The record of a cluster that this process supervises.
fn record(directory: &Path, supervisor: Process) {
    record_of(directory, supervisor.json());
}

fn record_of(directory: &Path, supervisor: Value) {
    let options = json!({ "engines": 1, "slots": 1, "memory": 1, "listen": "127.0.0.1" });
    let record = json!({ "cluster": "old", "supervisor": supervisor, "started": 0, "options": options });
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("supervisor.json"), record.to_string()).unwrap();
}

#[test]
fn clean_ends_and_removes_what_a_killed_cluster_left() {
    let home = Home::new();
    let old = home.cluster("old");
    let [mut hub, mut worker, mut innocent] = [(); 3].map(|()| Bystander::sleep());
    // A process with the number of the dead supervisor and another start time is a different process.
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
fn clean_leaves_running_and_foreign_clusters_alone() {
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

/// The process of another machine with the same number and start time.
fn elsewhere(process: Process) -> Value {
    let mut identity = process.json();
    (identity["host"]["name"], identity["host"]["boot"]) = ("node-7".into(), "another".into());
    identity
}

/// Refused, with the machine that has it and what to do.
fn refused(home: &Home, arguments: &[&str]) {
    let done = home.run(arguments);
    assert_eq!(done.code, 1, "{arguments:?}: {}{}", done.out, done.err);
    assert!(done.err.contains("of node-7, which is another machine or container"), "{}", done.err);
    assert!(done.err.contains("what to do: do this there; if that process is gone for good, remove"), "{}", done.err);
}

#[test]
fn clean_leaves_clusters_of_other_machines_in_a_shared_home_alone() {
    // Regression: the number of the supervisor had no meaning on this machine. Its cluster was taken for dead, and
    // deleted.
    let home = Home::new();
    let (gone, mut innocent) = (Bystander::sleep().process(), Bystander::sleep());
    let shared = home.cluster("shared");
    record_of(&shared, elsewhere(gone));
    assert_eq!(home.json(&["cluster", "list"])[0]["state"], "elsewhere");
    assert!(home.good(&["cluster", "clean"]).contains("shared: left alone: "));
    refused(&home, &["cluster", "start", "-c", "shared"]);
    refused(&home, &["cluster", "stop", "-c", "shared"]);

    // A dead cluster of this machine, with an engine of the other machine in its directory.
    let mixed = home.cluster("mixed");
    record(&mixed, gone);
    write(&mixed.join("hub.pid"), innocent.process());
    fs::create_dir_all(mixed.join("engines/engine-1")).unwrap();
    fs::write(mixed.join("engines/engine-1/engine.pid"), elsewhere(gone).to_string()).unwrap();
    assert!(home.good(&["cluster", "clean"]).contains("mixed: left alone: "));
    refused(&home, &["cluster", "start", "-c", "mixed"]);
    refused(&home, &["cluster", "stop", "-c", "mixed"]);

    // An engine on that machine that was started by hand, and a hub that was.
    let engine = home.cluster(".engines/far");
    fs::create_dir_all(&engine).unwrap();
    fs::write(engine.join("engine.pid"), elsewhere(gone).to_string()).unwrap();
    assert!(home.good(&["cluster", "clean"]).contains("far: left alone: "));
    fs::DirBuilder::new().mode(0o700).create(home.cluster("alone")).unwrap();
    fs::write(home.cluster("alone").join("hub.pid"), elsewhere(gone).to_string()).unwrap();
    refused(&home, &["hub", "-c", "alone"]);
    assert!(innocent.lives());
    assert!([shared, mixed, engine, home.cluster("alone")].iter().all(|directory| directory.exists()));
}

#[test]
fn a_cluster_from_before_the_machine_was_started_again_is_dead() {
    let home = Home::new();
    let old = home.cluster("old");
    // The number is in use by now, and the start time fits by chance.
    let mut innocent = Bystander::sleep();
    let mut supervisor = innocent.process().json();
    supervisor["host"]["boot"] = "before".into();
    let known = host()["machine"] != "";
    record_of(&old, supervisor);
    let state = if known { "dead" } else { "elsewhere" };
    assert_eq!(home.json(&["cluster", "list"])[0]["state"], state);
    home.good(&["cluster", "clean"]);
    assert!(innocent.lives());
    assert_eq!(old.exists(), !known, "without /etc/machine-id it could be another machine");
}

#[test]
fn a_record_that_cannot_be_read_is_no_reason_to_remove_anything() {
    let home = Home::new();
    let odd = home.cluster("odd");
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("supervisor.json"), "{\"cluster\":\"odd\"}").unwrap();
    assert_eq!(home.json(&["cluster", "list"])[0]["state"], "unreadable");
    assert!(home.good(&["cluster", "clean"]).contains("odd: left alone: "));
    for command in ["start", "stop"] {
        let done = home.run(&["cluster", command, "-c", "odd"]);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(done.err.contains("supervisor.json cannot be read"), "{}", done.err);
    }
    assert!(odd.exists());
}

#[test]
fn a_file_system_without_locks_is_an_error() {
    let home = Home::new();
    let place = tempfile::tempdir().unwrap();
    let library = place.path().join("nolocks.so");
    let source = place.path().join("nolocks.c");
    fs::write(&source, "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }\n").unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    for command in [&["cluster", "start"][..], &["cluster", "clean"]] {
        let done = home.command(command).env("LD_PRELOAD", &library).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot be locked: No locks available"), "{said}");
        assert!(said.contains("set TRYWORKS_HOME to a directory on a disk of this machine"), "{said}");
    }
    assert_eq!(home.entries(), [""; 0]);
    let hub = home.command(&["hub", "-c", "x"]).env("LD_PRELOAD", &library).output().unwrap();
    let said = String::from_utf8(hub.stderr).unwrap();
    assert_eq!(hub.status.code(), Some(1), "{said}");
    assert!(said.contains("locking the journal") && said.contains("No locks available"), "{said}");
}
