//! Input and files that only the driver's machine has, and output that goes only to it.

use crate::driver::{drive, role};
use crate::host::{Host, Network, Running, is_filled};
use std::fs;
use std::path::{Path, PathBuf};
use tryworks::prelude::*;
use tryworks_testing::until;

/// The lines of the input: enough for several splits.
fn lines() -> Vec<String> {
    (0..40_000).map(|n| format!("line {n} {}", tryworks_testing::mix(n))).collect()
}

/// A path beside the driver's program, which exists only on the driver's host: for what the driver reads and writes.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join(name)
}

/// The parts in a directory, one after another.
fn parts(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut parts: Vec<_> = entries.filter(|path| path.to_string_lossy().contains("/part-")).collect();
    parts.sort();
    parts
        .iter()
        .flat_map(|part| fs::read_to_string(part).unwrap().lines().map(String::from).collect::<Vec<_>>())
        .collect()
}

/// What every driver here does, in the way of a program with an asynchronous `main`.
fn program() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { give_and_take() });
}

fn give_and_take() {
    let cx = Context::init().unwrap();
    let input = beside("input.txt");
    let read = cx.read(text(&input).from_driver());
    println!("splits {}", read.partitions());
    assert_eq!(read.collect().unwrap(), lines());
    // A file that a function opens itself.
    let table = cx.ship_file(beside("table.txt")).unwrap();
    let seen = cx.range_in(0..4, 4).with(table).try_map(|table, n| {
        let place = table.path()?;
        Ok((n, fs::read_to_string(&place)?, place.display().to_string()))
    });
    for (n, text, place) in seen.collect().unwrap() {
        assert_eq!(text, "seven\n", "{n}");
        println!("place {place}");
    }
    // A result that stays where it was made until it is fetched.
    let large = cx.range_in(0..1, 1).map(|_| vec![7u8; 3 << 20]).collect().unwrap();
    assert_eq!(large[0].len(), 3 << 20);
    // The driver writes what tasks make, complete or not at all.
    read.to_driver().save_as_text_file(beside("out")).unwrap();
    let bad = read.try_map(|line| match line.starts_with("line 39999 ") {
        true => Err(UserError::from(std::io::Error::other("the last one"))),
        false => Ok(line),
    });
    println!("failed {}", bad.to_driver().save_as_text_file(beside("bad")).unwrap_err());
    println!("done");
}

fn put_input(host: &Host) {
    fs::write(host.seen("input.txt"), lines().join("\n") + "\n").unwrap();
    fs::write(host.seen("table.txt"), "seven\n").unwrap();
}

/// Checks what a driver left on its host, and returns the places at which tasks found the table.
fn looked_at(run: &mut Running, host: &Host) -> Vec<String> {
    assert!(run.line("splits ").parse::<u32>().unwrap() > 8);
    let places = (0..4).map(|_| run.line("place ")).collect();
    assert!(run.line("failed ").contains("the last one"));
    run.line("done");
    assert_eq!(parts(&host.seen("out")), lines());
    assert!(host.seen("out/_SUCCESS").exists() && !host.seen("bad").exists());
    run.ends_well();
    places
}

#[test]
fn engines_elsewhere_are_sent_what_only_the_driver_has() {
    let name = "given::engines_elsewhere_are_sent_what_only_the_driver_has";
    if role().is_some() {
        return program();
    }
    let Some(network) = Network::of(&["hub", "one", "two", "driver"]) else { return };
    let [hub, one, two, driver] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub();
    let _engines = [one.engine(hub, &[]), two.engine(hub, &[])];
    hub.wait_for(&["one", "two"]);
    put_input(driver);
    let places = looked_at(&mut drive(driver, hub, name, "drive"), driver);
    assert!(places.iter().all(|place| place.contains("/engine/files/")), "{places:?}");
    for host in [one, two] {
        assert!(!host.seen("input.txt").exists() && !host.seen("out").exists());
        until("the files are gone with the session", || (!is_filled(&host.seen("engine/files"))).then_some(()));
    }
    // The program may stay for the next driver; shipped files are removed.
    until("the hub has released them", || (fs::read_dir(hub.seen("hub/programs")).unwrap().count() <= 1).then_some(()));

    // The same from the hub's own host, whose files engines elsewhere do not see either.
    put_input(hub);
    let places = looked_at(&mut drive(hub, hub, name, "drive"), hub);
    assert!(places.iter().all(|place| place.contains("/engine/files/")), "{places:?}");
}

#[test]
fn given_files_count_against_the_quota() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        let error = cx.read(text(beside("input.txt")).from_driver()).count().unwrap_err();
        println!("error {}", error.to_string().replace('\n', " "));
        assert!(matches!(&error, Error::Limit { name, value: 1_048_576, .. } if name == "block_quota"), "{error:?}");
        // A file that fits is shipped, and counts while the session lasts.
        let table = cx.ship_file(beside("table.txt")).unwrap();
        let read = cx.range_in(0..2, 2).with(table).try_map(|table, _| Ok(fs::metadata(table.path()?)?.len()));
        assert_eq!(read.sum().unwrap(), 2 << 19);
        println!("fits");
        // The table takes half of the quota: the same size again is too much.
        let more = cx.ship_file(beside("more.txt")).unwrap();
        let read = cx.range_in(0..1, 1).with(more).try_map(|more, _| Ok(fs::metadata(more.path()?)?.len()));
        println!("more {}", read.sum().unwrap_err().to_string().replace('\n', " "));
        return;
    }
    let Some(network) = Network::of(&["hub", "one"]) else { return };
    let [hub, one] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub();
    let _engine = one.engine(hub, &["--quota", "1M"]);
    hub.wait_for(&["one"]);
    put_input(hub);
    assert!(fs::metadata(hub.seen("input.txt")).unwrap().len() > 1 << 20);
    fs::write(hub.seen("table.txt"), vec![b't'; 1 << 19]).unwrap();
    fs::write(hub.seen("more.txt"), vec![b'm'; (1 << 19) + 1]).unwrap();
    let mut run = drive(hub, hub, "given::given_files_count_against_the_quota", "drive");
    let error = run.line("error ");
    assert!(
        error.contains("limit block_quota (1048576) reached") && error.contains("a file of the driver's"),
        "{error}"
    );
    assert!(error.contains("--quota"), "{error}");
    run.line("fits");
    let more = run.line("more ");
    assert!(more.contains("limit block_quota (1048576) reached") && more.contains("where 524288 are in use"), "{more}");
    run.ends_well();
    until("all of it is given back", || (!is_filled(&one.seen("engine/files"))).then_some(()));
    let mut again = drive(hub, hub, "given::given_files_count_against_the_quota", "drive");
    again.line("fits");
    again.ends_well();
}

#[test]
fn on_the_drivers_own_machine_nothing_is_copied() {
    let name = "given::on_the_drivers_own_machine_nothing_is_copied";
    if role().is_some() {
        return program();
    }
    let Some(network) = Network::of(&["hub"]) else { return };
    let hub = &network.hosts[0];
    let _hub = hub.hub();
    let _engine = Running::start(hub.tryworks(&[
        "engine",
        "--connect",
        hub.path("hub/engine.json").to_str().unwrap(),
        "--name",
        "own",
        "--slots",
        "2",
        "--memory",
        "256M",
        "--directory",
        hub.path("engine").to_str().unwrap(),
    ]));
    hub.wait_for(&["own"]);
    put_input(hub);
    let places = looked_at(&mut drive(hub, hub, name, "drive"), hub);
    let table = hub.path("table.txt").display().to_string();
    assert!(places.iter().all(|place| *place == table), "{places:?}");
    assert!(!hub.seen("engine/files").exists());
}

#[test]
fn an_engine_that_does_not_see_a_path_is_named_with_what_to_do() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        println!("read {}", cx.text_file(beside("input.txt")).count().unwrap_err().to_string().replace('\n', " "));
        let saved = cx.range(0..10).save_as_text_file(beside("out"));
        println!("save {}", saved.unwrap_err().to_string().replace('\n', " "));
        return;
    }
    let Some(network) = Network::of(&["hub", "one"]) else { return };
    let [hub, one] = &network.hosts[..] else { unreachable!() };
    let _hub = hub.hub();
    let _engine = one.engine(hub, &[]);
    hub.wait_for(&["one"]);
    put_input(hub);
    let mut run = drive(hub, hub, "given::an_engine_that_does_not_see_a_path_is_named_with_what_to_do", "drive");
    let (read, save) = (run.line("read "), run.line("save "));
    run.ends_well();
    assert!(read.contains("input.txt") && read.contains("one on one does not see"), "{read}");
    assert!(read.contains("what to do:") && read.contains("from_driver()"), "{read}");
    assert!(save.contains("one on one does not see") && save.contains("to_driver()"), "{save}");
    assert!(!hub.seen("out").exists(), "nothing of a job that failed stays");
}
