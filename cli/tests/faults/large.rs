//! Large values: those that tasks capture, and results that many tasks return at once. They pass only through processes
//! that need them, and their memory is freed.

use crate::here;
use crate::rig::{Cluster, driving, until};
use std::path::Path;
use std::sync::Arc;
use tryworks::prelude::*;

pub(crate) const MIB: u64 = 1 << 20;

/// A count of bytes of a process, from the system: `VmRSS` is the present one, `VmHWM` the largest so far.
pub(crate) fn bytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

/// The bytes of all files below a directory.
fn on_disk(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |path: &Path| if path.is_dir() { on_disk(path) } else { path.metadata().map_or(0, |file| file.len()) };
    entries.map(|entry| of(&entry.path())).sum()
}

#[test]
fn a_captured_value_that_is_larger_than_a_message_reaches_the_tasks_and_leaves_nothing() {
    const LEN: u64 = 260 * MIB;
    const LESS: u64 = 5 * MIB;
    if driving() {
        let cx = Context::init().unwrap();
        let text = |len: u64| "x".repeat(len as usize);
        let sum = cx.range_in(0..8, 4).with(text(LEN)).map(|large, n| large.len() as u64 + n).sum();
        assert_eq!(sum.unwrap(), 8 * LEN + 28);
        // The same value again and again: one is sent to the hub while the one before is released.
        for _ in 0..20 {
            let sum = cx.range_in(0..8, 4).with(text(LESS)).map(|large, n| large.len() as u64 + n).sum();
            assert_eq!(sum.unwrap(), 8 * LESS + 28);
        }
        // A map stage with captured values.
        let counted = cx.range_in(0..8, 2).with(text(LESS)).map(|large, n| (n % 2, large.len() as u64));
        let mut sums = counted.reduce_by_key(|a, b| a + b).collect().unwrap();
        sums.sort();
        assert_eq!(sums, [(0, 4 * LESS), (1, 4 * LESS)]);
        return;
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    cluster.drive(here!());
    for (name, child) in &cluster.children {
        let (now, most) = (bytes(child.id(), "VmRSS"), bytes(child.id(), "VmHWM"));
        assert!(now < 100 * MIB && most < 150 * MIB, "{name} has {} MiB and had {} MiB", now / MIB, most / MIB);
    }
    let places = ["default/programs", ".engines/engine-1/files"].map(|place| cluster.home().join(place));
    assert!(places.iter().all(|place| place.is_dir()), "it went by the hub's data port");
    until("what was captured is gone", || (places.iter().map(|place| on_disk(place)).sum::<u64>() == 0).then_some(()));
    cluster.is_clean();
}

/// The value was encoded when the job was submitted, and the error named only the action.
#[test]
fn a_captured_value_that_is_too_large_fails_at_its_own_call() {
    if driving() {
        let cx = Context::init().unwrap();
        // A gibibyte and more, of which there is one piece in memory.
        let page: Arc<str> = "x".repeat(64 << 20).into();
        let pages = vec![page; 17];
        let given = cx.range(0..8).with(pages);
        let line = line!() - 1;
        let error = given.map(|pages, n| pages.len() as u64 + n).sum().unwrap_err().to_string();
        assert!(error.contains("is too large to be given to tasks: it takes 1073741824 bytes or more"), "{error}");
        assert!(error.contains(&format!("large.rs:{line}:")) && error.contains("ship_file"), "{error}");
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    for checks in ["0", "1"] {
        cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", checks)]).ends_well();
    }
}

#[test]
fn results_that_are_together_larger_than_a_message_arrive() {
    const PARTS: u32 = 300;
    if driving() {
        let cx = Context::init().unwrap();
        // Each is small enough for the report of its task.
        let rows = cx.from_fn(PARTS, |part| [(part, "y".repeat(MIB as usize - 100))].into_iter());
        let rows = rows.collect().unwrap();
        assert!((0..PARTS).zip(&rows).all(|(part, row)| row.0 == part && row.1.len() as u64 == MIB - 100));
        assert_eq!(rows.len(), PARTS as usize);
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    cluster.drive(here!());
    cluster.is_clean();
}

/// The text of an error travels in a message, whatever its length.
#[test]
fn an_error_larger_than_a_message_fails_its_job_with_advice_and_leaves_nothing() {
    const LEN: u64 = 260 * MIB;
    if driving() {
        let cx = Context::init().unwrap();
        let text = || "e".repeat(LEN as usize);
        let failing = cx.range_in(0..8, 2).try_map(move |n| if n == 7 { Err(UserError::msg(text())) } else { Ok(n) });
        let panicking = cx.range_in(0..8, 2).map(move |n| if n == 7 { panic!("{}", text()) } else { n });
        for error in [failing.count().unwrap_err(), panicking.count().unwrap_err()] {
            assert!(matches!(error, Error::Limit { .. }), "{:.500}", error.to_string());
            let said = error.to_string();
            assert!(said.len() < 1_000, "{} bytes", said.len());
            let parts = ["the error of a task", "268435456", "make an error with a shorter text"];
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
        assert_eq!(cx.range_in(0..8, 2).count().unwrap(), 8);
        return;
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    cluster.drive(here!());
    for (name, child) in &cluster.children {
        let (now, most) = (bytes(child.id(), "VmRSS"), bytes(child.id(), "VmHWM"));
        assert!(now < 100 * MIB && most < 150 * MIB, "{name} has {} MiB and had {} MiB", now / MIB, most / MIB);
    }
    cluster.is_clean();
}
