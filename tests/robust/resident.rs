//! Rows that take far more than they seem to, in a process each, whose memory is watched from outside: what nobody
//! counted makes operators spill, and the process stays near its budget.

use crate::child::{Process, role};
use crate::support::Place;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tryworks::prelude::*;

const LIMIT: u64 = 64 << 20;
const ROWS: u64 = 200_000;
/// All rows together take far more, if they are held.
const _: () = assert!(ROWS * 4096 > 12 * LIMIT);

/// A few characters in the room of 4 KiB.
fn wide(n: u64) -> String {
    let mut text = String::with_capacity(4096);
    text.push_str(&n.to_string());
    text
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

const SUM: u64 = ROWS * (ROWS - 1) / 2;

/// The most anonymous memory that a process is seen to hold until it ends well.
fn watch(mut process: Process) -> u64 {
    process.line("ready");
    let mut peak = 0;
    while process.child.try_wait().unwrap().is_none() {
        peak = peak.max(process.anonymous().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    process.ends_well();
    peak
}

/// Runs `job` in a process of its own, which has to spill and to stay near its budget.
fn within(name: &str, job: fn(&Context) -> Result<()>) {
    if role().is_some() {
        // What is checked comes back without its spare room.
        let place = Place::with(4, LIMIT, |builder| builder.check_rows(false));
        println!("ready");
        job(&place.cx).unwrap();
        assert!(place.cx.memory().spilled() > 0, "nothing was spilled");
        place.is_clean();
        return;
    }
    let peak = watch(Process::start(name, "job"));
    assert!(peak > LIMIT / 2, "the memory was not seen");
    assert!(peak < 3 * LIMIT, "{} MiB were held within a limit of {}", peak >> 20, LIMIT >> 20);
}

#[test]
fn strings_with_spare_room_cross_a_shuffle() {
    within("resident::strings_with_spare_room_cross_a_shuffle", |cx| {
        let rows = cx.range_in(0..ROWS, 8).map(wide);
        assert_eq!(rows.repartition(5).map(|text| number(&text)).sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_room_are_grouped() {
    within("resident::strings_with_spare_room_are_grouped", |cx| {
        let groups = cx.range_in(0..ROWS, 8).map(|n| (n % 10_000, wide(n))).group_by_key_in(4);
        let sums = groups.values().map(|texts| texts.iter().map(|text| number(text)).sum::<u64>());
        assert_eq!(sums.sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_room_are_reduced() {
    within("resident::strings_with_spare_room_are_reduced", |cx| {
        let longest = cx.range_in(0..ROWS, 8).map(|n| (n, wide(n))).reduce_by_key_in(4, |a, b| a.max(b));
        assert_eq!(longest.values().map(|text| number(&text)).sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_room_are_kept() {
    within("resident::strings_with_spare_room_are_kept", |cx| {
        let kept = cx.range_in(0..ROWS, 8).map(wide).persist(StorageLevel::MemoryAndDisk);
        assert_eq!(kept.map(|text| number(&text)).sum()?, SUM);
        assert_eq!(kept.count()?, ROWS);
        Ok(())
    });
}

#[test]
fn keys_with_spare_room_are_sorted() {
    within("resident::keys_with_spare_room_are_sorted", |cx| {
        let sorted = cx.range_in(0..ROWS, 8).map(|n| (wide(n), n)).sort_by_key_in(4);
        let found: Vec<u64> = sorted.values().collect()?;
        let mut expected: Vec<u64> = (0..ROWS).collect();
        expected.sort_by_key(u64::to_string);
        assert!(found == expected);
        Ok(())
    });
}

#[test]
fn other_containers_with_spare_room_cross_a_shuffle() {
    within("resident::other_containers_with_spare_room_cross_a_shuffle", |cx| {
        let rows = cx.range_in(0..ROWS, 8).map(|n| {
            let mut bytes = Vec::with_capacity(1024);
            bytes.push(n as u8);
            let mut queue = VecDeque::with_capacity(128);
            queue.push_back(n);
            let mut map = HashMap::with_capacity(100);
            map.insert(n, Box::new([n; 4]));
            (Some(bytes), queue, map, BTreeMap::from([(n, wide(n))]))
        });
        let numbers = rows.repartition(5).map(|(bytes, queue, map, tree)| {
            let n = queue[0];
            assert!(bytes == Some(vec![n as u8]) && map[&n][3] == n && tree[&n] == n.to_string());
            n
        });
        assert_eq!(numbers.sum()?, SUM);
        Ok(())
    });
}

#[test]
fn a_few_rows_that_take_a_megabyte_each_are_seen_early() {
    within("resident::a_few_rows_that_take_a_megabyte_each_are_seen_early", |cx| {
        let rows = cx.range_in(0..800, 8).map(|n| {
            // What is not touched takes no memory.
            let mut numbers = vec![n; 1 << 17];
            numbers.truncate(1);
            numbers
        });
        assert_eq!(rows.repartition(5).map(|numbers| numbers[0]).sum()?, 800 * 799 / 2);
        Ok(())
    });
}

/// A control group that may have so much memory; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// `None` where this user may not make one.
    fn new(bytes: u64) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |controller: &str| {
            let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            lines.find(|(names, _)| names.split(',').any(|name| name == controller)).map(|(_, path)| path)
        };
        let under = |root: &str, path: &str| Path::new(root).join(path.trim_start_matches('/'));
        let name = format!("tryworks-test-{}", std::process::id());
        let made = |dir: PathBuf, file: &str| {
            let dir = dir.join(&name);
            std::fs::create_dir(&dir).ok()?;
            let group = Group(dir);
            // Where no groups are mounted this would be a file like any other.
            let is_there = group.0.join(file).exists() && group.0.join("cgroup.procs").exists();
            (is_there && std::fs::write(group.0.join(file), bytes.to_string()).is_ok()).then_some(group)
        };
        let second = own("").and_then(|path| made(under("/sys/fs/cgroup", path), "memory.max"));
        second.or_else(|| made(under("/sys/fs/cgroup/memory", own("memory")?), "memory.limit_in_bytes"))
    }

    /// This test program in the group.
    fn program(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        command.arg(std::env::current_exe().unwrap());
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process has ended, but the group may not know yet.
        (0..1000).any(|_| {
            let removed = std::fs::remove_dir(&self.0).is_ok();
            if !removed {
                std::thread::sleep(Duration::from_millis(2));
            }
            removed
        });
    }
}

#[test]
fn a_control_group_of_300_mb_is_enough_with_the_default_settings() {
    const GROUP: u64 = 300 << 20;
    if role().is_some() {
        let dir = tempfile::tempdir().unwrap();
        let cx = Context::builder().check_rows(false).progress(false).spill_dir(dir.path()).build().unwrap();
        assert_eq!(cx.memory().limit(), GROUP / 100 * 60);
        println!("ready");
        let rows = cx.range_in(0..2 * ROWS, 16).map(|n| (n % 20_000, wide(n)));
        let groups = rows.group_by_key().map_values(|texts| texts.iter().map(|text| number(text)).sum::<u64>());
        assert_eq!(groups.values().sum().unwrap(), ROWS * (2 * ROWS - 1));
        assert_eq!(rows.values().repartition(7).map(|text| number(&text)).sum().unwrap(), ROWS * (2 * ROWS - 1));
        assert!(cx.memory().spilled() > 0, "nothing was spilled");
        return;
    }
    let Some(group) = Group::new(GROUP) else {
        return eprintln!("skipped: a control group cannot be made here");
    };
    let name = "resident::a_control_group_of_300_mb_is_enough_with_the_default_settings";
    // It would be killed.
    let peak = watch(Process::start_command(group.program(), name, "job"));
    assert!(peak > GROUP / 4 && peak < GROUP, "{} MiB were held", peak >> 20);
}
