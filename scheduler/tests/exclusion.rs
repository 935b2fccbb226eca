//! The scheduler and engines on which tasks fail: they are excluded for a while, but some job always makes progress.

mod table;

use std::time::Duration;
use table::{Table, job, map, result};
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Engines of two slots. Two different tasks that fail on one of them within a minute exclude it for an hour.
fn strict(engines: u32) -> Table {
    let exclusion = Some(Exclusion { failures: 2, window: MINUTE, lasts: 60 * MINUTE });
    let mut t = Table::with(0, 0);
    t.scheduler = Scheduler::new(Config { exclusion, ..Config::default() });
    (1..=engines).for_each(|engine| t.join(engine, 2));
    t
}

fn is_excluded(t: &Table, engine: u32) -> bool {
    t.scheduler.excluded_until(EngineId(engine)).is_some()
}

/// Fails tasks that run on an engine.
fn fail_on(t: &mut Table, engine: u32, times: usize) {
    for _ in 0..times {
        let (_, task) = t.out.iter().find(|(on, _)| *on == EngineId(engine)).cloned().expect("a task there");
        t.tell(Event::TaskFailed { attempt: task.attempt, failure: Failure::User("bad machine".into()) });
    }
}

#[test]
fn an_engine_on_which_different_tasks_fail_is_excluded_until_its_time_is_over() {
    let mut t = strict(2);
    t.submit(1, job(vec![result(40, &[])]));
    fail_on(&mut t, 1, 2);
    assert!(is_excluded(&t, 1) && !is_excluded(&t, 2));
    assert_eq!(t.scheduler.why(JobId(1), 0, 39), Some(Why::Excluded));
    let there = |t: &Table| t.out.iter().filter(|(on, _)| *on == EngineId(1)).count();
    assert_eq!(there(&t), 1, "what runs goes on");
    t.done_on(1);
    t.done_on(2);
    assert_eq!(there(&t), 0);
    t.wait(60 * MINUTE);
    assert_eq!((is_excluded(&t, 1), there(&t)), (false, 2));
    assert_eq!(t.scheduler.why(JobId(1), 0, 39), Some(Why::Queue));
}

#[test]
fn the_same_task_again_and_failures_long_ago_do_not_count() {
    let mut t = strict(1);
    t.submit(1, job(vec![result(1, &[])]));
    fail_on(&mut t, 1, 3);
    assert!(!is_excluded(&t, 1), "one task");
    t.finish_all();
    let mut t = strict(2);
    t.submit(1, job(vec![result(40, &[])]));
    fail_on(&mut t, 1, 1);
    t.wait(2 * MINUTE);
    fail_on(&mut t, 1, 1);
    assert!(!is_excluded(&t, 1), "long ago");
}

#[test]
fn failed_fetches_and_lost_blocks_are_not_put_down_to_the_reader() {
    let mut t = strict(2);
    t.submit(1, job(vec![map(1, 1, &[]), result(4, &[0])]));
    t.done(0, 0);
    let readers: Vec<_> = t.out.iter().map(|(_, task)| task.attempt).collect();
    let place = t.scheduler.places(tryworks_base::ids::OutputId(1))[0].location();
    readers.into_iter().for_each(|reader| t.cannot_fetch_from(reader, 1, 0, place));
    assert!(!is_excluded(&t, 1) && !is_excluded(&t, 2));
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_worker_that_dies_counts_once_whatever_it_was_running() {
    let mut t = strict(2);
    t.submit(1, job(vec![result(40, &[])]));
    for round in 0..2 {
        assert!(!is_excluded(&t, 1));
        let on_first = t.out.iter().filter(|(on, _)| *on == EngineId(1)).map(|(_, task)| task.attempt);
        let suspects: Vec<_> = on_first.collect();
        assert!(!suspects.is_empty(), "round {round}");
        t.tell(Event::WorkerDied { engine: EngineId(1), suspects, error: "signal 11".into() });
        if round == 0 {
            while t.out.iter().any(|(_, task)| task.alone) || t.out.iter().all(|(on, _)| *on != EngineId(1)) {
                let (_, task) = t.out[0].clone();
                t.done_with(task.attempt, 1, 1, 7);
            }
        }
    }
    assert!(is_excluded(&t, 1));
}

#[test]
fn when_all_are_excluded_the_first_of_them_is_used_anyway() {
    let mut t = strict(2);
    t.submit(1, job(vec![result(40, &[])]));
    fail_on(&mut t, 1, 2);
    fail_on(&mut t, 2, 2);
    assert_eq!((is_excluded(&t, 1), is_excluded(&t, 2)), (false, true));
    assert!(t.out.iter().any(|(on, _)| *on == EngineId(1)));
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn when_all_others_go_an_excluded_engine_is_used_anyway() {
    let mut t = strict(2);
    t.submit(1, job(vec![result(40, &[])]));
    fail_on(&mut t, 1, 2);
    t.lose(2);
    assert!(!is_excluded(&t, 1));
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_task_that_fails_everywhere_fails_its_job_and_not_the_next() {
    let mut t = strict(3);
    t.submit(1, job(vec![result(2, &[])]));
    t.submit(2, job(vec![result(2, &[])]));
    while t.end_of(1).is_empty() {
        let attempt = t.out.iter().find(|(_, task)| task.job == JobId(1)).unwrap().1.attempt;
        t.tell(Event::TaskFailed { attempt, failure: Failure::Panic("always".into()) });
    }
    assert!(t.end_of(1).starts_with("always"));
    t.finish_all();
    assert_eq!(t.end_of(2), "done");
}

impl Table {
    /// Finishes one task on an engine.
    fn done_on(&mut self, engine: u32) {
        let (_, task) = self.out.iter().find(|(on, _)| *on == EngineId(engine)).cloned().expect("a task there");
        self.done_with(task.attempt, task.partitions.len(), 1, 7);
    }
}
