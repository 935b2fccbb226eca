//! A cluster in trouble heals: a hub that hangs, a disk that is full, more clients at once than a door's queue holds.

use crate::cluster::{carried, members, start, supervisor, whole};
use crate::home::{Home, Process};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::ask::Admin;
use tryworks_testing::SmallDisk;
use tryworks_testing::until;

fn log(home: &Home, of: &str) -> PathBuf {
    home.cluster("default").join(format!("logs/{of}.log"))
}

fn said(home: &Home, by: &str) -> String {
    fs::read_to_string(log(home, by)).unwrap()
}

#[test]
fn a_hub_that_hangs_is_seen_and_started_again() {
    let home = Home::new();
    start(&home, &[]);
    let [hub, ..] = members(&home, "default");
    kill_process(Pid::from_raw(hub.pid as i32).unwrap(), Signal::STOP).unwrap();
    until("the supervisor says so", || {
        let log = said(&home, "supervisor");
        (log.contains("the hub does not answer") && log.contains("hub hangs: it has not answered for")).then_some(())
    });
    until("it is killed", || (!hub.lives()).then_some(()));
    let status = whole(&home, hub);
    let [new, ..] = members(&home, "default");
    assert!(new != hub && status["pid"] == new.pid && status["epoch"] == 2, "{status}");
}

#[test]
fn four_hundred_clients_at_once_are_all_served() {
    let home = Home::new();
    start(&home, &[]);
    // Most connect by the socket, some through the gateway, as if from another machine.
    let (local, far) = (home.cluster("default"), carried(&home, "default", "driver.json"));
    let at_once = Barrier::new(400);
    let ask = |place: &Path| {
        at_once.wait();
        let answer = Admin::connect(place).and_then(|mut hub| hub.ask(Question::Status));
        matches!(answer, Ok(Answer::Status(status)) if status.engines.len() == 2)
    };
    let served = std::thread::scope(|scope| {
        let place = |number| if number % 8 == 0 { Path::new(&far) } else { local.as_path() };
        let clients: Vec<_> = (0..400).map(|number| scope.spawn(move || ask(place(number)))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).filter(|served| *served).count()
    });
    assert_eq!(served, 400);
}

#[test]
fn a_full_disk_ends_nothing_and_all_goes_on_when_there_is_space() {
    let Some(disk) = SmallDisk::mount("24m") else { return };
    let home = Home::on(&disk.0);
    start(&home, &[]);
    let (watcher, [hub, one, two]) = (supervisor(&home), members(&home, "default"));
    // A file can grow to the end of its last page, full disk or not.
    for name in ["supervisor", "hub"] {
        let mut log = fs::File::options().append(true).open(log(&home, name)).unwrap();
        let len = log.metadata().unwrap().len();
        log.write_all(&vec![b'\n'; (len.next_multiple_of(4096) - len) as usize]).unwrap();
    }
    let filler = disk.fill();
    one.kill();
    // The hub writes to the journal that it has lost the engine.
    let status = || home.json(&["cluster", "status"]);
    until("the journal cannot be written", || {
        status()["journal"].as_str().filter(|why| why.contains("full")).map(drop)
    });
    let engine = home.cluster("default").join("engines/engine-1/engine.pid");
    assert!(!engine.exists() || Process::in_file(&engine) == Some(one), "there was space for another pid file");
    assert!([watcher, hub, two].iter().all(|process| process.lives()), "a full disk has ended something");

    fs::remove_file(filler).unwrap();
    let status = whole(&home, one);
    assert_eq!(status["epoch"], 1, "the hub was not started again: {status}");
    until("the journal goes on", || home.json(&["cluster", "status"])["journal"].is_null().then_some(()));
    assert!([watcher, hub, two].iter().all(|process| process.lives()));
    let text = said(&home, "supervisor");
    assert!(text.contains("lines are missing here, which could not be written: No space left on device"), "{text}");
    home.good(&["cluster", "stop"]);
    assert_eq!(home.entries(), [""; 0]);
}

#[test]
fn a_log_that_has_become_large_is_exchanged() {
    let home = Home::new();
    let directory = home.cluster("logged");
    let log = home.cluster("logged.log");
    // Sixteen mebibytes that take no disk space.
    fs::File::create(&log).unwrap().set_len(16 << 20).unwrap();
    let arguments = ["hub", "--name", "logged", "--log", log.to_str().unwrap()];
    let mut hub = crate::home::Bystander(home.command(&arguments).spawn().unwrap());
    until("it serves", || directory.join("driver.json").exists().then_some(()));
    let size = |path: &str| fs::metadata(home.cluster(path)).unwrap().len();
    assert_eq!(size("logged.log.1"), 16 << 20);
    assert!(size("logged.log") < 1 << 20);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    kill_process(Pid::from_raw(hub.0.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(hub.end(), "exit status: 0");
}

#[test]
fn output_that_cannot_be_printed_is_no_panic() {
    let home = Home::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["cluster", "stop"][..], &["jobs"], &["cluster", "start", "--memory", "0"]] {
        let status = home.command(arguments).stdout(full()).stderr(full()).status().unwrap();
        assert!(matches!(status.code(), Some(2 | 3)), "{arguments:?}: {status}");
    }
    // A cluster does not end with the terminal that watches it. Its log shows when it runs: a command that stops it
    // before has stopped a start.
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = home.command(&["cluster", "start", "--foreground", "--memory", "64M"]);
    command.stdout(full()).stderr(log.reopen().unwrap());
    let mut watcher = crate::home::Bystander(command.spawn().unwrap());
    until("it runs", || fs::read_to_string(log.path()).unwrap().contains("that could not be printed").then_some(()));
    assert_eq!(home.json(&["cluster", "status"])["engines"].as_array().unwrap().len(), 1);
    assert!(watcher.lives());
    home.good(&["cluster", "stop"]);
    assert_eq!(watcher.end(), "exit status: 0");
}
