//! Jobs as a user drives them: in the background, side by side, cancelled, watched, and written down in an event log.

use crate::support::{Gate, cx, fault, sorted, wait_until};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tryworks::event_log::{EventLog, Record};
use tryworks::prelude::*;

#[test]
fn actions_in_the_background_give_what_they_give_in_front() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..1000, 8);
    let jobs = (
        n.background().collect()?,
        n.background().count()?,
        n.background().sum()?,
        n.background().reduce(|a, b| a.max(b))?,
        n.background().fold(0, |a, b| a ^ b)?,
        n.background().take_ordered_by(2, |n| std::cmp::Reverse(*n))?,
        n.background().aggregate(0u64, |a, _| a + 1, |a, b| a + b)?,
        n.background().for_each(|_| {})?,
    );
    jobs.7.wait()?;
    assert_eq!((jobs.6.wait()?, jobs.5.wait()?), (1000, vec![999, 998]));
    assert_eq!((jobs.4.wait()?, jobs.3.wait()?), ((0..1000).fold(0, |a, b| a ^ b), Some(999)));
    assert_eq!((jobs.2.wait()?, jobs.1.wait()?, jobs.0.wait()?), (499_500, 1000, (0..1000).collect::<Vec<_>>()));
    Ok(())
}

#[test]
fn jobs_have_numbers_of_their_own() -> Result<()> {
    let cx = cx();
    let (a, b) = (cx.range(0..3).background().count()?, cx.range(0..3).background().count()?);
    assert_ne!(a.id(), b.id());
    assert_eq!((a.wait()?, b.wait()?), (3, 3));
    Ok(())
}

#[test]
fn many_threads_submit_jobs_at_once() {
    const THREADS: u64 = 16;
    let cx = Context::local(3).unwrap();
    let together = Barrier::new(THREADS as usize);
    let shared = cx.range_in(0..1000, 4).key_by(|n| n % 10).reduce_by_key(|a, b| a + b);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cx, together, shared) = (&cx, &together, &shared);
            scope.spawn(move || {
                together.wait();
                for round in 0..10 {
                    let end = thread * 100 + round;
                    let own = cx.range_in(0..end, 3).map(|n| (n % 7, 1u64)).reduce_by_key(|a, b| a + b);
                    let expected: Vec<(u64, u64)> =
                        (0..7).map(|k| (k, (0..end).filter(|n| n % 7 == k).count() as u64)).collect();
                    let expected: Vec<_> = expected.into_iter().filter(|(_, n)| *n > 0).collect();
                    assert_eq!(own.collect().map(sorted), Ok(expected));
                    assert_eq!(shared.values().sum(), Ok(499_500));
                    let failing = cx.range(0..3).map(|n| if n == 1 { panic!("boom") } else { n });
                    assert_eq!(fault(failing.count().unwrap_err()).message, "boom");
                }
            });
        }
    });
}

#[test]
fn a_cancelled_job_says_so_and_its_running_task_really_stops() -> Result<()> {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static STOPPED: AtomicBool = AtomicBool::new(false);
    struct Stop;
    impl Drop for Stop {
        fn drop(&mut self) {
            STOPPED.store(true, Relaxed);
        }
    }
    let cx = cx();
    let endless = cx.from_fn(1, |_| {
        let stop = Stop;
        std::iter::repeat_with(move || {
            let _ = &stop;
            BEGUN.store(true, Relaxed);
        })
    });
    let job = endless.background().count()?;
    wait_until("the task runs", || BEGUN.load(Relaxed));
    assert!(!STOPPED.load(Relaxed));
    job.cancel();
    job.cancel();
    assert_eq!(job.wait(), Err(Error::Cancelled));
    wait_until("the task has stopped", || STOPPED.load(Relaxed));
    assert_eq!(cx.range(0..10).count()?, 10);
    Ok(())
}

#[test]
fn a_cancel_stops_tasks_inside_every_kind_of_stage() -> Result<()> {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    struct Run;
    impl Drop for Run {
        fn drop(&mut self) {
            RUNNING.fetch_sub(1, Relaxed);
        }
    }
    fn numbers() -> impl Iterator<Item = u64> + Send {
        RUNNING.fetch_add(1, Relaxed);
        let run = Run;
        (0u64..).map(move |n| {
            let _ = &run;
            n % 1000
        })
    }
    let cx = cx();
    let endless = cx.from_fn(1, |_| numbers());
    let one = cx.range(0..1);
    let copies = endless.sample_with_replacement(1e6, 1).sample_with_replacement(1e6, 2);
    let pairs = endless.map(|n| (n, ()));
    // One after another: a job that is cancelled before it begins would show nothing.
    let kinds: [&dyn Fn() -> Result<Job<()>>; _] = [
        &|| endless.background().for_each(|_| {}),
        &|| endless.filter(|_| false).background().for_each(|_| {}),
        &|| endless.map(|_| 0).distinct().background().for_each(|_| {}),
        &|| pairs.reduce_by_key(|(), ()| ()).background().for_each(|_| {}),
        &|| pairs.filter(|_| false).sort_by_key().background().for_each(|_| {}),
        &|| pairs.filter(|_| false).join(&pairs.filter(|_| false)).background().for_each(|_| {}),
        &|| endless.filter(|_| false).repartition(2).background().for_each(|_| {}),
        &|| endless.zip(&endless).background().for_each(|_| {}),
        &|| endless.boxed().filter(|_| false).boxed().background().for_each(|_| {}),
        &|| endless.filter(|_| false).cache().background().for_each(|_| {}),
        &|| endless.filter(|_| false).zip(&endless).background().for_each(|_| {}),
        &|| endless.map_partitions(|items| items.filter(|_| false)).background().for_each(|_| {}),
        &|| endless.map_partitions(|items| [items.count()]).background().for_each(|_| {}),
        &|| one.flat_map(|_| numbers()).filter(|_| false).background().for_each(|_| {}),
        &|| one.try_flat_map(|_| Ok(numbers())).filter(|_| false).background().for_each(|_| {}),
        &|| one.boxed().flat_map(|_| numbers()).boxed().filter(|_| false).boxed().background().for_each(|_| {}),
        &|| copies.filter(|_| false).background().for_each(|_| {}),
    ];
    for start in kinds {
        let job = start()?;
        wait_until("its task runs", || RUNNING.load(Relaxed) > 0);
        job.cancel();
        assert_eq!(job.wait(), Err(Error::Cancelled));
        wait_until("its task has stopped", || RUNNING.load(Relaxed) == 0);
    }
    assert_eq!(cx.range(0..10).count()?, 10);
    Ok(())
}

#[test]
fn a_job_whose_handle_is_dropped_is_cancelled() -> Result<()> {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    static BEGUN: AtomicBool = AtomicBool::new(false);
    struct Stop;
    impl Drop for Stop {
        fn drop(&mut self) {
            STOPPED.store(true, Relaxed);
        }
    }
    let cx = cx();
    let endless = cx.from_fn(1, |_| {
        BEGUN.store(true, Relaxed);
        let stop = Stop;
        (0u64..).inspect(move |_| {
            let _ = &stop;
        })
    });
    let job = endless.background().count()?;
    wait_until("the task runs", || BEGUN.load(Relaxed));
    drop(job);
    wait_until("the task has stopped", || STOPPED.load(Relaxed));
    Ok(())
}

#[test]
fn a_cancel_after_the_end_changes_nothing() -> Result<()> {
    let cx = cx();
    let job = cx.range_in(0..100, 4).background().count()?;
    wait_until("it is done", || job.progress().partitions_done == 4);
    wait_until("nothing runs", || job.progress().running == 0);
    // The last report and the end of the job are one step.
    job.cancel();
    assert_eq!(job.wait(), Ok(100));
    Ok(())
}

#[test]
fn a_job_of_no_partitions_is_done_at_once_and_may_be_cancelled() -> Result<()> {
    let cx = cx();
    let none = cx.from_fn(0, |_| [0u8]);
    let job = none.background().count()?;
    assert_eq!(job.progress().partitions, 0);
    job.cancel();
    assert_eq!(job.wait(), Ok(0));
    assert_eq!(none.background().collect()?.wait(), Ok(vec![]));
    drop(none.background().count()?);
    Ok(())
}

#[test]
fn a_stage_shared_by_two_jobs_outlives_the_cancel_of_one() -> Result<()> {
    static GATE: Gate = Gate::new();
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let sums = cx
        .range_in(0..400, 4)
        .map(|n| {
            ITEMS.fetch_add(1, Relaxed);
            GATE.pass();
            (n % 3, n)
        })
        .reduce_by_key(|a, b| a + b);
    let first = sums.background().collect()?;
    wait_until("map tasks run", || ITEMS.load(Relaxed) == 2);
    let second = sums.background().collect()?;
    first.cancel();
    assert_eq!(first.wait(), Err(Error::Cancelled));
    GATE.open();
    let expected: Vec<(u64, u64)> = (0..3).map(|k| (k, (0..400).filter(|n| n % 3 == k).sum())).collect();
    assert_eq!(sorted(second.wait()?), expected);
    assert_eq!(ITEMS.load(Relaxed), 400, "no map task was run twice");
    assert_eq!(sorted(sums.collect()?), expected);
    assert_eq!(ITEMS.load(Relaxed), 400, "the blocks are there");
    Ok(())
}

#[test]
fn two_jobs_at_once_run_a_stage_that_both_need_once() -> Result<()> {
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    static GATE: Gate = Gate::new();
    let cx = cx();
    let sums = cx
        .range_in(0..100, 5)
        .map(|n| {
            GATE.pass();
            ITEMS.fetch_add(1, Relaxed);
            (n % 3, n)
        })
        .reduce_by_key(|a, b| a + b);
    let (count, sum) = (sums.background().count()?, sums.values().background().sum()?);
    GATE.open();
    assert_eq!((sum.wait()?, count.wait()?), (4950, 3));
    assert_eq!(ITEMS.load(Relaxed), 100);
    Ok(())
}

#[test]
fn a_diamond_runs_its_shared_stage_once() -> Result<()> {
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let sums = cx
        .range_in(0..100, 5)
        .map(|n| {
            ITEMS.fetch_add(1, Relaxed);
            (n % 10, n)
        })
        .reduce_by_key(|a, b| a + b);
    let halves = sums.map(|(k, n)| (k / 2, n)).reduce_by_key(|a, b| a + b);
    let thirds = sums.map(|(k, n)| (k / 3, n)).reduce_by_key(|a, b| a + b);
    let joined = halves.join(&thirds);
    let of = |key: u64, by: u64| (0..100).filter(|n| n % 10 / by == key).sum::<u64>();
    let expected: Vec<_> = (0..4).map(|key| (key, (of(key, 2), of(key, 3)))).collect();
    assert_eq!(sorted(joined.collect()?), expected);
    assert_eq!(ITEMS.load(Relaxed), 100);
    // A second action finds all blocks there.
    assert_eq!(sorted(joined.collect()?), expected);
    assert_eq!(ITEMS.load(Relaxed), 100);
    Ok(())
}

#[test]
fn a_second_action_over_several_shuffles_runs_none_of_them_again() -> Result<()> {
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    let cx = cx();
    let counted = cx.range_in(0..300, 5).map(|n| {
        ITEMS.fetch_add(1, Relaxed);
        (n % 20, n)
    });
    let sizes = counted.group_by_key().map(|(_, all)| (all.len(), 1u64)).reduce_by_key(|a, b| a + b).sort_by_key();
    for _ in 0..3 {
        assert_eq!(sizes.collect()?, [(15, 20)]);
        assert_eq!(sizes.map(|(n, m)| n as u64 * m).sum()?, 300);
    }
    assert_eq!(ITEMS.load(Relaxed), 300);
    Ok(())
}

#[test]
fn progress_counts_every_partition_of_every_stage() -> Result<()> {
    static GATE: Gate = Gate::new();
    let cx = cx();
    let sums = cx.range_in(0..100, 6).map(|n| (n % 3, n)).shuffle_into(4).reduce_by_key(|a, b| a + b);
    let held = sums.map(|pair| {
        GATE.pass();
        pair
    });
    let job = held.background().count()?;
    wait_until("the map stage is done", || job.progress().stages_done == 1);
    let now = job.progress();
    assert_eq!((now.stages, now.partitions, now.failed), (2, 10, 0));
    assert!((6..10).contains(&now.partitions_done), "{now:?}");
    GATE.open();
    wait_until("all is done", || job.progress().partitions_done == 10);
    let now = job.progress();
    assert_eq!((now.stages_done, now.stages, now.running), (2, 2, 0));
    assert_eq!(job.wait()?, 3);

    // The map stage is not run again, so it does not count.
    let job = held.background().count()?;
    assert_eq!((job.progress().stages, job.progress().partitions), (1, 4));
    assert_eq!(job.wait()?, 3);
    Ok(())
}

#[test]
fn progress_counts_what_failed() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static GATE: Gate = Gate::new();
    let cx = Context::builder().threads(2).max_attempts(3).progress(false).build()?;
    let flaky = cx.range_in(0..2, 2).map(|n| {
        assert!(n == 1 || RUNS.fetch_add(1, Relaxed) == 2, "not yet");
        if n == 1 {
            GATE.pass();
        }
        n
    });
    let job = flaky.background().count()?;
    wait_until("two attempts have failed", || job.progress().failed == 2);
    GATE.open();
    assert_eq!(job.wait()?, 2);
    Ok(())
}

#[test]
fn a_context_that_stops_ends_its_jobs() -> Result<()> {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    let cx = cx();
    let endless = cx.from_fn(1, |_| {
        BEGUN.store(true, Relaxed);
        0u64..
    });
    let job = endless.background().count()?;
    wait_until("the task runs", || BEGUN.load(Relaxed));
    cx.stop();
    assert_eq!(job.wait(), Err(Error::Stopped));
    assert_eq!(endless.count(), Err(Error::Stopped));
    Ok(())
}

#[test]
fn datasets_outlive_the_handle_of_their_context() -> Result<()> {
    fn words(cx: &Context) -> Dataset<impl Pipe<Item = String> + use<>> {
        cx.parallelize(["call", "me", "ishmael"].map(String::from)).map(|word| word.to_uppercase())
    }
    fn lengths() -> Result<Dataset<impl Pipe<Item = (usize, u64)>>> {
        let cx = Context::local(2)?;
        Ok(words(&cx).map(|word| (word.len(), 1)).reduce_by_key(|a, b| a + b))
    }
    let data = words(&Context::local(1)?);
    assert_eq!(data.collect()?, ["CALL", "ME", "ISHMAEL"]);
    assert_eq!(sorted(lengths()?.collect()?), [(2, 1), (4, 1), (7, 1)]);
    Ok(())
}

#[test]
fn the_event_log_tells_of_every_job_stage_and_task() -> Result<()> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("events.jsonl");
    let cx = Context::builder().threads(2).event_log(&path).progress(false).build()?;
    let sums = cx.range_in(0..1000, 7).map(|n| (n % 5, n)).shuffle_into(3).reduce_by_key(|a, b| a + b);
    sums.count()?;
    let line = line!() - 1;
    let failing = cx.range_in(0..4, 4).map(|n| if n == 2 { panic!("größer") } else { n });
    assert!(failing.collect().is_err());
    cx.stop();
    drop((sums, failing, cx));

    let records = EventLog::read(&path)?;
    assert!(matches!(records[0], Record::Log { version: 1, .. }));
    let (mut started, mut ended, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut map, mut reduce, mut failed) = (0, 0, 0);
    for record in records {
        match record {
            Record::JobStarted { job, label, stages, .. } => started.push((job, label, stages)),
            Record::JobFinished { job, outcome, at } => {
                assert!(at > 0);
                ended.push((job, outcome));
            }
            Record::StageStarted { job, stage, .. } => stages.push((job, stage, "started")),
            Record::StageFinished { job, stage, .. } => stages.push((job, stage, "finished")),
            Record::Task { at, until, job, stage, partitions, error, first, .. } => {
                assert!(at <= until);
                match (job, stage, error) {
                    (1, 0, None) => map += partitions,
                    (1, 1, None) => reduce += partitions,
                    (2, 0, None) => assert_ne!(first, 2),
                    (2, 0, Some(error)) if first == 2 => {
                        failed += 1;
                        assert!(error.contains("größer"), "{error}");
                    }
                    // Its neighbours may have been stopped.
                    (2, 0, Some(_)) => {}
                    other => panic!("an unknown task: {other:?}"),
                }
            }
            _ => {}
        }
    }
    assert_eq!((map, reduce, failed), (7, 3, 1));
    assert_eq!(started.iter().map(|job| (job.0, job.2)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    assert!(started[0].1.starts_with(&format!("count at {}:{line}", file!())), "{}", started[0].1);
    assert_eq!(ended[0], (1, "done".to_string()));
    assert!(ended[1].0 == 2 && ended[1].1.contains("größer"), "{ended:?}");
    let of_first = [(1, 0, "started"), (1, 0, "finished"), (1, 1, "started"), (1, 1, "finished")];
    assert_eq!(stages.iter().filter(|stage| stage.0 == 1).copied().collect::<Vec<_>>(), of_first);
    Ok(())
}

#[test]
fn an_event_log_whose_last_line_was_cut_off_is_read_up_to_there() -> Result<()> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("events.jsonl");
    let cx = Context::builder().threads(1).event_log(&path).progress(false).build()?;
    assert!(cx.range_in(0..2, 2).map(|n| if n == 1 { panic!("größer: Ω") } else { n }).count().is_err());
    let whole = EventLog::read(&path)?;
    let bytes = std::fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    // A backtrace may make the line long; everything special is at its beginning.
    let end = bytes.len() - 1;
    for cut in (last..end).filter(|cut| *cut < last + 300 || *cut > end - 20) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(EventLog::read(&path)?, whole[..whole.len() - 1], "cut at byte {cut}");
    }
    // The line is complete except for its end.
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(EventLog::read(&path)?, whole);

    // A line that is cut off in the middle of the file is damage.
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let damaged = [&bytes[..first + 5], &b"\n"[..], &bytes[first + 1..]].concat();
    std::fs::write(&path, damaged).unwrap();
    let error = EventLog::read(&path).unwrap_err();
    assert!(matches!(error, Error::Input { .. }) && error.to_string().contains("line 2"), "{error}");
    Ok(())
}

#[test]
fn an_event_log_that_cannot_be_created_is_an_error_at_once() {
    let error = Context::builder().event_log("/nonexistent/events.jsonl").build().map(drop).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/events.jsonl"), "{error}");
    assert!(EventLog::read("/nonexistent/events.jsonl").is_err());
}
