//! Old history is deleted, but nothing that is still needed.

use super::*;
use tryworks_base::ids::AttemptId;
use tryworks_protocol::engine::ResultPart;

const DAY: u64 = 24 * 60 * 60 * 1_000_000;

fn count(path: &Path, sql: &str) -> u64 {
    let look = rusqlite::Connection::open(path).unwrap();
    look.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

#[test]
fn old_jobs_and_tasks_are_deleted_except_unfinished_and_uncollected_jobs() {
    let (_directory, path) = place();
    let bounds = Bounds { jobs: 50, tasks: 2_000, ..Bounds::default() };
    let (journal, _) = Journal::open_within(&path, bounds).unwrap();
    journal.note(session(1));
    // One job is unfinished. Two are detached and uncollected: one since yesterday, one since last month.
    journal.note(submitted(JobId(1), 1, "goes on", None));
    for (job, name, days) in [(2, "yesterday", 1), (3, "last month", 30)] {
        journal.note(submitted(JobId(job), 1, name, Some(name)));
        let part = ResultPart::Here(vec![1; 100_000]);
        journal.note(Entry::Result { job: JobId(job), partition: 0, attempt: AttemptId(1), part });
        journal.note(ended(JobId(job), now() - days * DAY, Ok(())));
    }
    const JOBS: u64 = 1_000;
    for job in 4..4 + JOBS {
        journal.note(submitted(JobId(job), 1, "short", None));
        (0..20).for_each(|attempt| journal.note(Entry::Task { job: JobId(job), row: task(0, attempt) }));
        journal.note(ended(JobId(job), now(), Ok(())));
        if job % 20 == 0 {
            journal.sync().unwrap();
        }
    }
    drop(journal);

    let left = count(&path, "SELECT count(*) FROM jobs WHERE job > 3");
    assert!((49..=50 + 4).contains(&left), "{left}");
    assert_eq!(count(&path, "SELECT min(job) FROM jobs WHERE job > 3"), 4 + JOBS - left, "the latest ones");
    assert_eq!(count(&path, "SELECT CAST(group_concat(job, '') AS INTEGER) FROM jobs WHERE job <= 3"), 12);
    assert_eq!(count(&path, "SELECT CAST(group_concat(job, '') AS INTEGER) FROM results"), 2);
    let rows = count(&path, "SELECT count(*) FROM tasks");
    assert!(rows > 900 && rows <= 2_125, "{rows}");
    let strangers = "SELECT count(*) FROM tasks WHERE job NOT IN (SELECT job FROM jobs)";
    assert_eq!(count(&path, strangers), 0);
    assert_eq!(count(&path, "SELECT count(*) FROM stage_totals"), left);
    assert_eq!(count(&path, "SELECT sum(tasks + failed) FROM stage_totals"), left * 20);
}

#[test]
fn the_name_of_a_job_that_nobody_collected_in_time_is_free_again() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(submitted(JobId(1), 1, "report", Some("report")));
    journal.note(ended(JobId(1), now() - 8 * DAY, Ok(())));
    drop(journal);
    // The hub looks for old jobs when it begins.
    let (journal, found) = Journal::open(&path).unwrap();
    assert_eq!(found.uncollected.len(), 1);
    let (sender, outcome) = std::sync::mpsc::channel();
    let again = submitted(JobId(2), 1, "report", Some("report"));
    journal.note_then(again, move |result| sender.send(result).unwrap());
    outcome.recv().unwrap().unwrap();
    assert_eq!(journal.reader().unwrap().find("report").unwrap(), Some(JobId(2)));
}

#[test]
fn the_file_shrinks_after_deletions() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(submitted(JobId(1), 1, "large", Some("large")));
    for partition in 0..64 {
        let part = ResultPart::Here(vec![partition as u8; 1 << 20]);
        journal.note(Entry::Result { job: JobId(1), partition, attempt: AttemptId(1), part });
    }
    journal.note(ended(JobId(1), now(), Ok(())));
    journal.sync().unwrap();
    let reader = journal.reader().unwrap();
    let sizes: Vec<u64> = reader.held(JobId(1)).unwrap().iter().map(|held| held.length).collect();
    assert_eq!(sizes, [1 << 20; 64]);
    journal.note(Entry::Collected { job: JobId(1), at: now() });
    // The last connection shortens the file, if it may write.
    drop(reader);
    drop(journal);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 20 << 20, "{size} bytes are left of 64 MiB");
    assert_eq!(count(&path, "SELECT count(*) FROM results"), 0);
}
