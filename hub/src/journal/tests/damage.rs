//! Journals that are damaged, cut off, or not journals at all.

use super::*;
use rusqlite::Connection;

fn refusal(path: &Path) -> String {
    let hub = Journal::open(path).err().unwrap().to_string();
    let reader = Reader::open(path).err().map(|error| error.to_string());
    if let Some(reader) = reader {
        assert_eq!(reader, hub, "both say the same");
    }
    hub
}

#[test]
fn a_file_that_is_no_journal_is_refused_with_the_reason() {
    let (directory, path) = place();
    std::fs::write(&path, "this is a letter, not a database. ".repeat(100)).unwrap();
    let said = refusal(&path);
    assert!(said.contains("damaged or not a journal") && said.contains("move it away"), "{said}");

    let other = directory.path().join("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE birds (name TEXT)").unwrap();
    let said = refusal(&other);
    assert!(said.contains("another program"), "{said}");
    let birds = Connection::open(&other).unwrap().query_row("SELECT count(*) FROM birds", [], |row| row.get(0));
    assert_eq!(birds, Ok(0), "it was not touched");

    assert!(Journal::open(directory.path().join("no/such/directory")).is_err());
    assert!(Reader::open(directory.path().join("nothing")).is_err(), "reading makes no file");
    assert!(!directory.path().join("nothing").exists());
}

#[test]
fn a_journal_of_another_version_is_refused_with_both_versions() {
    for version in [0, 1, 2, 99] {
        let (_directory, path) = place();
        drop(Journal::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let said = refusal(&path);
        assert!(said.contains(&format!("its version is {version}")) && said.contains("version 3"), "{said}");
    }
}

#[test]
fn a_damaged_table_is_found_before_the_hub_begins() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    (1..=500).for_each(|job| journal.note(submitted(JobId(job), 1, "some label", None)));
    drop(journal);
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'", [], |row| row.get::<_, u32>(0))
        .unwrap() as usize;
    bytes[(pages - 1) * 4096..pages * 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let said = Journal::open(&path).err().unwrap().to_string();
    assert!(said.contains("damaged") && said.contains("-wal"), "{said}");
}

/// A process that dies while it writes leaves a log that may end at any byte. Everything committed before that byte is
/// found.
#[test]
fn a_truncated_log_loses_only_what_is_behind_the_cut() {
    const JOBS: u64 = 60;
    let (directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    for job in 1..=JOBS {
        journal.note(submitted(JobId(job), 1, &format!("label {job}"), Some(&format!("name {job}"))));
        journal.sync().unwrap();
    }
    let file = std::fs::read(&path).unwrap();
    let log = std::fs::read(directory.path().join("journal.sqlite-wal")).unwrap();
    drop(journal);

    let mut counts = Vec::new();
    for cut in (0..=20).map(|part| log.len() * part / 20).chain([log.len() - 1]) {
        let (copies, copy) = place();
        std::fs::write(&copy, &file).unwrap();
        // The log may also end in garbage.
        let mut torn = log[..cut].to_vec();
        torn.extend([0x5a; 3_000]);
        std::fs::write(copies.path().join("journal.sqlite-wal"), torn).unwrap();
        let found = Journal::open(&copy).unwrap().1;
        let names: Vec<u64> = found.unfinished.iter().map(|job| job.row.job.0).collect();
        assert_eq!(names, (1..=names.len() as u64).collect::<Vec<_>>(), "the first jobs, without a gap");
        let whole = |job: &Unfinished| job.detached.as_ref().is_some_and(Result::is_ok);
        assert!(found.unfinished.iter().all(whole));
        counts.push(names.len() as u64);
    }
    let last = counts.pop().unwrap();
    assert!(counts.is_sorted() && counts[0] == 0 && counts[10] > 0 && counts[10] < JOBS, "{counts:?}");
    assert_eq!((counts[20], last), (JOBS, JOBS - 1));
}

/// Messages of another build cannot be decoded. Its jobs cannot continue, but their states and texts can be shown.
#[test]
fn jobs_of_another_build_fail_with_the_reason() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(session(1));
    journal.note(submitted(JobId(1), 1, "goes on", Some("a")));
    journal.note(submitted(JobId(2), 1, "failed", Some("b")));
    journal.note(ended(JobId(2), now(), Err(Error::cluster("no engine", "start one"))));
    drop(journal);
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE jobs SET schema = 1; UPDATE sessions SET schema = 1")
        .unwrap();
    let (journal, found) = Journal::open(&path).unwrap();
    assert_eq!((found.sessions.len(), &found.sessions[0].program), (1, &None));
    let error = found.unfinished[0].detached.as_ref().unwrap().as_ref().unwrap_err();
    assert!(error.to_string().contains("another version") && error.to_string().contains("again"), "{error}");
    let end = journal.reader().unwrap().end(JobId(2)).unwrap().unwrap().unwrap_err();
    assert!(end.to_string().starts_with("no engine"), "{end}");
}
