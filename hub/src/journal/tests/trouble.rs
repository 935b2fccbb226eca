//! A file that cannot be written for a while, or at all, and entries that cannot be written.

use super::*;
use rusqlite::Connection;
use std::sync::mpsc;

/// Notes an entry, and returns where its outcome arrives.
fn noted(journal: &Journal, entry: Entry) -> mpsc::Receiver<Result<()>> {
    let (sender, outcome) = mpsc::channel();
    journal.note_then(entry, move |result| sender.send(result).unwrap());
    outcome
}

#[test]
fn entries_wait_for_a_locked_file_and_rows_of_tasks_over_the_bound_are_only_counted() {
    const TASKS: u64 = 10_000;
    let (_directory, path) = place();
    let (journal, _) = Journal::open_within(&path, Bounds { waiting: 1_000, ..Bounds::default() }).unwrap();
    journal.sync().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    journal.note(submitted(JobId(1), 1, "waits", None));
    let outcome = noted(&journal, submitted(JobId(3), 1, "does not wait", Some("refused")));
    for attempt in 1..=TASKS {
        journal.note(Entry::Task { job: JobId(1), row: task(0, attempt) });
    }
    journal.note(submitted(JobId(2), 1, "waits too", None));
    let error = outcome.recv().unwrap().unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    // An entry that comes while the writer waits for its next attempt is refused after that attempt.
    let behind = noted(&journal, submitted(JobId(4), 1, "does not wait", Some("refused too")));
    assert_eq!(behind.recv().unwrap().unwrap_err(), error);
    assert_eq!(journal.sync().unwrap_err(), error);
    let health = journal.health();
    assert_eq!(health.error, Some(error));
    assert!(health.dropped_tasks >= TASKS - 2_000, "{health:?}");

    other.execute_batch("ROLLBACK").unwrap();
    // A caller that asks while the writer waits for its next attempt gets the outcome of that attempt.
    journal.sync().unwrap();
    assert_eq!(journal.health().error, None);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.jobs(5).unwrap().len(), 2, "no job is lost, and no refused job is written later");
    let detail = reader.job("1", 20_000).unwrap().unwrap();
    assert_eq!(detail.tasks.len() as u64, TASKS - health.dropped_tasks);
    let stage = &detail.stages[0];
    assert_eq!((stage.tasks, stage.failed, stage.rows), (8_000, 2_000, 20_000), "sums count what was dropped");
}

#[test]
fn a_full_disk_is_an_error_and_the_hub_continues() {
    let (_directory, path) = place();
    let file = schema::open(&path).unwrap();
    // From here on SQLite says that the disk is full.
    file.pragma_update(None, "max_page_count", 60).unwrap();
    let (journal, _) = Journal::begin(path.clone(), schema::lock(&path).unwrap(), file, Bounds::default()).unwrap();
    let first = noted(&journal, submitted(JobId(1), 1, "fits", None));
    assert_eq!(first.recv().unwrap(), Ok(()));
    let large = Entry::Result {
        job: JobId(2),
        partition: 0,
        attempt: tryworks_base::ids::AttemptId(1),
        part: tryworks_protocol::engine::ResultPart::Here(vec![1; 1 << 20]),
    };
    journal.note(submitted(JobId(2), 1, "does not", Some("large")));
    let outcome = noted(&journal, large).recv().unwrap().unwrap_err();
    assert!(outcome.to_string().contains("full"), "{outcome}");
    assert!(journal.health().error.is_some());
    assert_eq!(journal.reader().unwrap().jobs(5).unwrap()[0].label, "fits");
    drop(journal);
    let (_, found) = Journal::open(&path).unwrap();
    assert!(found.unfinished.iter().any(|job| job.row.label == "fits"));
}

#[test]
fn a_refused_entry_does_not_affect_the_others() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    let outcomes =
        [(1, "a"), (2, "a"), (3, "b")].map(|(job, name)| noted(&journal, submitted(JobId(job), 1, "same", Some(name))));
    let outcomes = outcomes.map(|outcome| outcome.recv().unwrap());
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(()), &Ok(())));
    let error = outcomes[1].clone().unwrap_err();
    assert!(error.to_string().contains("jobs.detached"), "{error}");
    assert_eq!((journal.health().refused, journal.health().error), (Some(error), None));
    assert_eq!(journal.reader().unwrap().jobs(5).unwrap().len(), 2);
    // Entries about unknown jobs are ignored.
    journal.note(ended(JobId(77), 1, Ok(())));
    journal.note(Entry::StageBegan { job: JobId(77), stage: 0, attempt: 0, at: 1, tasks: 1 });
    assert_eq!(journal.sync(), Ok(()));
}

#[test]
fn callers_get_an_error_if_the_writer_has_ended() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    // The callback runs on the writer's thread, and ends it.
    journal.note_then(submitted(JobId(1), 1, "last", None), |_| panic!("this panic is part of a test"));
    let error = journal.sync().unwrap_err();
    assert!(error.to_string().contains("no longer written"), "{error}");
    // A caller in the same batch gets its error a little before the thread is gone.
    while journal.health().error.is_none() {
        std::thread::yield_now();
    }
    assert_eq!(journal.health().error, Some(error));
    while journal.lives() {
        std::thread::yield_now();
    }
    let outcome = noted(&journal, submitted(JobId(2), 1, "too late", None));
    assert!(outcome.recv().unwrap().is_err());
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().1.unfinished.len(), 1, "what was committed is there");
}
