//! Saving: a directory is one job's at a time, and what a job that failed has made goes again.

use crate::support::{Gate, cx, sorted, until};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn saved(cx: &Context, dir: &Path) -> Vec<u64> {
    sorted(cx.text_file(dir).try_map(|line| Ok(line.parse::<u64>()?)).collect().unwrap())
}

#[test]
fn of_two_saves_into_one_directory_the_second_is_told() -> Result<()> {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static GATE: Gate = Gate::new();
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("out");
    let slow = cx.range_in(0..100, 4).map_partitions(|items| {
        BEGUN.fetch_add(1, Relaxed);
        GATE.pass();
        items
    });
    let first = slow.background().save_as_text_file(&dir)?;
    until("a task of the first job runs", || BEGUN.load(Relaxed) > 0);
    let others = cx.range_in(500..600, 4);
    let refused =
        [others.save_as_text_file(&dir), others.to_driver().save_as_text_file(&dir), others.save_as_text_file(&dir)];
    for error in refused.map(Result::unwrap_err) {
        let text = error.to_string();
        assert!(text.contains(dir.to_str().unwrap()) && text.contains("another job is saving"), "{text}");
    }
    GATE.open();
    first.wait()?;
    assert_eq!(saved(&cx, &dir), (0..100).collect::<Vec<_>>());
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001", "part-00002", "part-00003"]);
    Ok(())
}

#[test]
fn of_many_saves_at_once_one_is_saved_and_the_others_are_told() {
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let dir = scratch.path().join(round.to_string());
        let save = |job: u64| {
            let rows = cx.range_in(job * 1000..job * 1000 + 100, 3);
            if job.is_multiple_of(2) { rows.save_as_text_file(&dir) } else { rows.to_driver().save_as_text_file(&dir) }
        };
        let ended: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|job| scope.spawn(move || save(job))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<u64> = (0u64..).zip(&ended).filter(|(_, ended)| ended.is_ok()).map(|(job, _)| job).collect();
        assert_eq!(won.len(), 1, "{ended:?}");
        assert_eq!(saved(&cx, &dir), (won[0] * 1000..won[0] * 1000 + 100).collect::<Vec<_>>());
    }
}

#[test]
fn a_save_that_comes_to_nothing_leaves_nothing() -> Result<()> {
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("made/for/it");
    let there = scratch.path().join("there");
    std::fs::create_dir(&there).unwrap();
    let nothing_stays = |what: &str| {
        assert_eq!(names(scratch.path()), ["there"], "{what}");
        assert_eq!(names(&there), [""; 0], "{what}");
    };
    let mistake = cx.range_in(0..10, 0);
    let failing = cx.range_in(0..100, 4).map(|n| if n == 77 { panic!("row {n}") } else { n });
    for dir in [&dir, &there] {
        assert!(mistake.save_as_text_file(dir).is_err());
        assert!(mistake.to_driver().save_as_text_file(dir).is_err());
        nothing_stays("a mistake in the plan");
        assert!(failing.save_as_text_file(dir).is_err());
        assert!(failing.to_driver().save_as_text_file(dir).is_err());
        nothing_stays("a task that failed");
        assert!(cx.range_in(0..10, 2).background().detached("nightly").save_as_text_file(dir).is_err());
    }
    Ok(())
}

#[test]
fn a_save_that_nobody_waits_for_takes_back_what_it_saved() -> Result<()> {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static GATE: Gate = Gate::new();
    let cx = cx();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("out");
    let slow = cx.range_in(0..100, 8).map_partitions_with_index(|index, items| {
        if index == 7 {
            BEGUN.fetch_add(1, Relaxed);
            GATE.pass();
        }
        items
    });
    let job = slow.background().save_as_text_file(&dir)?;
    until("the last task runs", || BEGUN.load(Relaxed) > 0);
    drop(job);
    assert_eq!(names(scratch.path()), [""; 0]);
    // The task that goes on finds nothing to commit to, not even when the place has a new owner.
    let next = cx.range_in(500..520, 2).background().save_as_text_file(&dir)?;
    GATE.open();
    next.wait()?;
    assert_eq!(saved(&cx, &dir), (500..520).collect::<Vec<_>>());
    Ok(())
}
