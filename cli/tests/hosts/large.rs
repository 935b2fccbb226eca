//! Map outputs that are larger than what may be in flight at once.

use crate::driver::{drive_with, role, token, tokens};
use crate::host::{Network, host_name};
use std::fs;
use std::sync::LazyLock;
use tryworks::prelude::*;
use tryworks_testing::{mix, until};

/// Each of two map tasks makes this many rows of a mebibyte.
const ROWS: u64 = 66;

/// What may be in flight to an engine at once, according to docs/cluster.md.
const IN_FLIGHT: u64 = 64 << 20;

/// A mebibyte that looks random.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let letter = |n: u64| char::from(b' ' + (mix(n * 7) >> 20) as u8 % 90);
    (0..1 << 20).map(letter).collect()
});

/// Row `n`: no two rows are alike, and pieces of one are not easily found in another.
fn row(n: u64) -> String {
    let (behind, before) = TEXT.split_at((mix(n) % (1 << 20)) as usize);
    format!("{n} {before}{behind}")
}

#[test]
fn a_map_output_larger_than_what_may_be_on_its_way_crosses() {
    if role().is_some() {
        let cx = Context::init().unwrap();
        // The two map tasks wait for one another: with one slot each, they run on different hosts.
        let rows = cx.from_fn(2, |part| {
            fs::write(token(&format!("map-{part}")), "").unwrap();
            until("the other one has begun", || token(&format!("map-{}", 1 - part)).exists().then_some(()));
            (0..ROWS).map(move |n| row(n * 2 + u64::from(part)))
        });
        let read = rows.repartition(1).map_partitions(|rows| {
            fs::write(token(&format!("reads-{}", host_name())), "").unwrap();
            rows.map(|text| text.split_once(' ').unwrap().0.parse::<u64>().map(|n| (n, text == row(n))).unwrap())
        });
        let mut read = read.collect().unwrap();
        read.sort();
        println!("answer {}", read == (0..ROWS * 2).map(|n| (n, true)).collect::<Vec<_>>());
        return;
    }
    let Some(network) = Network::of(&["hub", "one", "two"]) else { return };
    let [hub, one, two] = &network.hosts[..] else { unreachable!() };
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let _hub = hub.hub();
    let _engines = [one, two].map(|host| host.engine(hub, &["--slots", "1"]));
    hub.wait_for(&["one", "two"]);
    let name = "large::a_map_output_larger_than_what_may_be_on_its_way_crosses";
    let mut run = drive_with(hub, hub, name, "drive", &[tokens(place.path())]);
    assert_eq!(run.line("answer "), "true");
    // Nothing is computed a second time.
    assert_eq!(run.ends_well(), "");
    // The host that read received everything that the other one made.
    let reader = [one, two].into_iter().find(|host| place.path().join(format!("reads-{}", host.name)).exists());
    assert!(reader.unwrap().received() > IN_FLIGHT, "{}", reader.unwrap().received());
}
