//! Engines that are asked to leave in the middle of a job.

use crate::driver::{drive_with, mix, role, token, tokens};
use crate::host::{Host, Network, Running, until};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;
use tryworks::prelude::*;

const ROWS: u64 = 300_000;
const MAPS: u32 = 8;

/// A job whose map tasks leave a token each time, and whose readers wait for the test.
fn work() {
    let cx = Context::init().unwrap();
    let numbers = cx.from_fn(MAPS, |partition| {
        fs::write(token(&format!("map-{partition}-{}", crate::host::host_name())), "").unwrap();
        let part = ROWS / u64::from(MAPS);
        u64::from(partition) * part..u64::from(partition + 1) * part
    });
    let groups = numbers.map(|n| (mix(n) % 20_000, n)).group_by_key_in(4);
    let groups = groups.map_partitions(|rows| {
        File::create(token(&format!("reads-{}", crate::host::host_name()))).unwrap();
        while !token("go on").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        rows.map(|(key, values): (u64, Vec<u64>)| (key, values.into_iter().sum::<u64>()))
    });
    // Beside a source no two partitions share a task.
    let groups = groups.union(&cx.parallelize_in(Vec::<(u64, u64)>::new(), 1));
    let sums: BTreeMap<u64, u64> = groups.collect().unwrap().into_iter().collect();
    let mut expected = BTreeMap::<u64, u64>::new();
    (0..ROWS).for_each(|n| *expected.entry(mix(n) % 20_000).or_default() += n);
    println!("answer {}", sums == expected);
}

/// Drains the engine `two` while readers run, and looks at what became of it.
fn drained(mut run: Running, place: &Path, hub: &Host, two: &mut Running) {
    let count = |word: &str| {
        let names = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(word)).count()
    };
    until("both engines read", || (count("reads-") == 2).then_some(()));
    let cluster = hub.path("hub");
    let asked = hub.tryworks(&["cluster", "drain", "two", "--name", cluster.to_str().unwrap()]).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    File::create(place.join("go on")).unwrap();
    assert_eq!(run.line("answer "), "true");
    run.ends_well();
    let (code, _, errors) = two.end();
    assert_eq!(code, 0, "{errors}");
    hub.wait_for(&["one"]);
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
    let (_one, mut engine) = (one.engine(hub, &[]), two.engine(hub, &[]));
    hub.wait_for(&["one", "two"]);
    let name = "drain::an_engine_that_is_drained_gives_its_blocks_to_another_host";
    let run = drive_with(hub, hub, name, "drive", &[tokens(place.path())]);
    drained(run, place.path(), hub, &mut engine);
}
