//! Blocks that are damaged from outside, and processes that die at work: lost data is recomputed, and nothing is left
//! behind.

use crate::child::{Process, role};
use crate::support::{Place, mix, names, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks::prelude::*;

/// The nameless spill files of this process in `dir`, reached through its open files.
fn spill_files(dir: &Path) -> Vec<File> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let ours = open.filter(|fd| {
        let target = std::fs::read_link(fd).unwrap_or_default();
        target.starts_with(dir) && target.to_str().is_some_and(|target| target.ends_with("(deleted)"))
    });
    ours.map(|fd| File::options().read(true).write(true).open(fd).unwrap()).collect()
}

/// Flips a bit in every hundredth byte.
fn flip(file: &File) {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.iter_mut().step_by(100).for_each(|byte| *byte ^= 4);
    file.write_all_at(&bytes, 0).unwrap();
}

fn cut(file: &File) {
    file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
}

/// Runs `work` in a process of its own, which has its spill files for itself.
fn alone(name: &str, work: impl FnOnce()) {
    if role().is_some() {
        return work();
    }
    Process::start(name, "alone").ends_well();
}

const ROWS: u64 = 40_000;

#[test]
fn a_damaged_block_is_recomputed() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    alone("lost::a_damaged_block_is_recomputed", || {
        for damage in [flip as fn(&File), cut] {
            CALLS.store(0, Relaxed);
            let place = Place::new(2, 256 << 10);
            let pairs = place.cx.range_in(0..ROWS, 6).map(|n| {
                CALLS.fetch_add(1, Relaxed);
                (mix(n) % 5_000, n)
            });
            let groups = pairs.shuffle_into(3).group_by_key();
            let mut expected = BTreeMap::<u64, Vec<u64>>::new();
            (0..ROWS).for_each(|n| expected.entry(mix(n) % 5_000).or_default().push(n));
            assert_eq!(groups.count().unwrap(), expected.len() as u64);
            assert_eq!(CALLS.load(Relaxed), ROWS);
            // Undamaged blocks are not recomputed.
            let before = groups.collect().unwrap();
            assert_eq!(CALLS.load(Relaxed), ROWS);

            let files = spill_files(place.dir.path());
            assert!(!files.is_empty());
            damage(&files[0]);
            let after = groups.collect().unwrap();
            let calls = CALLS.load(Relaxed);
            assert!(calls > ROWS && calls <= 2 * ROWS, "the map tasks of what was damaged run again: {calls} calls");
            assert!(after == before);
            assert!(after.into_iter().collect::<BTreeMap<_, _>>() == expected);
            // And the blocks are undamaged again.
            assert!(groups.collect().unwrap() == before);
            assert_eq!(CALLS.load(Relaxed), calls);
            drop((groups, pairs, files));
            place.is_clean();
        }
    });
}

#[test]
fn all_is_recomputed_when_all_spill_files_are_damaged() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    alone("lost::all_is_recomputed_when_all_spill_files_are_damaged", || {
        let place = Place::new(2, 256 << 10);
        let pairs = place.cx.range_in(0..ROWS, 3).map(|n| {
            CALLS.fetch_add(1, Relaxed);
            (mix(n), n)
        });
        // Two shuffles, one after the other.
        let groups = pairs.shuffle_into(2).reduce_by_key(|a, b| a + b);
        let sorted = groups.map(|(key, n)| (n, key)).shuffle_into(4).sort_by_key();
        assert_eq!(sorted.count().unwrap(), ROWS);
        assert_eq!(CALLS.load(Relaxed), ROWS);
        let files = spill_files(place.dir.path());
        assert!(files.len() > 1);
        files.iter().for_each(flip);
        let found = sorted.collect().unwrap();
        assert!(CALLS.load(Relaxed) > ROWS);
        assert!(found.into_iter().eq((0..ROWS).map(|n| (n, mix(n)))));
        drop((pairs, groups, sorted, files));
        place.is_clean();
    });
}

#[test]
fn a_damaged_cache_is_recomputed() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    alone("lost::a_damaged_cache_is_recomputed", || {
        let place = Place::new(2, 256 << 10);
        let kept = place.cx.range_in(0..ROWS, 4).map(|n| {
            CALLS.fetch_add(1, Relaxed);
            mix(n)
        });
        let kept = kept.persist(StorageLevel::Disk);
        assert_eq!(kept.count().unwrap(), ROWS);
        assert_eq!(
            kept.filter(|n| n % 2 == 0).count().unwrap(),
            (0..ROWS).map(mix).filter(|n| n.is_multiple_of(2)).count() as u64
        );
        assert_eq!(CALLS.load(Relaxed), ROWS);
        let files = spill_files(place.dir.path());
        cut(&files[0]);
        flip(&files[1]);
        assert!(kept.collect().unwrap().into_iter().eq((0..ROWS).map(mix)));
        assert!(CALLS.load(Relaxed) > ROWS);
        drop((kept, files));
        place.is_clean();
    });
}

#[test]
fn a_damaged_cache_behind_a_damaged_shuffle_is_recomputed() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    alone("lost::a_damaged_cache_behind_a_damaged_shuffle_is_recomputed", || {
        let place = Place::new(2, 256 << 10);
        let pairs = place.cx.range_in(0..ROWS, 3).map(|n| {
            CALLS.fetch_add(1, Relaxed);
            (mix(n), n)
        });
        let kept = pairs.shuffle_into(2).reduce_by_key(|a, b| a + b).persist(StorageLevel::Disk);
        let later = kept.map(|(key, n)| (n, key)).shuffle_into(3).sort_by_key().persist(StorageLevel::Disk);
        assert_eq!(later.count().unwrap(), ROWS);
        let before = kept.collect().unwrap();
        assert_eq!(CALLS.load(Relaxed), ROWS);
        // Cached partitions are damaged, and so is everything that they were made from.
        let files = spill_files(place.dir.path());
        assert!(!files.is_empty());
        files.iter().for_each(flip);
        assert!(kept.collect().unwrap() == before);
        assert!(CALLS.load(Relaxed) > ROWS);
        let files = spill_files(place.dir.path());
        files.iter().for_each(flip);
        assert!(later.collect().unwrap().into_iter().eq((0..ROWS).map(|n| (n, mix(n)))));
        drop((pairs, kept, later, files));
        place.is_clean();
    });
}

/// Begins to sort more rows than will ever be sorted, and reports when some of them have been spilled.
fn spill_for_ever() -> (Context, Job<u64>) {
    let builder = Context::builder().threads(2).memory(1 << 20).spill_dir(role().unwrap()).progress(false);
    let cx = builder.compress_spills(false).build().unwrap();
    let job = cx.range_in(0..1 << 40, 4).map(|n| (mix(n), n)).sort_by_key().background().count().unwrap();
    wait_until("it is so", || cx.spill_bytes() > 1 << 20);
    println!("spilling");
    (cx, job)
}

/// Starts `name` in a process that spills to a directory of its own, ends it by `end`, and returns what is left.
fn dies(name: &str, end: impl FnOnce(&mut Process)) -> std::process::ExitStatus {
    let dir = tempfile::tempdir().unwrap();
    // A background process of a script ignores interrupts, and so do its children unless they are told otherwise.
    let mut program = Command::new("/usr/bin/env");
    program.arg("--default-signal=INT").arg(std::env::current_exe().unwrap());
    let mut process = Process::start_command(program, name, dir.path().to_str().unwrap());
    process.line("spilling");
    let pid = process.child.id();
    assert_eq!(names(dir.path()), [""; 0], "spill files have no names");
    end(&mut process);
    let status = process.child.wait().unwrap();
    assert_eq!(names(dir.path()), [""; 0], "something was left");
    assert!(!is_alive(pid), "the process was left");
    status
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn signal(process: &mut Process, signal: Signal) {
    assert!(process.child.try_wait().unwrap().is_none(), "it was to be in the middle of its work");
    kill_process(Pid::from_child(&process.child), signal).unwrap();
}

#[test]
fn a_killed_process_leaves_nothing() {
    if role().is_some() {
        let (_cx, job) = spill_for_ever();
        job.wait().unwrap();
    } else {
        let status = dies("lost::a_killed_process_leaves_nothing", |process| signal(process, Signal::KILL));
        assert_eq!(status.signal(), Some(9));
    }
}

#[test]
fn an_interrupted_process_leaves_nothing() {
    if role().is_some() {
        let (_cx, job) = spill_for_ever();
        job.wait().unwrap();
    } else {
        let status = dies("lost::an_interrupted_process_leaves_nothing", |process| signal(process, Signal::INT));
        assert_eq!(status.signal(), Some(2));
    }
}

#[test]
fn a_driver_that_panics_leaves_nothing() {
    if role().is_some() {
        let (_cx, _job) = spill_for_ever();
        panic!("the driver's own mistake");
    }
    let status = dies("lost::a_driver_that_panics_leaves_nothing", |_| {});
    assert_eq!(status.code(), Some(101), "the code of a failed test");
}

#[test]
fn a_driver_that_exits_in_the_middle_leaves_nothing() {
    if role().is_some() {
        let (_cx, _job) = spill_for_ever();
        std::process::exit(3);
    }
    let status = dies("lost::a_driver_that_exits_in_the_middle_leaves_nothing", |_| {});
    assert_eq!(status.code(), Some(3));
}

const PARTS: u64 = 400;
const LINES: u64 = 4_000;

#[test]
fn a_killed_save_has_no_half_parts() {
    let lines = |part: u64| (part * LINES..(part + 1) * LINES).map(|n| format!("line {n}\n")).collect::<String>();
    if let Some(dir) = role() {
        let cx = Context::local(2).unwrap();
        cx.range_in(0..PARTS * LINES, PARTS as u32).map(|n| format!("line {n}")).save_as_text_file(&dir).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut process = Process::start("lost::a_killed_save_has_no_half_parts", out.to_str().unwrap());
    wait_until("it is so", || out.exists() && names(&out).iter().filter(|name| name.starts_with("part-")).count() > 3);
    signal(&mut process, Signal::KILL);
    assert_eq!(process.child.wait().unwrap().signal(), Some(9), "it was to be in the middle of saving");
    let all = names(&out);
    let (parts, others): (Vec<_>, Vec<_>) = all.iter().partition(|name| name.starts_with("part-"));
    assert!(parts.len() > 3 && parts.len() < PARTS as usize, "{} parts", parts.len());
    for name in parts {
        let part = name["part-".len()..].parse().unwrap();
        assert!(std::fs::read_to_string(out.join(name)).unwrap() == lines(part), "{name} is not whole");
    }
    let is_work = |name: &&String| *name == ".saving" || name.starts_with(".saving-");
    assert!(others.iter().all(is_work), "nothing says that all is there: {others:?}");
    // A program that wants to save there is told what to do, and can do it.
    let cx = Context::local(2).unwrap();
    let error = cx.range(0..10).save_as_text_file(&out).unwrap_err().to_string();
    assert!(error.contains("ended before it was done") && error.contains(out.to_str().unwrap()), "{error}");
    std::fs::remove_dir_all(&out).unwrap();
    cx.range(0..10).save_as_text_file(&out).unwrap();
}

#[test]
fn relative_paths_are_those_of_where_the_call_is_made() {
    let (old, new) = ("old/a.txt", "new/a.txt");
    if role().is_some() {
        // The whole process changes its directory, so the test is a process of its own.
        std::env::set_current_dir("old").unwrap();
        let builder = Context::builder().threads(2).memory(64 << 10).progress(false);
        let builder = builder.spill_dir("spill").event_log("log.json");
        let (files, globbed) =
            (|cx: &Context| cx.text_file("a.txt"), |cx: &Context| cx.text_file("../{old,none}/*.txt"));
        std::env::set_current_dir("../new").unwrap();
        let cx = builder.build().unwrap();
        std::env::set_current_dir("../old").unwrap();
        let (lines, found, sent) = (files(&cx), globbed(&cx), cx.read(text("a.txt").from_driver()));
        let gone = cx.text_file("missing.txt");
        let gate = lines.map_partitions(|lines| {
            // The process is in another directory by the time that tasks run.
            std::env::set_current_dir("../new").unwrap();
            lines
        });
        gate.save_as_text_file("out").unwrap();
        assert!(std::env::current_dir().unwrap().ends_with("new"));
        for lines in [lines.collect(), found.collect(), sent.collect()] {
            assert_eq!(lines.unwrap(), [old]);
        }
        assert!(lines.explain().unwrap().contains("text_file (a.txt, 1 split)"), "{}", lines.explain().unwrap());
        assert!(gone.count().unwrap_err().to_string().contains("cannot read missing.txt"));
        let many = cx.range_in(0..50_000, 4).map(|n| (n % 20_000, n.to_string())).group_by_key();
        assert_eq!(many.values().map(|all| all.len()).sum().unwrap(), 50_000);
        assert!(cx.memory().spilled() > 0);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, inner) in [(old, "old/spill"), (new, "new")] {
        std::fs::create_dir_all(dir.path().join(inner)).unwrap();
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    let here = "lost::relative_paths_are_those_of_where_the_call_is_made";
    Process::start_in(dir.path(), here, "relative").ends_well();
    assert_eq!(names(&dir.path().join("new")), ["a.txt"]);
    assert_eq!(names(&dir.path().join("old")), ["a.txt", "log.json", "out", "spill"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("old/out/part-00000")).unwrap(), format!("{old}\n"));
}

#[test]
fn a_failed_or_cancelled_save_leaves_no_part() {
    let cx = Context::local(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let rows = cx.range_in(0..200_000, 50);
    let error = rows.map(|n| format!("{}", 1 / (150_000 - n))).save_as_text_file(&out).unwrap_err();
    assert!(matches!(&error, Error::User(fault) if fault.panicked), "{error}");
    assert_eq!(names(dir.path()), [""; 0], "parts were saved before the failure, and none is left");

    static BEGUN: AtomicU64 = AtomicU64::new(0);
    let slow = rows.map(|n| {
        BEGUN.fetch_add(1, Relaxed);
        std::thread::sleep(std::time::Duration::from_micros(10));
        n
    });
    let job = slow.background().save_as_text_file(&out).unwrap();
    wait_until("it is so", || out.exists() && names(&out).iter().any(|name| name.starts_with("part-")));
    job.cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled)));
    assert!(BEGUN.load(Relaxed) < 200_000);
    // A task that was in the middle of a part removes its temporary file when it stops.
    wait_until("it is so", || names(dir.path()).is_empty());

    // The place works as before.
    rows.save_as_text_file(&out).unwrap();
    assert_eq!(cx.text_file(&out).count().unwrap(), 200_000);
}
