//! Part files: complete under their final name, or absent; and a directory for one job alone.

use std::fs;
use std::path::Path;
use tryworks_base::Op;
use tryworks_base::{Error, Result};
use tryworks_core::sink::{FileName, Part, Place, SaveRequest, Saver};
use tryworks_io::places::{Directory, PartFile, part_name};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn request(partitions: u32, saver: Saver<'_>) -> SaveRequest<'_> {
    let op = Op::here("save");
    SaveRequest { op, partitions, several_files: false, extension: "", saver, is_deterministic: true }
}

fn try_claim(dir: &Path, partitions: u32) -> Result<Directory> {
    let mut out = Directory::new(dir)?;
    out.prepare(&request(partitions, Saver::Bound)).map(|_| out)
}

/// Claims for a detached job, or for one that has done so before. Also gives whether it is new.
fn detached(dir: &Path, partitions: u32, saver: Saver<'_>) -> Result<(Directory, bool)> {
    let mut out = Directory::new(dir)?;
    let is_new = out.prepare(&request(partitions, saver))?;
    Ok((out, is_new))
}

/// A detached job that begins.
fn new<'a>(token: &'a str, name: &'a str, cluster: &'a str) -> Saver<'a> {
    Saver::New { token, name, cluster }
}

/// A slash at the end, which a shell's completion adds, made another place of the directory of a detached job.
#[test]
fn a_directory_is_one_place_however_its_path_is_written() {
    let title = |path: &str| Directory::new(path).unwrap().title();
    for same in ["out/", "./out", "./out/", "out/.", ".//out//"] {
        assert_eq!(title(same), title("out"), "{same}");
    }
    assert_eq!(title("/a/./b//c/"), "directory /a/b/c");
    assert_eq!(title("/a/../b/"), "directory /a/../b", "`a` may be a link");
}

fn claimed(dir: &Path, partitions: u32) -> Directory {
    try_claim(dir, partitions).unwrap()
}

fn refusal(dir: &Path) -> String {
    let error = try_claim(dir, 1).unwrap_err();
    assert!(matches!(&error, Error::Storage { path, .. } if *path == dir.display().to_string()), "{error}");
    error.to_string()
}

/// Begins to write a partition.
fn part(out: &Directory, partition: u32, attempt: u64) -> Result<PartFile> {
    out.open(FileName { partition, number: 0, directory: String::new() }, attempt)
}

/// Commits a part whose content is `text`.
fn save(out: &Directory, partition: u32, text: &str) {
    let mut part = part(out, partition, 1).unwrap();
    part.write(text.as_bytes()).unwrap();
    part.commit().unwrap();
}

#[test]
fn parts_appear_whole_and_the_first_attempt_stays() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/b/out");
    let mut out = claimed(&dir, 2);
    let mut first = part(&out, 0, 1).unwrap();
    let mut second = part(&out, 0, 2).unwrap();
    for i in 0..100_000 {
        first.write(format!("first {i}\n").as_bytes()).unwrap();
        second.write(format!("second {i}\n").as_bytes()).unwrap();
    }
    let parts = || names(&dir).into_iter().filter(|name| !name.starts_with('.')).collect::<Vec<_>>();
    assert_eq!(parts(), [""; 0]);
    first.commit().unwrap();
    second.commit().unwrap();
    let text = fs::read_to_string(dir.join("part-00000")).unwrap();
    assert!(text.lines().enumerate().all(|(i, line)| line == format!("first {i}")));
    assert_eq!((parts(), text.lines().count()), (vec!["part-00000".to_string()], 100_000));

    let mut given_up = part(&out, 1, 1).unwrap();
    given_up.write(&vec![b'x'; 1 << 20]).unwrap();
    drop(given_up);
    assert_eq!(parts(), ["part-00000"]);

    let error = out.finish().unwrap_err().to_string();
    assert!(error.contains("part-00001"), "{error}");
    assert_eq!(parts(), ["part-00000"], "not marked when a part is missing");

    part(&out, 1, 3).unwrap().commit().unwrap();
    std::mem::forget(part(&out, 1, 4).unwrap());
    out.finish().unwrap();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(fs::read(dir.join("part-00001")).unwrap(), b"");
}

#[test]
fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter"), "dear").unwrap();
    assert!(refusal(dir.path()).contains("not empty"));
    assert!(try_claim(&dir.path().join("letter"), 1).is_err());
    assert!(try_claim(&dir.path().join("letter/below"), 1).is_err());
    assert_eq!(names(dir.path()), ["letter"]);
}

#[test]
fn a_directory_is_one_jobs_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let mut out = claimed(&dir, 2);
    save(&out, 0, "first\n");
    assert!(refusal(&dir).contains("another job is saving to this directory"));
    save(&out, 1, "job\n");
    assert!(refusal(&dir).contains("another job is saving to this directory"));
    out.finish().unwrap();
    assert!(refusal(&dir).contains("not empty"));
    let text = ["part-00000", "part-00001"].map(|name| fs::read_to_string(dir.join(name)).unwrap());
    assert_eq!(text, ["first\n", "job\n"]);

    // Of several jobs at the same time, one gets the directory.
    let dir = home.path().join("raced");
    let got: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| try_claim(&dir, 1))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (mut won, lost): (Vec<_>, Vec<_>) = got.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    let out = won[0].as_mut().unwrap();
    save(out, 0, "");
    out.finish().unwrap();
}

#[test]
fn a_task_that_outlives_its_job_saves_nothing_for_the_next_one() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let mut gone = claimed(&dir, 2);
    save(&gone, 1, "old\n");
    let mut late = part(&gone, 0, 7).unwrap();
    late.write(b"old\n").unwrap();
    gone.abandon();
    let mut new = claimed(&dir, 2);
    assert!(late.commit().is_err());
    assert!(part(&gone, 1, 8).is_err());
    // Giving up twice does no harm either.
    save(&new, 0, "new\n");
    gone.abandon();
    assert!(gone.finish().is_err());
    save(&new, 1, "new\n");
    new.finish().unwrap();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(fs::read(dir.join("part-00000")).unwrap(), b"new\n");
}

#[test]
fn a_job_that_failed_takes_back_what_is_its_own() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("made/for/it");
    let mut out = claimed(&dir, 200_000);
    save(&out, 123_456, "");
    std::mem::forget(part(&out, 1, 1).unwrap());
    out.abandon();
    assert_eq!(names(home.path()), [""; 0]);

    let dir = home.path().join("there/before");
    fs::create_dir_all(&dir).unwrap();
    let mut out = claimed(&dir, 2);
    save(&out, 1, "");
    for name in ["part-of-mine", "part-00002", "letter"] {
        fs::write(dir.join(name), "").unwrap();
    }
    out.abandon();
    assert_eq!(names(&dir), ["letter", "part-00002", "part-of-mine"], "what others put there stays");

    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    claimed(&empty, 2).abandon();
    assert_eq!(names(&empty), [""; 0], "a directory that was there stays");
    assert_eq!(names(home.path()), ["empty", "there"]);
}

#[test]
fn what_a_dead_job_left_says_so_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let dead = claimed(&dir, 3);
    save(&dead, 0, "half\n");
    // The lock disappears with the process; the files do not.
    drop(dead);
    let error = refusal(&dir);
    assert!(error.contains("ended before it was done") && error.contains("remove it"), "{error}");
    fs::remove_dir_all(&dir).unwrap();
    claimed(&dir, 1).abandon();
    assert!(!dir.exists());
}

#[test]
fn a_claim_that_was_taken_away_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let mut out = claimed(&dir, 1);
    save(&out, 0, "mine\n");
    fs::remove_dir_all(&dir).unwrap();
    let mut other = claimed(&dir, 1);
    save(&other, 0, "other\n");
    let error = out.finish().unwrap_err().to_string();
    assert!(error.contains("it was removed or replaced"), "{error}");
    out.abandon();
    other.finish().unwrap();
    assert_eq!(fs::read(dir.join("part-00000")).unwrap(), b"other\n");
}

#[test]
fn a_detached_job_gets_its_directory_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("made/out");
    let (first, is_new) = detached(&dir, 2, new("7a", "nightly", "c")).unwrap();
    assert!(is_new);
    save(&first, 0, "begun\n");
    drop(first);
    let (mut again, is_new) = detached(&dir, 2, Saver::Known { token: "7a" }).unwrap();
    assert!(!is_new);
    let (beside, _) = detached(&dir, 2, Saver::Known { token: "7a" }).unwrap();
    assert!(refusal(&dir).contains("another job is saving"));
    drop(beside);
    save(&again, 1, "ended\n");
    again.finish().unwrap();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    // Whoever hears that it failed takes back what was made for it, also by the driver before.
    let dir = home.path().join("for/it");
    drop(detached(&dir, 2, new("7b", "nightly", "c")).unwrap());
    detached(&dir, 2, Saver::Known { token: "7b" }).unwrap().0.abandon();
    assert_eq!(names(home.path()), ["made"]);
}

/// The files of a job that had died were taken for those of the next one of its name, of other data.
#[test]
fn a_detached_job_takes_nothing_over_from_an_earlier_one_of_its_name() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let (old, _) = detached(&dir, 9, new("1", "nightly", "c")).unwrap();
    [0, 1, 8].into_iter().for_each(|partition| save(&old, partition, "old\n"));
    let mut late = part(&old, 0, 7).unwrap();
    late.write(b"old\n").unwrap();
    // A driver that was cut off may still believe that the name is its own.
    let refused = |saver| detached(&dir, 2, saver).err().unwrap().to_string();
    assert!(refused(new("2", "nightly", "c")).contains("another job is saving"));
    drop(old);
    // Another cluster may still have the job. So may this one have one of another name.
    let before = names(&dir);
    for saver in [new("2", "nightly", "another"), new("2", "hourly", "c"), Saver::Bound] {
        let error = refused(saver);
        assert!(error.contains("the detached job `nightly`") && error.contains("`tryworks jobs`"), "{error}");
        assert_eq!(names(&dir), before);
    }
    // The cluster says that it has no job of this name: what is there is over, all nine partitions of it.
    let (mut next, is_new) = detached(&dir, 2, new("2", "nightly", "c")).unwrap();
    assert!(is_new && late.commit().is_err());
    assert_eq!(names(&dir), [".saving", ".saving-2"]);
    [0, 1].into_iter().for_each(|partition| save(&next, partition, "new\n"));
    next.finish().unwrap();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(fs::read(dir.join("part-00000")).unwrap(), b"new\n");
    // What is whole is nobody's to clear away.
    assert!(refused(new("3", "nightly", "c")).contains("not empty"));
}

#[test]
fn what_strangers_put_beside_a_detached_job_that_is_over_stays() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let (old, _) = detached(&dir, 2, new("1", "nightly", "c")).unwrap();
    save(&old, 1, "old\n");
    drop(old);
    for name in ["part-00002", "letter"] {
        fs::write(dir.join(name), "mine").unwrap();
    }
    let error = detached(&dir, 3, new("2", "nightly", "c")).err().unwrap().to_string();
    assert!(error.contains("not empty"), "{error}");
    assert_eq!(names(&dir), ["letter", "part-00002"]);
}

/// The second of them heard that somebody had removed or taken the directory.
#[test]
fn all_drivers_that_wait_for_a_detached_job_hear_that_it_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let known = || detached(&dir, 2, Saver::Known { token: "1" }).unwrap().0;
    let (mut first, _) = detached(&dir, 2, new("1", "nightly", "c")).unwrap();
    [0, 1].into_iter().for_each(|partition| save(&first, partition, "row\n"));
    let mut others: Vec<_> = (0..8).map(|_| known()).collect();
    std::thread::scope(|scope| others.iter_mut().for_each(|other| drop(scope.spawn(|| other.finish().unwrap()))));
    first.finish().unwrap();
    known().finish().unwrap();
    assert!(known().is_finished());
    // One that cannot take in the end takes nothing back.
    known().abandon();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    // What another job has saved there since is not what they waited for.
    fs::remove_dir_all(&dir).unwrap();
    let error = known().finish().unwrap_err().to_string();
    assert!(error.contains("the directory was removed while this job was saving there"), "{error}");
    for saver in [Saver::Bound, new("2", "nightly", "c")] {
        let (mut other, _) = detached(&dir, 2, saver).unwrap();
        [0, 1].into_iter().for_each(|partition| save(&other, partition, "other\n"));
        other.finish().unwrap();
        let error = known().finish().unwrap_err().to_string();
        assert!(error.contains("it was removed or replaced"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// Who looked between the making of the claim and its lock took it for one that a dead job had left.
#[test]
fn a_claim_is_never_seen_without_its_lock() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    for _ in 0..200 {
        let got: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| try_claim(&dir, 1))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = got.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("another job is saving to this directory"), "{error}");
        }
        assert_eq!(names(&dir).len(), 2, "{:?}", names(&dir));
        won.into_iter().for_each(|won| won.unwrap().abandon());
        // Whoever made it may have come too late to claim it.
        let _ = fs::remove_dir(&dir);
    }
}

#[test]
fn who_removes_the_directory_of_a_save_is_told_of() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let removed = "the directory was removed while this job was saving there";
    let mut out = claimed(&dir, 2);
    let late = part(&out, 0, 1).unwrap();
    save(&out, 1, "");
    fs::remove_dir_all(&dir).unwrap();
    let error = late.commit().unwrap_err().to_string();
    assert!(error.contains(removed), "{error}");
    let error = out.finish().unwrap_err().to_string();
    assert!(error.starts_with(&format!("finishing what was saved failed at {}: {removed}", dir.display())), "{error}");
    // Nothing is made there again by who comes late.
    assert!(out.accept(0, vec![]).is_ok() && !dir.exists());
}

#[test]
fn names_of_parts_sort_as_their_numbers_do() {
    for partitions in [1, 2, 10_000, 99_999, 100_000, 100_001, 1_000_001, u32::MAX] {
        let step = (partitions / 1000).max(1) as usize;
        let names: Vec<_> =
            (0..partitions).step_by(step).chain([partitions - 1]).map(|n| part_name(n, partitions)).collect();
        assert!(names.is_sorted() && names.iter().all(|name| name.len() == names[0].len()), "{partitions}");
    }
    assert_eq!(part_name(99_999, 100_000), "part-99999");
    assert_eq!(part_name(5, 100_001), "part-000005");
}

#[test]
fn a_directory_that_is_gone_is_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let out = claimed(&dir, 4);
    fs::remove_dir_all(&dir).unwrap();
    let error = part(&out, 3, 1).err().unwrap().to_string();
    assert!(error.contains("the directory was removed"), "{error}");
    let begin = format!("saving failed at {}/.saving-", dir.display());
    assert!(error.starts_with(&begin) && error.contains("/part-00003.1"), "{error}");
}
