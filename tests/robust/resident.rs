//! Rows that take far more memory than they seem to. Each test runs in a process of its own, whose memory is watched
//! from outside. Memory that nobody reserved makes operators spill, and the process stays close to its budget.

use crate::child::{Process, role};
use crate::support::{AMPLE, Place};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tryworks::prelude::*;

const LIMIT: u64 = 64 << 20;
const ROWS: u64 = 200_000;
/// All rows together take far more memory, if they are held.
const _: () = assert!(ROWS * 4096 > 12 * LIMIT);

/// A few characters in a buffer of 4 KiB.
fn wide(n: u64) -> String {
    let mut text = String::with_capacity(4096);
    text.push_str(&n.to_string());
    text
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

const SUM: u64 = ROWS * (ROWS - 1) / 2;

/// The most anonymous memory that a process holds until it ends well.
pub fn watch(mut process: Process) -> u64 {
    process.line("ready");
    let mut peak = 0;
    while process.child.try_wait().unwrap().is_none() {
        peak = peak.max(process.anonymous().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    process.ends_well();
    peak
}

/// Runs `job` in a process of its own, which has to spill and to stay close to its budget.
fn within(name: &str, job: fn(&Context) -> Result<()>) {
    if role().is_some() {
        // A row that was checked comes back without its spare capacity.
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
fn strings_with_spare_capacity_cross_a_shuffle() {
    within("resident::strings_with_spare_capacity_cross_a_shuffle", |cx| {
        let rows = cx.range_in(0..ROWS, 8).map(wide);
        assert_eq!(rows.repartition(5).map(|text| number(&text)).sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_capacity_are_grouped() {
    within("resident::strings_with_spare_capacity_are_grouped", |cx| {
        let groups = cx.range_in(0..ROWS, 8).map(|n| (n % 10_000, wide(n))).shuffle_into(4).group_by_key();
        let sums = groups.values().map(|texts| texts.iter().map(|text| number(text)).sum::<u64>());
        assert_eq!(sums.sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_capacity_are_reduced() {
    within("resident::strings_with_spare_capacity_are_reduced", |cx| {
        let longest = cx.range_in(0..ROWS, 8).map(|n| (n, wide(n))).shuffle_into(4).reduce_by_key(|a, b| a.max(b));
        assert_eq!(longest.values().map(|text| number(&text)).sum()?, SUM);
        Ok(())
    });
}

#[test]
fn strings_with_spare_capacity_are_kept() {
    within("resident::strings_with_spare_capacity_are_kept", |cx| {
        let kept = cx.range_in(0..ROWS, 8).map(wide).persist(StorageLevel::MemoryAndDisk);
        assert_eq!(kept.map(|text| number(&text)).sum()?, SUM);
        assert_eq!(kept.count()?, ROWS);
        Ok(())
    });
}

#[test]
fn keys_with_spare_capacity_are_sorted() {
    within("resident::keys_with_spare_capacity_are_sorted", |cx| {
        let sorted = cx.range_in(0..ROWS, 8).map(|n| (wide(n), n)).shuffle_into(4).sort_by_key();
        let found: Vec<u64> = sorted.values().collect()?;
        let mut expected: Vec<u64> = (0..ROWS).collect();
        expected.sort_by_key(u64::to_string);
        assert!(found == expected);
        Ok(())
    });
}

#[test]
fn other_containers_with_spare_capacity_cross_a_shuffle() {
    within("resident::other_containers_with_spare_capacity_cross_a_shuffle", |cx| {
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
            // Untouched memory is not resident.
            let mut numbers = vec![n; 1 << 17];
            numbers.truncate(1);
            numbers
        });
        assert_eq!(rows.repartition(5).map(|numbers| numbers[0]).sum()?, 800 * 799 / 2);
        Ok(())
    });
}

/// 4 KiB that are all resident.
fn long(n: u64) -> String {
    format!("{n:>4096}")
}

/// Runs `job` in 8 MiB, where it has to spill, and with ample memory, where it must not. Both answers must be the same.
fn in_eight_mib<R: PartialEq>(job: impl Fn(&Context) -> Result<R>) -> R {
    // Compressed, they would shrink to nothing.
    let tight = Place::with(4, 8 << 20, |builder| builder.compress_spills(false));
    let answer = job(&tight.cx).unwrap();
    let spilled = tight.cx.memory().spilled();
    assert!(spilled > 8 << 20, "{spilled} bytes were spilled");
    tight.is_clean();
    let ample = Place::new(2, AMPLE);
    assert!(job(&ample.cx).unwrap() == answer, "little memory changes the answer");
    assert_eq!(ample.cx.memory().spilled(), 0);
    answer
}

#[test]
fn long_strings_are_joined_in_little_memory() {
    let rows = in_eight_mib(|cx| {
        let left = cx.range_in(0..10_000, 4).map(|n| (n % 5_000, long(n)));
        let right = cx.range_in(0..5_000, 3).map(|n| (n, long(n + 7)));
        left.shuffle_into(4)
            .join(&right)
            .map(|(key, (left, right))| (key, left.trim().to_string(), right.trim().to_string()))
            .collect()
    });
    assert_eq!(rows.len(), 10_000);
    for (key, left, right) in rows {
        assert!(number(&left) % 5_000 == key && number(&right) == key + 7, "{key} {left} {right}");
    }
}

#[test]
fn long_strings_are_grouped_in_little_memory() {
    let groups = in_eight_mib(|cx| {
        let groups = cx.range_in(0..10_000, 4).map(|n| (n % 1_000, long(n))).shuffle_into(4).group_by_key();
        groups.map_values(|texts| texts.iter().map(|text| number(text.trim())).collect::<Vec<_>>()).collect()
    });
    assert_eq!(groups.len(), 1_000);
    for (key, numbers) in groups {
        assert_eq!(numbers, (0..10).map(|n| key + n * 1_000).collect::<Vec<_>>());
    }
}

#[test]
fn long_strings_are_reduced_in_little_memory() {
    let sums = in_eight_mib(|cx| {
        let longest = cx
            .range_in(0..20_000, 4)
            .map(|n| (long(n % 9_000), long(n)))
            .shuffle_into(4)
            .reduce_by_key(|a, b| a.max(b));
        longest.map(|(key, value)| (number(key.trim()), number(value.trim()))).collect()
    });
    assert_eq!(sums.len(), 9_000);
    assert!(sums.iter().all(|(key, value)| *value == key + if *key < 2_000 { 18_000 } else { 9_000 }));
}

/// A control group with a memory limit; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// `None` if this user may not create one.
    fn new(name: &str, bytes: u64) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |controller: &str| {
            let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            lines.find(|(names, _)| names.split(',').any(|name| name == controller)).map(|(_, path)| path)
        };
        let under = |root: &str, path: &str| Path::new(root).join(path.trim_start_matches('/'));
        let name = format!("tryworks-test-{}-{}", std::process::id(), name.replace("::", "-"));
        let made = |dir: PathBuf, file: &str| {
            let dir = dir.join(&name);
            std::fs::create_dir(&dir).ok()?;
            let group = Group(dir);
            // If control groups are not mounted, this would be an ordinary file.
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
        // The process has ended, but the group may not show it yet.
        (0..1000).any(|_| {
            let removed = std::fs::remove_dir(&self.0).is_ok();
            if !removed {
                std::thread::sleep(Duration::from_millis(2));
            }
            removed
        });
    }
}

/// Runs `job` with the default settings in a control group of 300 MB, of which it needs a large part.
fn in_a_control_group(name: &str, job: impl Fn(&Context)) {
    const GROUP: u64 = 300 << 20;
    if role().is_some() {
        let dir = tempfile::tempdir().unwrap();
        let cx = Context::builder().check_rows(false).progress(false).spill_dir(dir.path()).build().unwrap();
        assert_eq!(cx.memory().limit(), GROUP / 100 * 60);
        println!("ready");
        job(&cx);
        assert!(cx.memory().spilled() > 0, "nothing was spilled");
        return;
    }
    let Some(group) = Group::new(name, GROUP) else {
        return eprintln!("skipped: a control group cannot be made here");
    };
    // The process would be killed.
    let peak = watch(Process::start_command(group.program(), name, "job"));
    assert!(peak > GROUP / 4 && peak < GROUP, "{} MiB were held", peak >> 20);
}

/// Regression: the tables of map tasks were bounded only by their number of keys.
#[test]
fn a_control_group_of_300_mb_is_enough_to_combine_large_values() {
    in_a_control_group("resident::a_control_group_of_300_mb_is_enough_to_combine_large_values", |cx| {
        const KEYS: u64 = 40_000;
        // Each task meets all keys, and each key often enough.
        let rows = cx.from_fn(4, |part| (0..2 * KEYS).map(move |n| (n / 2, long(n / 2 + u64::from(part)))));
        let longest = rows.reduce_by_key(|a, b| a.max(b)).map_values(|text| number(text.trim()));
        assert_eq!(longest.values().sum().unwrap(), KEYS * (KEYS - 1) / 2 + 3 * KEYS);
        // And keys that are large themselves.
        let rows = cx.from_fn(4, |_| (0..2 * KEYS).map(|n| (long(n / 2), 1u64)));
        assert_eq!(rows.reduce_by_key(|a, b| a + b).values().sum().unwrap(), 8 * KEYS);
    });
}

#[test]
fn a_control_group_of_300_mb_is_enough_with_the_default_settings() {
    in_a_control_group("resident::a_control_group_of_300_mb_is_enough_with_the_default_settings", |cx| {
        let rows = cx.range_in(0..2 * ROWS, 16).map(|n| (n % 20_000, wide(n)));
        let groups = rows.group_by_key().map_values(|texts| texts.iter().map(|text| number(text)).sum::<u64>());
        assert_eq!(groups.values().sum().unwrap(), ROWS * (2 * ROWS - 1));
        assert_eq!(rows.values().repartition(7).map(|text| number(&text)).sum().unwrap(), ROWS * (2 * ROWS - 1));
    });
}
