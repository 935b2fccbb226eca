//! Part files: whole under their final name, or not there.

use std::fs;
use std::path::Path;
use tryworks_core::Error;
use tryworks_io::sink::{PartFile, abandon, finish, prepare};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn parts_appear_whole_and_the_first_attempt_stays() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/b/out");
    prepare(&dir).unwrap();
    prepare(&dir).unwrap();
    let mut first = PartFile::create(&dir, 0, 1).unwrap();
    let mut second = PartFile::create(&dir, 0, 2).unwrap();
    for i in 0..100_000 {
        first.line(format!("first {i}")).unwrap();
        second.line(format!("second {i}")).unwrap();
    }
    assert_eq!(names(&dir), [".part-00000.1.tmp", ".part-00000.2.tmp"]);
    first.commit().unwrap();
    second.commit().unwrap();
    let text = fs::read_to_string(dir.join("part-00000")).unwrap();
    assert!(text.lines().enumerate().all(|(i, line)| line == format!("first {i}")));
    assert_eq!((names(&dir), text.lines().count()), (vec!["part-00000".to_string()], 100_000));

    let mut given_up = PartFile::create(&dir, 1, 1).unwrap();
    given_up.write(&vec![b'x'; 1 << 20]).unwrap();
    drop(given_up);
    assert_eq!(names(&dir), ["part-00000"]);

    let error = finish(&dir, 2).unwrap_err().to_string();
    assert!(error.contains("part-00001"), "{error}");
    assert_eq!(names(&dir), ["part-00000"], "not marked when a part is missing");

    PartFile::create(&dir, 1, 3).unwrap().commit().unwrap();
    std::mem::forget(PartFile::create(&dir, 1, 4).unwrap());
    finish(&dir, 2).unwrap();
    assert_eq!(names(&dir), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(fs::read(dir.join("part-00001")).unwrap(), b"");
}

#[test]
fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter"), "dear").unwrap();
    let error = prepare(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Storage { message, .. } if message.contains("not empty")), "{error}");
    assert!(prepare(&dir.path().join("letter")).is_err());
    assert_eq!(names(dir.path()), ["letter"]);
}

#[test]
fn a_job_that_failed_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    prepare(&dir).unwrap();
    PartFile::create(&dir, 123_456, 1).unwrap().commit().unwrap();
    std::mem::forget(PartFile::create(&dir, 1, 1).unwrap());
    abandon(&dir);
    assert!(!dir.exists());

    prepare(&dir).unwrap();
    fs::write(dir.join("part-of-mine"), "").unwrap();
    abandon(&dir);
    assert_eq!(names(&dir), ["part-of-mine"], "what others put there stays");
}

#[test]
fn a_directory_that_is_gone_is_named() {
    let error = PartFile::create(Path::new("/nowhere/at/all"), 3, 1).err().unwrap().to_string();
    assert!(error.starts_with("saving failed at /nowhere/at/all/.part-00003.1.tmp"), "{error}");
}
