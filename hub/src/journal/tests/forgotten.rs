//! What a journal must forget: the environments of programs whose jobs have ended.

use super::*;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// The numbers of the secrets that are anywhere in the journal's files, whether or not a table refers to them.
fn traces(path: &Path) -> BTreeSet<u64> {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    let numbers = |text: String| -> Vec<u64> {
        text.split("open-sesame-").skip(1).filter_map(|rest| rest.get(..4)?.parse().ok()).collect()
    };
    texts.flat_map(numbers).collect()
}

/// A detached job of a session with this environment.
fn detached(job: JobId, environment: Vec<(OsString, OsString)>) -> Entry {
    let Entry::Job(mut submitted) = submitted(job, job.0 as u32, "alone", Some(&job.0.to_string())) else {
        unreachable!("it makes a job")
    };
    if let Some(detached) = &mut submitted.detached {
        detached.program = Arc::new(Program { environment, ..program() });
    }
    Entry::Job(submitted)
}

fn secret(number: u64, bytes: usize) -> Vec<(OsString, OsString)> {
    let value = format!("open-sesame-{number:04}/").repeat(bytes / 17 + 1);
    vec![("TOKEN".into(), value.into())]
}

#[test]
fn no_file_has_an_environment_after_its_job_has_ended() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    // The sizes range from part of a page to many pages, and suffice for pages to be split and merged.
    let sizes = [20, 300, 900, 3_000, 4_050, 20_000];
    let jobs: Vec<u64> = (1..=60).collect();
    for &number in &jobs {
        journal.note(session(number as u32));
        journal.note(detached(JobId(number), secret(number, sizes[number as usize % sizes.len()])));
        journal.sync().unwrap();
    }
    assert!(traces(&path).into_iter().eq(jobs.iter().copied()));
    // The even jobs end first, so that neighbours of their rows stay.
    let (even, odd): (Vec<u64>, Vec<u64>) = jobs.iter().partition(|number| **number % 2 == 0);
    for &number in &even {
        journal.note(ended(JobId(number), now(), Ok(())));
    }
    journal.sync().unwrap();
    assert!(traces(&path).into_iter().eq(odd.iter().copied()));
    for &number in &odd {
        journal.note(ended(JobId(number), now(), Err(Error::Cancelled)));
        journal.sync().unwrap();
    }
    assert!(traces(&path).is_empty());
}

#[test]
fn a_reader_of_the_file_delays_the_deletion_of_an_environment_only_while_it_reads() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(session(1));
    journal.note(detached(JobId(1), secret(1, 3_000)));
    journal.sync().unwrap();
    let look = rusqlite::Connection::open(&path).unwrap();
    look.execute_batch("BEGIN").unwrap();
    assert_eq!(look.query_row("SELECT count(program) FROM sessions", [], |row| row.get::<_, u32>(0)).unwrap(), 1);
    journal.note(ended(JobId(1), now(), Ok(())));
    journal.sync().unwrap();
    assert!(!traces(&path).is_empty(), "it is being read");
    look.execute_batch("COMMIT").unwrap();
    journal.note(session(2));
    journal.sync().unwrap();
    assert!(traces(&path).is_empty());
}

#[test]
fn an_environment_that_a_killed_hub_left_in_the_log_is_deleted_by_the_next_hub() {
    let (directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(session(1));
    journal.note(detached(JobId(1), secret(1, 3_000)));
    journal.sync().unwrap();
    // The job has ended, and the log is not emptied yet, because another program reads it.
    let look = rusqlite::Connection::open(&path).unwrap();
    look.execute_batch("BEGIN").unwrap();
    look.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, u32>(0)).unwrap();
    journal.note(ended(JobId(1), now(), Ok(())));
    journal.sync().unwrap();
    let killed = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    let path = killed.path().join("journal.sqlite");
    assert!(!traces(&path).is_empty());
    let (next, recovered) = Journal::open(&path).unwrap();
    assert_eq!(recovered.sessions.iter().filter(|session| session.program.is_some()).count(), 0);
    next.sync().unwrap();
    assert!(traces(&path).is_empty());
}
