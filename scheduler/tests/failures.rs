//! The scheduler and tasks that fail: user errors, workers that die, limits that are reached.

mod table;

use std::time::Duration;
use table::{Table, job, map, result};
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::*;

fn with_limits(limits: Limits) -> JobSpec {
    JobSpec { limits, ..job(vec![result(2, &[])]) }
}

#[test]
fn the_first_error_is_given_whole_with_how_often_it_failed() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![result(1, &[])]));
    for error in ["the first", "second", "third", "fourth"] {
        t.fail(0, 0, error);
    }
    assert_eq!(t.end_of(1), "the first\ntask 0..1 of stage 0 failed 4 times");
}

#[test]
fn locally_the_first_error_is_enough() {
    let mut t = Table::with(1, 2);
    t.submit(1, with_limits(Limits::local()));
    t.fail(0, 0, "no");
    assert_eq!(t.end_of(1), "no\ntask 0..1 of stage 0 failed once");
    assert_eq!(t.killed().len(), 1, "the neighbour is asked to stop");
}

#[test]
fn a_map_stage_that_always_fails_fails_the_second_job_too() {
    let mut t = Table::with(1, 1);
    for id in 1..=2 {
        t.submit(id, job(vec![map(1, 1, &[]), result(1, &[0])]));
        for _ in 0..4 {
            t.fail(0, 0, "always");
        }
        assert_eq!(t.end_of(id), "always\ntask 0..1 of stage 0 failed 4 times");
    }
    assert_eq!(t.scheduler.launched(), 8);
}

#[test]
fn an_error_that_can_only_happen_again_is_not_tried_again() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(1, &[])]));
    let attempt = t.attempt(0, 0);
    t.tell(Event::TaskFailed { attempt, failure: Failure::Final("does not encode".into()) });
    assert_eq!(
        (t.end_of(1).as_str(), t.scheduler.launched()),
        ("does not encode\ntask 0..1 of stage 0 failed once", 1)
    );
}

#[test]
fn a_failed_task_goes_elsewhere_if_there_is_an_elsewhere() {
    let mut t = Table::with(3, 1);
    t.submit(1, job(vec![result(1, &[])]));
    let mut seen = vec![t.task(0, 0).0];
    for _ in 0..2 {
        t.fail(0, 0, "bad machine");
        let engine = t.task(0, 0).0;
        assert!(!seen.contains(&engine), "{engine} had failed it before");
        seen.push(engine);
    }
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(1, &[])]));
    t.fail(0, 0, "the only machine");
    assert_eq!(t.running(), "0:0..1@1");
}

#[test]
fn each_job_of_a_shared_stage_has_its_own_patience() {
    let mut t = Table::with(1, 1);
    let spec = job(vec![map(1, 1, &[]), result(1, &[0])]);
    t.submit(1, JobSpec { limits: Limits { max_attempts: 2, ..Limits::default() }, ..spec.clone() });
    t.submit(2, spec);
    t.fail(0, 0, "flaky");
    t.fail(0, 0, "flaky");
    assert_eq!((t.end_of(1).as_str(), t.end_of(2).as_str()), ("flaky\ntask 0..1 of stage 0 failed 2 times", ""));
    t.finish_all();
    assert_eq!(t.end_of(2), "done");
}

#[test]
fn suspects_of_a_dead_worker_run_alone_and_the_one_that_kills_again_is_named() {
    let mut t = Table::with(1, 3);
    t.submit(1, job(vec![result(4, &[])]));
    let suspects: Vec<_> = t.out.iter().map(|(_, task)| task.attempt).collect();
    assert_eq!(suspects.len(), 3);
    t.tell(Event::WorkerDied { engine: EngineId(1), suspects, error: "signal 11".into() });
    assert_eq!(t.running(), "0:0..1@1", "no other task, although there are slots");
    assert!(t.task(0, 0).1.alone);
    t.done(0, 0);
    assert_eq!(t.running(), "0:1..2@1");
    let attempt = t.attempt(0, 1);
    t.tell(Event::WorkerDied { engine: EngineId(1), suspects: vec![attempt], error: "signal 11".into() });
    assert_eq!(t.end_of(1), "signal 11\ntask 1..2 of stage 0 killed its worker 2 times, the last time alone");
}

#[test]
fn a_suspect_waits_for_an_idle_engine_and_gives_that_reason() {
    let mut t = Table::with(2, 2);
    t.submit(1, job(vec![result(6, &[])]));
    let suspect = t.attempt(0, 0);
    let engine = t.task(0, 0).0;
    t.tell(Event::WorkerDied { engine, suspects: vec![suspect], error: "out of memory".into() });
    assert!(t.out.iter().all(|(_, task)| !task.alone));
    assert_eq!(t.scheduler.why(JobId(1), 0, 0), Some(Why::Alone));
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 7));
}

#[test]
fn workers_that_die_do_not_use_up_the_retries_of_a_task() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(1, &[])]));
    for _ in 0..3 {
        t.fail(0, 0, "flaky");
    }
    let suspects = vec![t.attempt(0, 0)];
    t.tell(Event::WorkerDied { engine: EngineId(1), suspects, error: "signal 9".into() });
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_neighbour_of_a_killed_task_runs_again_uncounted() {
    let mut t = Table::with(1, 1);
    t.submit(1, with_limits(Limits::local()));
    let attempt = t.attempt(0, 0);
    t.tell(Event::TaskFailed { attempt, failure: Failure::Killed });
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 3));
}

#[test]
fn results_over_the_limit_fail_the_job_naming_limit_and_value() {
    let mut t = Table::with(1, 1);
    t.submit(1, with_limits(Limits { max_result_bytes: 100, ..Limits::default() }));
    for partition in 0..2 {
        let attempt = t.attempt(0, partition);
        t.done_with(attempt, 1, 60, 7);
    }
    assert_eq!(t.end_of(1), "max_result_bytes is 100, and the job came to 120");
    assert_eq!(t.commits_of(1), [0]);
}

#[test]
fn with_no_engine_a_job_waits_its_grace_and_then_fails() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(1, &[])]));
    t.said();
    t.lose(1);
    let due = t.now + Duration::from_secs(60);
    assert_eq!(t.actions, [Action::WakeAt { time: due }]);
    t.wait(Duration::from_secs(59));
    assert_eq!(t.end_of(1), "");
    t.wait(Duration::from_secs(1));
    assert!(t.end_of(1).starts_with("there was no engine for 60"), "{}", t.end_of(1));
}

#[test]
fn an_engine_that_comes_back_in_time_clears_the_timer() {
    let mut t = Table::with(0, 0);
    t.submit(1, job(vec![result(1, &[])]));
    t.wait(Duration::from_secs(50));
    t.join(1, 1);
    t.wait(Duration::from_secs(50));
    assert_eq!((t.end_of(1).as_str(), t.running().as_str()), ("", "0:0..1@1"));
    t.lose(1);
    t.wait(Duration::from_secs(50));
    assert_eq!(t.end_of(1), "", "the wait starts again");
}

#[test]
fn a_report_that_does_not_fit_its_task_is_not_believed() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(1, &[])]));
    let attempt = t.attempt(0, 0);
    t.done_with(attempt, 5, 1, 7);
    assert_eq!((t.commits_of(1), t.running().as_str()), (vec![], "0:0..1@1"));
}
