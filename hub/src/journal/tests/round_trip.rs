//! What was noted can be read, through a reader and after a restart.

use super::*;
use std::os::unix::fs::PermissionsExt;
use tryworks_base::ids::{AttemptId, ExchangeId};
use tryworks_protocol::admin::StageRow;
use tryworks_protocol::engine::ResultPart;
use tryworks_scheduler::Change;

#[test]
fn a_job_with_its_stages_and_tasks_is_found_by_number_name_and_label() {
    let (_directory, path) = place();
    let (journal, found) = Journal::open(&path).unwrap();
    assert_eq!(
        (found.epoch, found.numbers.used(Counter::Launches), found.sessions.len(), found.unfinished.len()),
        (1, 0, 0, 0)
    );
    journal.note(session(1));
    let (first, second) = (JobId(1), JobId(2));
    journal.note(submitted(first, 1, "count at main.rs:3", None));
    journal.note(submitted(second, 1, "count at main.rs:3", Some("nightly")));
    journal.note(Entry::StageBegan { job: first, stage: 0, attempt: 0, at: 50, tasks: 9 });
    journal.note(Entry::StageEnded { job: first, stage: 0, attempt: 0, at: 60 });
    journal.note(Entry::StageBegan { job: first, stage: 0, attempt: 1, at: 70, tasks: 1 });
    journal.note(Entry::StageEnded { job: first, stage: 0, attempt: 1, at: 90 });
    journal.note(Entry::StageBegan { job: first, stage: 1, attempt: 0, at: 91, tasks: 2 });
    let mut rows: Vec<TaskRow> = (1..=12).map(|attempt| task(0, attempt)).collect();
    // A task that was stopped did not fail.
    let stopped = Some(TaskRow::STOPPED.to_string());
    rows.push(TaskRow { error: stopped, span: (0, 0), rows: 0, bytes: 0, ..task(0, 13) });
    rows.iter().for_each(|row| journal.note(Entry::Task { job: first, row: row.clone() }));
    let error = Error::limit("max_result_bytes", 10, "12 bytes", "collect less");
    journal.note(ended(first, 1_000, Err(error.clone())));
    journal.sync().unwrap();

    let reader = journal.reader().unwrap();
    let jobs = reader.jobs(10).unwrap();
    assert_eq!(jobs.iter().map(|row| row.job).collect::<Vec<_>>(), [second, first]);
    assert_eq!(
        (jobs[0].state.as_str(), jobs[0].detached.as_deref(), jobs[0].submitted),
        ("running", Some("nightly"), 20)
    );
    assert_eq!(reader.jobs(1).unwrap().len(), 1);

    let detail = reader.job("1", 5).unwrap().unwrap();
    assert_eq!(detail.job, jobs[1]);
    assert_eq!((detail.job.state.as_str(), detail.job.ended), ("failed", Some(1_000)));
    assert_eq!((detail.job.error, detail.job.progress.failed), (Some(error.to_string()), 1));
    let whole = StageRow {
        stage: 0,
        attempts: 2,
        began: Some(50),
        ended: Some(90),
        tasks: 10,
        failed: 2,
        busy: 12 * 7,
        rows: 24,
        bytes: 360,
    };
    // This stage was still running when its job ended, so it ended with the job.
    let begun = StageRow { stage: 1, attempts: 1, began: Some(91), ended: Some(1_000), ..StageRow::default() };
    assert_eq!(detail.stages, [whole, begun]);
    let latest: Vec<TaskRow> = rows.into_iter().rev().take(5).collect();
    assert_eq!(detail.tasks, latest);

    assert_eq!(reader.find("nightly").unwrap(), Some(second));
    assert_eq!(reader.find("count at main.rs:3").unwrap(), Some(second), "the latest job with that label");
    assert_eq!((reader.find("3").unwrap(), reader.find("count").unwrap()), (None, None));
    assert!(reader.job("nobody", 5).unwrap().is_none());
    assert_eq!((reader.end(first).unwrap(), reader.end(second).unwrap()), (Some(Err(error)), None));
}

/// Its first end was shown while it ran again.
#[test]
fn a_stage_that_runs_again_has_the_end_of_its_last_run() {
    let (_directory, path) = place();
    let journal = Journal::open(&path).unwrap().0;
    let job = JobId(1);
    journal.note(session(1));
    journal.note(submitted(job, 1, "count at main.rs:3", None));
    let shown = |journal: &Journal| {
        journal.sync().unwrap();
        let stage = journal.reader().unwrap().job("1", 5).unwrap().unwrap().stages.remove(0);
        (stage.attempts, stage.began, stage.ended)
    };
    let began = |attempt, at| Entry::StageBegan { job, stage: 0, attempt, at, tasks: 1 };
    let ended = |attempt, at| Entry::StageEnded { job, stage: 0, attempt, at };
    journal.note(began(0, 50));
    journal.note(ended(0, 60));
    assert_eq!(shown(&journal), (1, Some(50), Some(60)));
    journal.note(began(1, 70));
    assert_eq!(shown(&journal), (2, Some(50), None));
    // Its second run is lost with its hub, which counts anew.
    drop(journal);
    let journal = Journal::open(&path).unwrap().0;
    journal.note(began(0, 80));
    assert_eq!(shown(&journal), (3, Some(50), None));
    journal.note(ended(0, 90));
    assert_eq!(shown(&journal), (3, Some(50), Some(90)));
}

#[test]
fn a_restarted_hub_finds_what_had_not_ended() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    (1..=4).for_each(|number| journal.note(session(number)));
    journal.note(Entry::SessionEnded { session: SessionId(1), at: 5 });
    for (job, owner, name) in [(1, 2, None), (2, 2, Some("a")), (3, 3, Some("b")), (4, 3, None), (5, 4, Some("c"))] {
        journal.note(submitted(JobId(job), owner, "label", name));
    }
    let result =
        |job, partition, part| Entry::Result { job, partition, attempt: AttemptId(900 + u64::from(partition)), part };
    journal.note(result(JobId(2), 3, ResultPart::Here(vec![3; 3])));
    journal.note(result(JobId(2), 0, ResultPart::Kept(5 << 20)));
    journal.note(result(JobId(2), 3, ResultPart::Here(vec![4; 4])));
    journal.note(result(JobId(1), 0, ResultPart::Here(vec![1])));
    journal.note(result(JobId(3), 0, ResultPart::Here(vec![9])));
    journal.note(ended(JobId(3), now(), Ok(())));
    journal.note(ended(JobId(4), now(), Err(Error::Cancelled)));
    journal.note(ended(JobId(5), now(), Ok(())));
    journal.note(Entry::Collected { job: JobId(5), at: now() });
    drop(journal);

    let (journal, found) = Journal::open(&path).unwrap();
    assert_eq!(found.epoch, 2);
    assert_eq!(found.sessions.iter().map(|session| session.session.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(found.sessions[0].proof.is_of(&[2; 16]) && !found.sessions[0].proof.is_of(&[3; 16]));
    assert_eq!(found.sessions[0].program, Some(program()));
    assert_eq!(found.sessions[1].program, None, "it is no longer needed");
    let [attached, detached] = &found.unfinished[..] else { panic!("{:?}", found.unfinished) };
    assert_eq!((attached.row.job, attached.session.0, attached.ticket), (JobId(1), 2, 1));
    assert!(attached.detached.is_none());
    let resume = detached.detached.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(resume.submission, new_job(JobId(2), "a"));
    let kept = Held { partition: 0, attempt: AttemptId(900), length: 5 << 20, here: false };
    assert_eq!(resume.held, [kept, Held { partition: 3, attempt: AttemptId(903), length: 3, here: true }]);
    assert_eq!(found.uncollected.iter().map(|job| job.row.job.0).collect::<Vec<_>>(), [3]);

    let reader = journal.reader().unwrap();
    let results: Vec<_> = reader.results(JobId(2)).map(Result::unwrap).collect();
    let first = (0, AttemptId(900), ResultPart::Kept(5 << 20));
    assert_eq!(results, [first, (3, AttemptId(903), ResultPart::Here(vec![3; 3]))]);
    assert_eq!(reader.results(JobId(1)).count(), 0, "results of a job with a driver are the driver's");
    assert_eq!(reader.detached("b").unwrap().unwrap().state, "done");
    assert_eq!(reader.detached("c").unwrap(), None);
    assert_eq!(reader.end(JobId(4)).unwrap(), Some(Err(Error::Cancelled)));
    // A driver of the old session submits its job again.
    journal.note(submitted(JobId(1), 2, "label", None));
    journal.note(ended(JobId(1), now(), Ok(())));
    journal.sync().unwrap();
    assert_eq!(reader.end(JobId(1)).unwrap(), Some(Ok(())));
}

#[test]
fn an_environment_is_in_the_tables_only_while_a_detached_job_needs_it() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(session(1));
    journal.note(submitted(JobId(1), 1, "with a driver", None));
    journal.sync().unwrap();
    let look = rusqlite::Connection::open(&path).unwrap();
    let programs = || look.query_row("SELECT count(program) FROM sessions", [], |row| row.get::<_, u32>(0)).unwrap();
    assert_eq!(programs(), 0);
    journal.note(submitted(JobId(2), 1, "alone", Some("a")));
    journal.note(submitted(JobId(3), 1, "alone", Some("b")));
    journal.sync().unwrap();
    assert_eq!(programs(), 1);
    journal.note(ended(JobId(2), now(), Ok(())));
    journal.sync().unwrap();
    assert_eq!(programs(), 1, "the other one still needs it");
    journal.note(ended(JobId(3), now(), Ok(())));
    journal.sync().unwrap();
    assert_eq!(programs(), 0);
    // The secret is [1; 16]: the table has only its hash.
    let proof: Vec<u8> = look.query_row("SELECT proof FROM sessions", [], |row| row.get(0)).unwrap();
    assert_eq!((proof.len(), proof.windows(16).any(|part| part == [1; 16])), (32, false));
}

#[test]
fn only_the_owner_may_read_and_only_one_hub_may_write() {
    let (directory, path) = place();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(session(1));
    journal.sync().unwrap();
    let modes: Vec<u32> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 4], "the file, its log, its index, its lock");
    let refusal = Journal::open(&path).err().unwrap().to_string();
    assert!(refusal.contains("another hub writes"), "{refusal}");
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().1.epoch, 2);
}

#[test]
fn any_sqlite_client_can_query_the_views_and_a_reader_needs_no_hub() {
    let (_directory, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    let job = JobId(1);
    journal.note(submitted(job, 1, "sum", None));
    journal.note(Entry::Task { job, row: task(0, 1) });
    journal.note(ended(job, 1_500_010, Ok(())));
    drop(journal);
    assert_eq!(Reader::open(&path).unwrap().jobs(5).unwrap()[0].label, "sum");
    let look = rusqlite::Connection::open(&path).unwrap();
    let text = |sql: &str| look.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("SELECT submitted_utc || ' ' || seconds FROM job_overview"), "1970-01-01 00:00:00 1.5");
    assert_eq!(text("SELECT began_utc || ' ' || seconds FROM task_overview"), "1970-01-01 00:00:00 7.0e-06");
}

#[test]
fn numbers_continue_without_a_gap_after_an_orderly_stop() {
    let (_directory, path) = place();
    let (journal, Recovered { mut numbers, .. }) = Journal::open(&path).unwrap();
    let jobs: Vec<u64> = (0..1_000).map(|_| next(&journal, &mut numbers, Counter::Jobs)).collect();
    assert_eq!(jobs, (1..=1_000).collect::<Vec<_>>());
    let others = [Counter::Sessions, Counter::Engines];
    assert_eq!(others.map(|counter| next(&journal, &mut numbers, counter)), [1, 1]);
    claim(&journal, &mut numbers, Counter::Launches, 5_000_000);
    claim(&journal, &mut numbers, Counter::Launches, 4_000_000);
    journal.give_back(&numbers);
    drop(journal);
    let (journal, Recovered { mut numbers, .. }) = Journal::open(&path).unwrap();
    assert_eq!(numbers.used(Counter::Launches), 5_000_000);
    assert_eq!(next(&journal, &mut numbers, Counter::Jobs), 1_001);
    assert_eq!(others.map(|counter| next(&journal, &mut numbers, counter)), [2, 2]);
    // A killed hub releases no numbers.
    drop(journal);
    let (_, found) = Journal::open(&path).unwrap();
    assert!(found.numbers.used(Counter::Jobs) > 1_200);
}

#[test]
fn checksums_of_outputs_are_remembered_until_they_are_forgotten() {
    let (_directory, path) = place();
    let (journal, found) = Journal::open(&path).unwrap();
    assert!(found.outputs.is_empty());
    let output = |session: u32, exchange| SessionId(session).output(ExchangeId(exchange));
    let made = |output, partitions: &[(u32, u64)]| Entry::Made { output, partitions: partitions.to_vec() };
    (1..=3).for_each(|number| journal.note(session(number)));
    // The largest possible numbers.
    journal.note(made(output(u32::MAX, 1), &[(u32::MAX, u64::MAX), (0, 1 << 63)]));
    journal.note(made(output(1, 1), &[(0, 5), (1, 6)]));
    journal.note(made(output(1, 2), &[(0, 7)]));
    journal.note(made(output(1, 3), &[(0, 8)]));
    journal.note(made(output(2, 1), &[(4, 9)]));
    journal.note(made(output(1, 1), &[(1, 66)]));
    let change = Change { partition: 1, launched: 1 << 40 };
    journal.note(Entry::Changed { output: output(1, 1), change, recomputed: vec![output(1, 2), output(1, 9)] });
    journal.note(Entry::Forgotten { output: output(1, 3) });
    drop(journal);

    let (journal, found) = Journal::open(&path).unwrap();
    let remembered = |made: &[(u32, u64)], changed| Remembered { made: made.to_vec(), changed };
    let expected = [
        (output(1, 1), remembered(&[(0, 5), (1, 66)], Some(change))),
        (output(2, 1), remembered(&[(4, 9)], None)),
        (output(u32::MAX, 1), remembered(&[(0, 1 << 63), (u32::MAX, u64::MAX)], None)),
    ];
    assert_eq!(found.outputs.into_iter().collect::<Vec<_>>(), expected);
    journal.note(Entry::SessionEnded { session: SessionId(1), at: 5 });
    journal.note(Entry::Forgotten { output: output(u32::MAX, 1) });
    drop(journal);
    let (_journal, found) = Journal::open(&path).unwrap();
    assert_eq!(found.outputs.into_keys().collect::<Vec<_>>(), [output(2, 1)]);
}
