//! The scheduler and stages: order, sharing, packing, fairness, and jobs that end at once.

mod table;

use table::{Table, job, map, result};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};
use tryworks_scheduler::*;

#[test]
fn one_passing_failure_costs_exactly_one_more_run() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(3, &[])]));
    t.fail(0, 0, "flaky");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 4));
}

#[test]
fn a_child_waits_for_all_of_its_parents_and_a_diamond_runs_once() {
    let mut t = Table::with(1, 8);
    t.submit(1, job(vec![map(1, 2, &[]), map(2, 1, &[0]), map(3, 1, &[0]), result(1, &[1, 2])]));
    assert_eq!(t.running(), "0:0..1@1 0:1..2@1");
    t.done(0, 0);
    assert_eq!(t.running(), "0:1..2@1");
    t.done(0, 1);
    assert_eq!(t.running(), "1:0..1@1 2:0..1@1");
    t.done(2, 0);
    t.done(1, 0);
    assert_eq!(t.running(), "3:0..1@1");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 5));
}

#[test]
fn a_job_with_invalid_stages_is_refused_with_the_reason() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 1, &[1]), result(1, &[0])]));
    assert_eq!(t.end_of(1), "a stage reads a stage that does not come before it");
    t.submit(2, job(vec![map(1, 1, &[])]));
    assert_eq!(t.end_of(2), "the result stage makes an output");
    t.submit(3, JobSpec { wanted: (0..3).into(), ..job(vec![result(2, &[])]) });
    assert_eq!(t.end_of(3), "a wanted partition does not exist");
    t.submit(4, job(vec![map(1, 1, &[]), result(1, &[0])]));
    t.submit(5, job(vec![map(1, 2, &[]), result(1, &[0])]));
    assert_eq!(t.end_of(5), "an output is described differently than it was before");
}

#[test]
fn a_later_plan_may_end_where_blocks_exist() {
    let mut t = Table::with(1, 4);
    t.submit(1, job(vec![map(1, 1, &[]), map(2, 1, &[0]), result(1, &[1])]));
    t.finish_all();
    t.submit(2, job(vec![map(2, 1, &[]), result(1, &[0])]));
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), t.scheduler.launched()), ("done", 4));
}

#[test]
fn a_deep_lineage_of_diamonds_is_walked_once_and_not_by_recursion() {
    let depth = 20_000;
    let mut stages = vec![map(0, 1, &[]), map(1, 1, &[0])];
    for n in 2..depth {
        stages.push(map(n as u64, 1, &[n - 1, n - 2]));
    }
    stages.push(result(1, &[depth - 1, depth - 2]));
    let mut t = Table::with(1, 1);
    t.submit(1, job(stages));
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", depth as u64 + 1));
}

#[test]
fn a_shared_stage_runs_once_and_outlives_the_job_that_began_it() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.submit(2, job(vec![map(1, 2, &[]), result(1, &[0])]));
    assert_eq!(t.running(), "0:0..1@1");
    t.cancel(1);
    assert_eq!((t.end_of(1).as_str(), t.killed()), ("cancelled", vec![]));
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), t.scheduler.launched()), ("done", 3));
}

#[test]
fn a_later_job_does_not_recompute_existing_blocks() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.finish_all();
    t.submit(2, job(vec![map(1, 2, &[]), result(2, &[0])]));
    assert_eq!(t.running(), "1:0..1@1");
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), t.scheduler.launched()), ("done", 5));
}

#[test]
fn a_released_output_goes_when_the_last_job_that_needs_it_has_ended() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 1, &[]), result(1, &[0])]));
    t.done(0, 0);
    t.release(1);
    let deletes = |t: &Table| t.actions.iter().filter(|a| matches!(a, Action::DeleteOutput { .. })).count();
    assert_eq!(deletes(&t), 0);
    t.finish_all();
    assert_eq!(deletes(&t), 1);
    assert_eq!(t.scheduler.census(), Census { engines: 1, ..Census::default() });
}

#[test]
fn a_job_that_wants_nothing_is_done_and_a_stage_of_nothing_is_complete() {
    let mut t = Table::with(0, 0);
    t.submit(1, job(vec![map(1, 5, &[]), result(0, &[0])]));
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 0));
    let mut t = Table::with(1, 1);
    t.submit(2, job(vec![map(1, 0, &[]), result(1, &[0])]));
    assert_eq!(t.running(), "1:0..1@1");
}

#[test]
fn cancelling_what_is_unknown_or_over_does_nothing() {
    let mut t = Table::with(1, 1);
    t.cancel(9);
    t.submit(1, job(vec![result(1, &[])]));
    t.finish_all();
    t.said();
    t.cancel(1);
    t.cancel(1);
    assert_eq!(t.said(), vec![]);
}

#[test]
fn a_cancellation_reports_the_counts_of_each_stage() {
    let mut t = Table::with(1, 2);
    t.submit(1, job(vec![map(1, 4, &[]), result(3, &[0])]));
    t.done(0, 0);
    let running = [t.attempt(0, 1), t.attempt(0, 2)];
    t.said();
    t.cancel(1);
    let said = t.said();
    let stage = |stage, not_started, stopped, done| Cancelled { stage, not_started, stopped, done, shared: false };
    let report = vec![stage(0, 1, 2, 1), stage(1, 3, 0, 0)];
    let kill = |attempt| Action::Kill { engine: EngineId(1), attempt };
    assert_eq!(said, [kill(running[1]), kill(running[0]), Action::JobCancelled { job: JobId(1), report }]);
    // One task stops; the other one was faster, and its output is not wanted.
    t.tell(Event::TaskFailed { attempt: running[0], failure: Failure::Killed });
    t.done_with(running[1], 1, 1, 7);
    assert_eq!(t.said(), [Action::Discard { engine: EngineId(1), attempt: running[1] }]);
}

#[test]
fn jobs_are_served_in_the_order_of_submission_and_do_not_mix() {
    let mut t = Table::with(1, 2);
    t.submit(1, job(vec![result(3, &[])]));
    t.submit(2, job(vec![result(2, &[])]));
    let order: Vec<u64> = std::iter::from_fn(|| {
        let (_, task) = t.out.first().cloned()?;
        t.done_with(task.attempt, 1, 1, 7);
        Some(task.job.0)
    })
    .collect();
    assert_eq!(order, [1, 1, 1, 2, 2]);
    assert_eq!((t.commits_of(1), t.commits_of(2)), (vec![0, 1, 2], vec![0, 1]));
}

#[test]
fn a_stage_is_packed_by_the_measured_size_of_what_it_reads() {
    let mut t = Table::with(1, 9);
    let by_size = Packing::BySize { target_bytes: 100, max_partitions: 10 };
    let maps = StageSpec { buckets: 5, ..map(1, 2, &[]) };
    t.submit(1, job(vec![maps, StageSpec { pack: by_size, ..result(5, &[0]) }]));
    for partition in 0..2 {
        let attempt = t.attempt(0, partition);
        let report = Report { partitions: vec![PartitionReport::default()], bucket_bytes: vec![20, 20, 90, 5, 5] };
        t.tell(Event::TaskDone { attempt, report });
    }
    assert_eq!(t.running(), "1:0..2@1 1:2..3@1 1:3..5@1");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn several_launches_for_one_engine_travel_as_one_and_idle_engines_come_first() {
    let mut t = Table::with(2, 2);
    t.submit(1, job(vec![result(4, &[])]));
    let launches: Vec<usize> = t
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::Launch { tasks, .. } => Some(tasks.len()),
            _ => None,
        })
        .collect();
    assert_eq!((launches, t.running().as_str()), (vec![2, 2], "0:0..1@1 0:2..3@1 0:1..2@2 0:3..4@2"));
}

#[test]
fn a_wanted_set_with_gaps_is_all_that_runs() {
    let mut t = Table::with(1, 4);
    let wanted: Partitions = [1, 2, 7].into_iter().collect();
    let stage = StageSpec { pack: Packing::Fixed(2), ..result(9, &[]) };
    t.submit(1, JobSpec { wanted, ..job(vec![stage]) });
    assert_eq!(t.running(), "0:1..3@1 0:7..8@1");
    t.finish_all();
    assert_eq!((t.commits_of(1), t.end_of(1).as_str()), (vec![1, 2, 7], "done"));
}

#[test]
fn a_stage_of_one_task_runs_where_most_of_its_input_is() {
    let mut t = Table::with(3, 1);
    t.submit(1, job(vec![map(1, 3, &[]), result(1, &[0])]));
    for (partition, bytes) in [(0, 10), (1, 5_000), (2, 10)] {
        let attempt = t.attempt(0, partition);
        t.done_with(attempt, 1, bytes, 7);
    }
    let holder = t.scheduler.places(OutputId(1))[1].location().unwrap().engine;
    assert_eq!(t.task(1, 0).0, holder);
}

#[test]
fn every_waiting_task_has_a_reason() {
    let mut t = Table::with(0, 0);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    let why = |t: &Table, stage, partition| t.scheduler.why(JobId(1), stage, partition);
    assert_eq!(why(&t, 0, 0), Some(Why::NoEngine));
    assert_eq!(why(&t, 1, 0), Some(Why::Dependency { stage: 0, missing: 2 }));
    t.join(1, 1);
    assert_eq!((why(&t, 0, 0), why(&t, 0, 1)), (None, Some(Why::Queue)));
    t.tell(Event::EngineGate { engine: EngineId(1), gate: Gate::Memory });
    assert_eq!(why(&t, 0, 1), Some(Why::Memory));
    t.tell(Event::EngineGate { engine: EngineId(1), gate: Gate::Excluded });
    assert_eq!(why(&t, 0, 1), Some(Why::Excluded));
    t.tell(Event::EngineGate { engine: EngineId(1), gate: Gate::Open });
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), why(&t, 0, 0)), ("done", None));
}

#[test]
fn a_lost_partition_that_no_task_reads_is_shown_as_not_needed() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 2, &[]), map(2, 1, &[0]), result(2, &[1])]));
    (0..2).for_each(|partition| t.done(0, partition));
    t.done(1, 0);
    t.lose_block(1, 1);
    let why = |t: &Table, stage, partition| t.scheduler.why(JobId(1), stage, partition);
    assert_eq!((why(&t, 0, 0), why(&t, 0, 1)), (None, Some(Why::NotNeeded)));
    // Until the output made from it is lost as well.
    let attempt = t.attempt(2, 0);
    t.cannot_fetch(attempt, 2, 0);
    assert_eq!((why(&t, 0, 1), t.running().as_str()), (None, "0:1..2@1"));
    assert_eq!(why(&t, 1, 0), Some(Why::Dependency { stage: 0, missing: 1 }));
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn progress_counts_tasks_and_results() {
    let mut t = Table::with(1, 2);
    t.submit(1, job(vec![map(1, 4, &[]), result(3, &[0])]));
    t.done(0, 0);
    t.fail(0, 1, "flaky");
    let progress = t.scheduler.progress(JobId(1)).unwrap();
    let expected = Progress {
        stages: 2,
        tasks: 7,
        tasks_done: 1,
        tasks_running: 2,
        tasks_failed: 1,
        results: 3,
        ..Progress::default()
    };
    assert_eq!(progress, expected);
}

#[test]
fn attempts_begin_after_those_of_an_earlier_life() {
    let mut scheduler = Scheduler::<String>::new(Config { launched: 41, ..Config::default() });
    let mut actions = Vec::new();
    scheduler.handle(Time(0), Event::EngineJoined { engine: EngineId(1), slots: 1 }, &mut actions);
    scheduler.handle(Time(0), Event::JobSubmitted { job: JobId(1), spec: job(vec![result(1, &[])]) }, &mut actions);
    let Some(Action::Launch { tasks, .. }) = actions.last() else { panic!("a launch") };
    assert_eq!(tasks[0].attempt, AttemptId::new(42, 0));
}

#[test]
fn reports_that_arrive_together_are_answered_by_one_launch() {
    let mut t = Table::with(1, 2);
    t.submit(1, job(vec![result(6, &[])]));
    let report = Report { partitions: vec![PartitionReport::default()], bucket_bytes: vec![] };
    let both: Vec<_> =
        t.out.iter().map(|(_, task)| Event::TaskDone { attempt: task.attempt, report: report.clone() }).collect();
    t.said();
    t.scheduler.handle_all(Time(9), both, &mut t.actions);
    let [Action::Commit { .. }, Action::Commit { .. }, Action::Launch { tasks, .. }] = &t.actions[..] else {
        panic!("{:?}", t.actions)
    };
    assert_eq!(tasks.len(), 2);
}
