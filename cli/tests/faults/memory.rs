//! What a worker really holds, whatever its rows seem to take.

use crate::here;
use crate::rig::{Cluster, Engine, driving};
use std::fs;
use std::time::Duration;
use tryworks::prelude::*;

const ROWS: u64 = 200_000;

/// The anonymous memory of a process, in bytes.
fn anonymous(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().unwrap() << 10)
}

#[test]
fn rows_with_spare_capacity_keep_a_worker_close_to_its_budget() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..ROWS, 4).map(|n| {
            let mut text = String::with_capacity(4096);
            text.push_str(&n.to_string());
            text
        });
        let numbers = rows.repartition(3).try_map(|text| Ok(text.parse::<u64>()?));
        assert_eq!(numbers.sum().unwrap(), ROWS * (ROWS - 1) / 2);
        return;
    }
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    cluster.add("small", Engine { slots: 2, memory: Some("96M"), ..Engine::default() });
    cluster.wait_for_engines(1);
    // A row that was checked comes back without its spare capacity.
    let mut driver = cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", "0")]);
    let (engine, mut peak) = (cluster.engine("small"), 0);
    while driver.child.try_wait().unwrap().is_none() {
        peak = cluster.children(engine).into_iter().filter_map(anonymous).fold(peak, u64::max);
        std::thread::sleep(Duration::from_millis(1));
    }
    driver.ends_well();
    assert!(peak > 32 << 20, "the memory of the worker was not seen");
    assert!(peak < 240 << 20, "{} MiB were held by a worker with a budget of 96", peak >> 20);
    cluster.is_clean();
}
