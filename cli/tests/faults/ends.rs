//! How jobs end that are cancelled, too large, or cannot run: with an error that has advice, and without a trace.

use crate::here;
use crate::rig::{Cluster, Engine, SmallDisk, block_files, driving, gate, mark, path, until};
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks::prelude::*;
use tryworks_testing::mix;

#[test]
fn a_cancelled_job_stops_all_of_its_tasks() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.from_fn(8, |part| {
            mark(format!("part-{part}"));
            if part == 2 {
                mark("running");
                // It never checks whether it has to stop.
                loop {
                    std::hint::spin_loop();
                }
            }
            if part == 3 {
                mark("running");
            }
            // It checks after every batch.
            (0..).take_while(move |n| part == 3 || *n < 10)
        });
        let kept = rows.filter(|n| n % 2 == 0).cache();
        let job = kept.background().count().unwrap();
        gate("cancel");
        job.cancel();
        assert!(matches!(job.wait(), Err(Error::Cancelled)));
        mark("cancelled");
        assert_eq!(cx.range_in(0..100, 8).map(|n| n * 2).sum().unwrap(), 9_900);
        // Without the gate, the free engine could run all these tasks before the other engine has killed its worker.
        gate("end");
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("running", 2);
    until("two are done", || (cluster.status()["running"][0]["progress"]["partitions_done"] == 2).then_some(()));
    let workers: Vec<u32> = cluster.shared.markers("running");
    cluster.shared.open("cancel");
    driver.says("was killed because a task did not stop within 3s of being asked to");
    let left = || workers.iter().filter(|pid| cluster.processes().contains(pid)).count();
    until("the one that never looked is gone", || (left() == 1).then_some(()));
    cluster.shared.open("end");
    let done = driver.ends_well();
    let told =
        done.err.split_once("job 1 was cancelled: 2 partitions were done, ").unwrap_or_else(|| panic!("{}", done.err));
    let (with_engines, rest) = told.1.split_once(" were on engines and are stopped, ").unwrap();
    let with_engines: u32 = with_engines.parse().unwrap();
    // The engine itself decides how many tasks it holds in advance.
    assert!(with_engines >= 2 && rest.starts_with(&format!("{} had not been given out", 6 - with_engines)), "{rest}");
    (4..8).for_each(|part| assert_eq!(cluster.shared.marks(&format!("part-{part}")), 0, "{part} never began"));
    cluster.is_clean();
}

#[test]
fn results_have_a_limit_and_large_ones_are_fetched_or_recomputed() {
    if driving() {
        let cx = Context::init().unwrap();
        let large = cx.range_in(0..4, 4).map(|n| {
            mark(format!("part-{n}"));
            vec![n as u8; 3 << 20]
        });
        let job = large.background().collect().unwrap();
        gate("fetch");
        match job.wait() {
            Ok(found) => assert!(found == (0..4).map(|n| vec![n; 3 << 20]).collect::<Vec<_>>(), "the answer is wrong"),
            Err(error) => println!("ERROR {error}"),
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    let sealed = |block: &std::path::PathBuf| block.extension().is_none();
    let blocks = until("results are there", || {
        Some(cluster.block_files()).filter(|blocks| blocks.len() == 4 && blocks.iter().all(sealed))
    });
    until("the job has ended", || cluster.status()["running"].as_array().unwrap().is_empty().then_some(()));
    blocks[..2].iter().for_each(|block| fs::remove_file(block).unwrap());
    cluster.shared.open("fetch");
    driver.ends_well();
    let runs: usize = (0..4).map(|part| cluster.shared.marks(&format!("part-{part}"))).sum();
    assert_eq!(runs, 6, "two results were recomputed");
    cluster.is_clean();

    let done = cluster.begin(here!(), &[("TRYWORKS_MAX_RESULT_BYTES", "7M")]).ends_well();
    assert!(done.out.contains("ERROR limit max_result_bytes (7340032) reached"), "{}", done.out);
    cluster.is_clean();
}

#[test]
fn saving_at_the_driver_has_the_limit_of_results() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..8_000, 8).map(|n| format!("{n:0100}"));
        match rows.to_driver().save_as_text_file(path("out")) {
            Ok(()) => assert_eq!(fs::read_dir(path("out")).unwrap().count(), 8 + 1),
            Err(error) => {
                assert!(matches!(error, Error::Limit { .. }) && !path("out").exists(), "{error}");
                println!("ERROR {error}");
            }
        }
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let done = cluster.begin(here!(), &[("TRYWORKS_MAX_RESULT_BYTES", "400K")]).ends_well();
    assert!(done.out.contains("ERROR limit max_result_bytes (409600) reached"), "{}", done.out);
    cluster.is_clean();
    let done = cluster.drive(here!());
    assert!(!done.out.contains("ERROR"), "{}", done.out);
}

/// Caches and shuffles more than fits, each as `TRYWORKS_TEST_WORK` says, and then something that fits.
fn fill() {
    let cx = Context::init().unwrap();
    // These rows cannot be compressed.
    let rows = cx.range_in(0..80_000, 4).map(|n| (n, (0..12).map(|i| mix(n * 12 + i)).collect::<Vec<_>>()));
    let work = std::env::var("TRYWORKS_TEST_WORK").unwrap();
    let error = match work.as_str() {
        "program" => return println!("ERROR {}", rows.count().unwrap_err()),
        "shuffle" => rows.repartition(3).count().unwrap_err(),
        _ => rows.persist(StorageLevel::Disk).count().unwrap_err(),
    };
    println!("ERROR {error}");
    assert_eq!(cx.range_in(0..1_000, 4).map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b).count().unwrap(), 3);
}

#[test]
fn a_full_disk_is_an_error_that_names_its_place() {
    if driving() {
        return fill();
    }
    // Not even the program fits, and the error says so.
    let Some(small) = SmallDisk::mount("1M") else { return };
    let directory = small.0.join("e");
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    cluster.add("engine-1", Engine { slots: 1, directory: Some(&directory), ..Engine::default() });
    cluster.wait_for_engines(1);
    let done = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "program")]).ends_well();
    let (copies, whole) = (directory.join("programs"), fs::metadata(std::env::current_exe().unwrap()).unwrap().len());
    let told = format!("copying the program failed at {}: No space left", copies.display());
    assert!(done.out.contains(&told), "{}", done.out);
    assert!(done.out.contains(&format!("; {whole} bytes more were needed, ")), "{}", done.out);
    assert!(done.out.contains(" bytes of that disk are free"), "{}", done.out);
    assert!(!done.out.contains("process 0") && !done.out.contains("0 MiB"), "{}", done.out);
    drop((cluster, small));

    let program = fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
    let Some(disk) = SmallDisk::mount(&format!("{}", program + (4 << 20))) else { return };
    let directory = disk.0.join("e");
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    cluster.add("engine-1", Engine { slots: 2, directory: Some(&directory), ..Engine::default() });
    cluster.wait_for_engines(1);
    for (work, doing) in [("shuffle", "writing a block"), ("keep", "writing")] {
        let done = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", work)]).ends_well();
        let error = done.out.split_once("ERROR ").unwrap().1.lines().next().unwrap();
        assert!(error.starts_with(doing) && error.contains(directory.to_str().unwrap()), "{error}");
        assert!(error.contains("No space left") && error.contains("bytes more were needed"), "{error}");
        until("nothing half-written is left", || block_files(&directory).is_empty().then_some(()));
    }
    drop(cluster);
}

#[test]
fn a_quota_of_blocks_is_kept() {
    if driving() {
        return fill();
    }
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    cluster.add("engine-1", Engine { slots: 2, quota: Some("1M"), ..Engine::default() });
    cluster.wait_for_engines(1);
    let done = cluster.begin(here!(), &[("TRYWORKS_TEST_WORK", "shuffle")]).ends_well();
    assert!(done.out.contains("ERROR limit block_quota (1048576) reached: "), "{}", done.out);
    assert!(done.out.contains("bytes more of blocks in "), "{}", done.out);
    cluster.is_clean();
}

/// A value that refuses to be sent.
#[derive(Clone)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it does not want to leave"))
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Stubborn)
    }
}

#[test]
fn errors_of_bad_input_and_unsendable_results_are_complete() {
    if driving() {
        let cx = Context::init().unwrap();
        let text = cx.text_file(path("gone"));
        fs::remove_file(path("gone")).unwrap();
        println!("GONE {}", text.count().unwrap_err());
        println!("BAD {}", cx.text_file(path("bad")).count().unwrap_err());
        println!("STUBBORN {}", cx.range_in(0..3, 2).map(|_| Stubborn).collect().map(|_| ()).unwrap_err());
        let threads: Vec<_> = std::thread::scope(|scope| {
            let cx = &cx;
            let jobs: Vec<_> = (0..6u64)
                .map(|by| scope.spawn(move || cx.range_in(0..1_000, 5).with(by).map(|by, n| n * by).sum().unwrap()))
                .collect();
            jobs.into_iter().map(|job| job.join().unwrap()).collect()
        });
        assert_eq!(threads, (0..6).map(|by| by * 499_500).collect::<Vec<_>>(), "many threads submit at once");
        return;
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    fs::write(cluster.shared.0.join("gone"), "one\ntwo\n").unwrap();
    fs::write(cluster.shared.0.join("bad"), b"one\ntwo\n\xff\n").unwrap();
    let done = cluster.drive(here!());
    let line = |word: &str| {
        done.out.lines().find_map(|line| line.split_once(word)).unwrap_or_else(|| panic!("{}", done.out)).1
    };
    let file = |name: &str| cluster.shared.0.join(name).display().to_string();
    assert!(line("GONE ").contains(&file("gone")) && line("GONE ").contains("No such file"), "{}", line("GONE "));
    assert!(line("BAD ").starts_with(&format!("{}, byte 8: ", file("bad"))), "{}", line("BAD "));
    assert!(line("STUBBORN ").contains("Stubborn") && line("STUBBORN ").contains("it does not want to leave"));
}

#[test]
fn a_program_that_does_not_start_fails_with_its_output() {
    if driving() {
        if std::env::var_os("TRYWORKS_WORKER").is_some() {
            eprintln!("the licence has expired");
            std::process::exit(3);
        }
        let cx = Context::init().unwrap();
        println!("ERROR {}", cx.range_in(0..4, 2).map(|n| n).sum().unwrap_err());
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let done = cluster.drive(here!());
    assert!(done.out.contains("ERROR the program does not start on engine-1 on "), "{}", done.out);
    assert!(done.out.contains("ended by itself (exit code 3) before it came to `Context::init()`"), "{}", done.out);
    assert!(done.out.contains("the licence has expired"), "{}", done.out);
}

#[test]
fn output_of_tasks_reaches_the_driver_whole_and_in_order() {
    const LINES: u64 = 100_000;
    if driving() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..LINES, 12).map(|n| {
            println!("line {n} which is number {}", COUNT.fetch_add(1, Relaxed));
            if n % 1_000 == 0 {
                eprintln!("thousand {n}");
            }
            if n == LINES - 1 {
                print!("these are the last words");
            }
            n
        });
        assert_eq!(rows.count().unwrap(), LINES);
        return;
    }
    let cluster = Cluster::by_hand(3, 1, &[]);
    let done = cluster.drive(here!());
    let mut seen = vec![0; LINES as usize];
    let mut next = std::collections::BTreeMap::<String, u64>::new();
    for line in done.out.lines().filter(|line| line.contains(" which is number ")) {
        // The first line of a worker's output begins with text of its harness.
        let (prefix, rest) = line.split_once("] ").unwrap();
        let rest = rest.split_once("line ").unwrap().1;
        assert!(prefix.starts_with("[engine-") && prefix.contains(" worker "), "{line}");
        let (n, number) = rest.split_once(" which is number ").unwrap();
        seen[n.parse::<usize>().unwrap()] += 1;
        let next = next.entry(prefix.into()).or_default();
        assert_eq!(number.parse::<u64>().unwrap(), *next, "the lines of a worker come in order");
        *next += 1;
    }
    assert!(seen.iter().all(|times| *times == 1), "each line comes once");
    assert!(next.len() > 1, "several workers wrote");
    assert!(done.out.contains("these are the last words"), "a line without an end comes too");
    let thousands = done.err.lines().filter(|line| line.contains("] thousand ")).count();
    assert_eq!(thousands as u64, LINES / 1_000);
}
