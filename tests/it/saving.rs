//! Saving: a directory belongs to one job at a time, and the files of a failed job are removed.

use crate::support::{Gate, cx, sorted, wait_until};
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
fn the_second_of_two_saves_into_one_directory_fails() -> Result<()> {
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
    wait_until("a task of the first job runs", || BEGUN.load(Relaxed) > 0);
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
fn one_of_many_saves_at_once_succeeds_and_the_others_fail() {
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
fn a_failed_save_leaves_nothing() -> Result<()> {
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
fn a_save_whose_handle_is_dropped_removes_what_it_saved() -> Result<()> {
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
    wait_until("the last task runs", || BEGUN.load(Relaxed) > 0);
    drop(job);
    assert_eq!(names(scratch.path()), [""; 0]);
    // The task that goes on finds nothing to commit to, not even when another job has the directory.
    let next = cx.range_in(500..520, 2).background().save_as_text_file(&dir)?;
    GATE.open();
    next.wait()?;
    assert_eq!(saved(&cx, &dir), (500..520).collect::<Vec<_>>());
    Ok(())
}

/// The error of each method that takes a path, for a path that is none.
#[test]
fn a_path_that_is_none_is_named_with_the_place_of_the_call() {
    let cx = cx();
    let numbers = cx.range(0..3);
    for (path, said) in [("", "is empty, which is no path"), ("a\0b", "is \"a\\0b\", which has a zero byte")] {
        let errors = [
            ("the directory to save to", numbers.save_as_text_file(path).err()),
            ("the directory to save to", numbers.to_driver().save_as_text_file(path).err()),
            ("the directory to save to", numbers.background().save_as_text_file(path).err()),
            ("the path of the file to ship", cx.ship_file(path).err()),
            ("`text_file` cannot read its input: the path", cx.text_file(path).count().err()),
            ("`text_file` cannot read its input: the path", cx.text_file(["Cargo.toml", path]).count().err()),
            ("`text` cannot read its input: the path", cx.read(text(path).from_driver()).count().err()),
            ("the path of the directory of spill files", Context::builder().spill_dir(path).build().err()),
            ("the path of the event log", Context::builder().event_log(path).build().err()),
        ];
        for (what, error) in errors {
            let text = error.expect(what).to_string();
            assert!(text.starts_with(&format!("{what} {said}")), "{text}");
            assert!(text.contains(&format!("\n  at {}:", file!())), "{text}");
        }
    }
    let text = Context::builder().cluster("").build().err().unwrap().to_string();
    assert!(text.starts_with("the cluster is empty; give the name of a cluster") && text.contains(file!()), "{text}");
    let text = Context::builder().cluster("a\0/driver.json").build().err().unwrap().to_string();
    assert!(text.starts_with("the cluster is ") && text.contains("zero byte") && text.contains(file!()), "{text}");
}

#[test]
fn the_error_names_what_is_in_the_way_of_a_directory() {
    let (cx, scratch) = (cx(), tempfile::tempdir().unwrap());
    let told = |path: &std::path::Path| cx.range(0..3).save_as_text_file(path).unwrap_err().to_string();
    let file = scratch.path().join("file");
    std::fs::write(&file, "rows").unwrap();
    let is_file = format!("{} is a file, and no directory", file.display());
    for path in [file.clone(), file.join("out"), file.join("some/out")] {
        let text = told(&path);
        assert!(text.starts_with("preparing to save failed at ") && text.contains(&is_file), "{text}");
        assert!(text.contains(path.to_str().unwrap()) && !text.contains("os error"), "{text}");
    }
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let dangles = format!("{} is a link to nowhere, which is not there", link.display());
    for path in [link.clone(), link.join("out")] {
        let text = told(&path);
        assert!(text.contains(&dangles) && text.contains("remove the link"), "{text}");
    }
    // Not even a superuser may create anything there.
    let text = told("/sys/tryworks/out".as_ref());
    assert!(text.contains("nothing may be made in /sys: ") && text.contains("may write to"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "rows");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2, "nothing else was made");
    // A link to a directory counts as one.
    std::fs::create_dir(scratch.path().join("nowhere")).unwrap();
    cx.range(0..3).save_as_text_file(&link).unwrap();
    assert!(scratch.path().join("nowhere/_SUCCESS").exists());
}

/// It was said that there is no file to read.
#[test]
fn a_saved_dataset_without_partitions_is_read_as_an_empty_one() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (dir, cx) = (scratch.path().join("out"), cx());
    // What jobs without items leave, whose partitions may be no file at all.
    let empty = scratch.path().join("empty");
    std::fs::create_dir(&empty)?;
    std::fs::write(empty.join("_SUCCESS"), "")?;
    let nothing = cx.text_file(&empty);
    assert_eq!(nothing.partitions(), 0);
    nothing.save_as_text_file(&dir)?;
    assert_eq!((names(&dir), saved(&cx, &dir)), (vec!["_SUCCESS".to_string()], vec![]));
    assert_eq!(cx.text_file(scratch.path().join("o*")).count()?, 0);
    assert_eq!(cx.text_file(&dir).partitions(), 0);
    // What only looks so is told of: there may be more below, or nothing was saved at all.
    std::fs::create_dir(dir.join("year=1851"))?;
    assert!(cx.text_file(&dir).count().unwrap_err().to_string().contains("no file to read"));
    assert!(cx.text_file(scratch.path()).count().is_err());
    Ok(())
}
