//! Clusters of real processes: they start, heal, stop, and leave nothing behind.

use crate::home::{Bystander, Home, Process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::process::Stdio;
use tryworks_testing::until;

pub fn start(home: &Home, more: &[&str]) -> String {
    home.good(&[&["cluster", "start", "-n", "2", "--memory", "64M"], more].concat())
}

/// The hub and the engines, by their pid files.
pub fn members(home: &Home, name: &str) -> [Process; 3] {
    ["hub.pid", "engines/engine-1/engine.pid", "engines/engine-2/engine.pid"]
        .map(|file| Process::in_file(&home.cluster(name).join(file)).unwrap())
}

pub fn supervisor(home: &Home) -> Process {
    Process::of(&home.json(&["cluster", "list"])[0]["supervisor"])
}

/// Waits until the present hub knows both engines, neither of which is `not`.
pub fn whole(home: &Home, not: Process) -> serde_json::Value {
    until("the hub knows both engines", || {
        let done = home.run(&["cluster", "status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&done.out).ok()?;
        let engines = status["engines"].as_array()?;
        let old = |engine: &serde_json::Value| engine["host"]["pid"] == not.pid;
        (engines.len() == 2 && !engines.iter().any(old)).then(|| status.clone())
    })
}

/// Regression: `stop` waited until all blocks of its engines were off the disk. With millions of blocks it gave up
/// after a minute.
#[test]
fn a_stop_does_not_wait_until_all_is_off_the_disk() {
    let home = Home::new();
    start(&home, &[]);
    let [hub, one, two] = members(&home, "default");
    let processes = [hub, one, two, supervisor(&home)];
    // While a process holds this lock, no other process removes what is in the directory.
    let busy = File::open(home.cluster("default")).unwrap();
    busy.lock().unwrap();
    let said = home.good(&["cluster", "stop"]);
    assert!(said.contains("is stopped; what its engines held is being removed from"), "{said}");
    assert!(!processes.iter().any(|process| process.lives()), "{processes:?}");
    let left = || fs::read_dir(home.cluster(".removed")).unwrap().map(|entry| entry.unwrap().path());
    let [old] = &left().collect::<Vec<_>>()[..] else { panic!("one cluster was stopped") };
    assert!(old.join("journal.sqlite").exists());
    // Its name is free. The process that held the lock dies, and the next start continues.
    start(&home, &[]);
    assert!(old.exists());
    drop(busy);
    start(&home, &["-c", "next"]);
    until("the next start goes on", || (!old.exists()).then_some(()));
    home.good(&["cluster", "stop"]);
    home.good(&["cluster", "stop", "-c", "next"]);
    assert_eq!(home.entries(), [""; 0]);
    // `clean` waits for what another process removes, and does not block other commands.
    let gone = home.cluster(".removed/gone-1");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&gone).unwrap();
    let busy = File::open(&gone).unwrap();
    busy.lock().unwrap();
    let clean = home.command(&["cluster", "clean"]).stdout(Stdio::piped()).spawn().unwrap();
    let opened = || fs::read_dir(format!("/proc/{}/fd", clean.id())).unwrap().flatten();
    let waits = || opened().any(|entry| fs::read_link(entry.path()).is_ok_and(|file| file == gone));
    until("it waits", || waits().then_some(()));
    let mut begun = home.command(&["cluster", "start", "-n", "1"]).stdout(Stdio::null()).spawn().unwrap();
    assert!(until("a cluster starts", || begun.try_wait().unwrap()).success());
    home.good(&["cluster", "stop"]);
    drop(busy);
    let said = String::from_utf8(clean.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("gone-1: what a cluster left is removed"), "{said}");
    assert!(!home.cluster(".removed").exists());
    assert_eq!(home.good(&["cluster", "clean"]), "there is nothing to clean\n");
}

#[test]
fn a_cluster_starts_is_shown_and_leaves_nothing() {
    let home = Home::new();
    let said = start(&home, &["--slots", "3"]);
    assert!(said.starts_with("cluster `default` runs: 2 engines, 3 slots and 64.0 MiB each\n"), "{said}");
    assert!(said.contains("driver.json") && said.lines().count() <= 5, "{said}");

    let status = home.json(&["cluster", "status"]);
    let told = |engine: &serde_json::Value| (engine["slots"].as_u64(), engine["memory"].as_u64());
    let engines: Vec<_> = status["engines"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(engines, [(Some(3), Some(64 << 20)); 2]);
    let [hub, one, two] = members(&home, "default");
    assert_eq!(status["pid"], hub.pid);
    let table = home.good(&["cluster", "status"]);
    assert!(table.contains("engine-1") && table.contains("no job runs"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(home.good(&["cluster", "list"]).contains("default  running"));
    assert_eq!(home.good(&["jobs"]), "there is no job yet\n");
    let unknown = home.run(&["job", "12345"]);
    assert_eq!(unknown.code, 1, "{}", unknown.err);

    let processes = [hub, one, two, supervisor(&home)];
    assert!(processes.iter().all(|process| process.lives()));
    home.good(&["cluster", "stop"]);
    assert!(!processes.iter().any(|process| process.lives()), "{processes:?}");
    assert_eq!(home.entries(), [""; 0]);
    assert_eq!(home.run(&["cluster", "status"]).code, 3);
}

#[test]
fn an_engine_that_is_killed_is_started_again() {
    let home = Home::new();
    start(&home, &[]);
    let [hub, one, two] = members(&home, "default");
    one.kill();
    whole(&home, one);
    let [same_hub, new, same] = members(&home, "default");
    assert!(same_hub == hub && same == two && new != one && new.lives());
    let log = fs::read_to_string(home.cluster("default").join("logs/supervisor.log")).unwrap();
    assert!(log.contains("engine-1 died (signal: 9 (SIGKILL)); it is started again in 100 ms"), "{log}");
    home.good(&["cluster", "stop"]);
    assert!(![hub, new, same].iter().any(|process| process.lives()));
}

#[test]
fn a_hub_that_is_killed_is_started_again_and_finds_its_engines() {
    let home = Home::new();
    start(&home, &[]);
    let [hub, one, two] = members(&home, "default");
    let gateway = || -> serde_json::Value {
        let text = fs::read_to_string(home.cluster("default").join("driver.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["gateway"].clone()
    };
    let known = gateway();
    hub.kill();
    let status = whole(&home, hub);
    assert_eq!(gateway(), known, "other machines would not find it");
    let [new, same_one, same_two] = members(&home, "default");
    assert!(new != hub && same_one == one && same_two == two);
    assert_eq!(status["pid"], new.pid);
    home.good(&["cluster", "stop"]);
    assert_eq!(home.entries(), [""; 0]);
}

#[test]
fn a_cluster_in_the_foreground_ends_at_a_signal() {
    let home = Home::new();
    let arguments = ["cluster", "start", "-n", "1", "--foreground", "--name", "front"];
    let mut child = home.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(first.starts_with("cluster `front` runs: 1 engine,"), "{first}");
    let hub = Process::in_file(&home.cluster("front").join("hub.pid")).unwrap();
    let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!hub.lives());
    assert_eq!(home.entries(), [""; 0]);
}

#[test]
fn a_second_cluster_of_the_same_name_is_refused() {
    let home = Home::new();
    let arguments = ["cluster", "start", "-n", "1", "--name", "twin"];
    let mut both: Vec<_> =
        (0..2).map(|_| home.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()).collect();
    let mut codes: Vec<_> = both.iter_mut().map(|child| child.wait().unwrap().code()).collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(1)], "one of two at once gets the name");
    let second = home.run(&arguments);
    assert_eq!(second.code, 1);
    assert!(second.err.starts_with("error: a cluster `twin` runs already"), "{}", second.err);
    start(&home, &["--name", "other"]);
    assert_eq!(home.json(&["cluster", "list"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_failed_start_gives_the_reason_and_leaves_nothing() {
    let home = Home::new();
    // An address reserved for documentation: no machine has it.
    let failed = home.run(&["cluster", "start", "-n", "2", "--listen", "192.0.2.1"]);
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(
        failed.err.starts_with("error: hub died while the cluster was starting (exit status: 1)"),
        "{}",
        failed.err
    );
    assert!(failed.err.contains("assign requested address"), "the end of the log is shown: {}", failed.err);
    assert_eq!(home.entries(), [""; 0]);
    start(&home, &[]);
}

#[test]
fn a_supervisor_that_is_killed_leaves_what_the_next_start_removes() {
    let home = Home::new();
    start(&home, &[]);
    let old = members(&home, "default");
    supervisor(&home).kill();
    assert_eq!(home.json(&["cluster", "list"])[0]["state"], "dead");
    start(&home, &[]);
    assert!(!old.iter().any(|process| process.lives()));
    assert!(members(&home, "default").iter().all(|process| process.lives()));

    supervisor(&home).kill();
    let old = members(&home, "default");
    assert!(home.good(&["cluster", "clean"]).contains("3 processes ended"));
    assert!(!old.iter().any(|process| process.lives()));
    assert_eq!(home.entries(), [""; 0]);
}

#[test]
fn an_engine_that_is_drained_goes_and_stays_away() {
    let home = Home::new();
    start(&home, &[]);
    let unknown = home.run(&["cluster", "drain", "nobody"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.starts_with("error: there is no engine `nobody`"), "{}", unknown.err);
    home.good(&["cluster", "drain", "engine-1"]);
    until("the supervisor has seen it go", || {
        let log = fs::read_to_string(home.cluster("default").join("logs/supervisor.log")).unwrap();
        log.contains("engine-1 ended as it was asked to").then_some(())
    });
    let status = home.json(&["cluster", "status"]);
    let names: Vec<_> = status["engines"].as_array().unwrap().iter().map(|engine| &engine["name"]).collect();
    assert_eq!(names, ["engine-2"]);
}

/// A copy of a connection file for a machine that does not have the hub's directory.
pub fn carried(home: &Home, cluster: &str, name: &str) -> String {
    let text = fs::read_to_string(home.cluster(cluster).join(name)).unwrap();
    let mut connection: serde_json::Value = serde_json::from_str(&text).unwrap();
    connection["sockets"] = "/not/on/this/machine".into();
    let path = home.cluster(&format!("copy-{name}"));
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(connection.to_string().as_bytes()).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn connection_files_reach_a_cluster_from_other_machines() {
    let home = Home::new();
    start(&home, &[]);
    let [driver, engine] = ["driver.json", "engine.json"].map(|name| carried(&home, "default", name));
    let arguments = ["engine", "--connect", &engine, "--name", "guest", "--slots", "5"];
    let mut guest = Bystander(home.command(&arguments).stderr(Stdio::null()).spawn().unwrap());
    let engines = || home.json(&["cluster", "status", "--cluster", &driver])["engines"].as_array().unwrap().clone();
    until("the guest has come", || engines().iter().any(|engine| engine["name"] == "guest").then_some(()));
    assert!(engines().iter().any(|engine| engine["slots"] == 5 && engine["name"] == "guest"));
    assert!(home.cluster(".engines").join("guest/engine.pid").exists());

    let process = rustix::process::Pid::from_raw(guest.0.id() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(guest.end(), "exit status: 0");
    until("the guest has gone", || (engines().len() == 2).then_some(()));
    home.good(&["cluster", "stop"]);
    let mut left = home.entries();
    left.sort();
    assert_eq!(left, ["copy-driver.json", "copy-engine.json"]);
    // The cluster is gone, but the files still exist.
    assert_eq!(home.run(&["jobs", "--cluster", &driver]).code, 3);
}
