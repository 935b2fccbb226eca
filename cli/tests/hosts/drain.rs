//! Engines that are asked to leave in the middle of a job.

use crate::driver::{drive_with, role, token, tokens};
use crate::host::{Network, Running, host_name};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tryworks::prelude::*;
use tryworks_testing::{mix, until};

const ROWS: u64 = 300_000;
const MAPS: u32 = 8;

/// A job whose map tasks each leave a token, and whose readers wait for the test.
fn work() {
    let cx = Context::init().unwrap();
    let numbers = cx.from_fn(MAPS, |partition| {
        fs::write(token(&format!("map-{partition}-{}-{}", host_name(), std::process::id())), "").unwrap();
        let part = ROWS / u64::from(MAPS);
        u64::from(partition) * part..u64::from(partition + 1) * part
    });
    let groups = numbers.map(|n| (mix(n) % 20_000, n)).shuffle_into(4).group_by_key();
    let groups = groups.map_partitions(|rows| {
        File::create(token(&format!("reads-{}-{}", host_name(), std::process::id()))).unwrap();
        while !token("go on").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        rows.map(|(key, values): (u64, Vec<u64>)| (key, values.into_iter().sum::<u64>()))
    });
    // In a union with a source, no two partitions share a task.
    let groups = groups.union(&cx.parallelize_in(Vec::<(u64, u64)>::new(), 1));
    let sums: BTreeMap<u64, u64> = groups.collect().unwrap().into_iter().collect();
    let mut expected = BTreeMap::<u64, u64>::new();
    (0..ROWS).for_each(|n| *expected.entry(mix(n) % 20_000).or_default() += n);
    println!("answer {}", sums == expected);
}

/// Drains an engine while readers run, and checks the result of the job.
fn drained(mut run: Running, place: &Path, mut drain: Command) {
    let count = |word: &str| {
        let names = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(word)).count()
    };
    until("both engines read", || (count("reads-") == 2).then_some(()));
    let asked = drain.output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    File::create(place.join("go on")).unwrap();
    assert_eq!(run.line("answer "), "true");
    run.ends_well();
    assert_eq!(count("map-"), MAPS as usize, "no finished map task ran again");
}

#[test]
fn an_engine_that_is_drained_gives_its_blocks_to_another_host() {
    if role().is_some() {
        return work();
    }
    let Some(network) = Network::of(&["hub", "one", "two"]) else { return };
    let [hub, one, two] = &network.hosts[..] else { unreachable!() };
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let _hub = hub.hub();
    let (_one, mut two) = (one.engine(hub, &[]), two.engine(hub, &[]));
    hub.wait_for(&["one", "two"]);
    let name = "drain::an_engine_that_is_drained_gives_its_blocks_to_another_host";
    let run = drive_with(hub, hub, name, "drive", &[tokens(place.path())]);
    drained(run, place.path(), hub.tryworks(&["cluster", "drain", "two", "--name", hub.path("hub").to_str().unwrap()]));
    two.ends_well();
    hub.wait_for(&["one"]);
}

/// A cluster of this machine, which is stopped however the test ends.
struct Local(tempfile::TempDir);

impl Local {
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("TRYWORKS_HOME", self.0.path()).env_remove("TRYWORKS_CLUSTER");
        command
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.command(env!("CARGO_BIN_EXE_tryworks"), &["cluster", "stop"]).output();
    }
}

#[test]
fn an_engine_that_is_drained_is_not_started_again() {
    let name = "drain::an_engine_that_is_drained_is_not_started_again";
    if role().is_some() {
        return work();
    }
    let closed = fs::Permissions::from_mode(0o700);
    let local = Local(tempfile::Builder::new().prefix("tw").permissions(closed).tempdir().unwrap());
    let tryworks = |arguments: &[&str]| local.command(env!("CARGO_BIN_EXE_tryworks"), arguments);
    let started = tryworks(&["cluster", "start", "-n", "2", "--slots", "2", "--memory", "256M"]).output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let exe = std::env::current_exe().unwrap();
    let mut driver = local.command(exe.to_str().unwrap(), &["--exact", name, "--nocapture", "--test-threads=1"]);
    let (tokens, directory) = tokens(place.path());
    driver.env("TRYWORKS_CLUSTER", "default").env("TRYWORKS_TEST_ROLE", "drive").env(tokens, directory);
    drained(Running::start(driver), place.path(), tryworks(&["cluster", "drain", "engine-2"]));
    let log = || fs::read_to_string(local.0.path().join("default/logs/supervisor.log")).unwrap();
    until("the supervisor has seen it end", || log().contains("engine-2 ended as it was asked to").then_some(()));
    assert!(!local.0.path().join("default/engines/engine-2/blocks").exists(), "its blocks went with it");
    let status = String::from_utf8(tryworks(&["cluster", "status"]).output().unwrap().stdout).unwrap();
    assert!(status.contains("engine-1") && !status.contains("engine-2"), "{status}");
    assert!(!log().contains("engine-2 died"), "{}", log());
}
