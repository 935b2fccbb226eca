//! The scheduler and pools: whose task comes next when there is capacity for one.

mod table;

use table::{Table, job, map, result};
use tryworks_base::ids::JobId;
use tryworks_scheduler::*;

fn define(t: &mut Table, pool: &str, spec: PoolSpec) {
    t.tell(Event::PoolDefined { pool: pool.into(), spec });
}

fn weight(weight: u32) -> PoolSpec {
    PoolSpec { weight, ..PoolSpec::default() }
}

fn tasks(pool: &str, number: u32) -> JobSpec {
    JobSpec { pool: pool.into(), ..job(vec![result(number, &[])]) }
}

/// How many tasks of each job are running; jobs are numbered from 1.
fn running(t: &Table, jobs: u64) -> Vec<usize> {
    (1..=jobs).map(|id| t.out.iter().filter(|(_, task)| task.job == JobId(id)).count()).collect()
}

/// Finishes the oldest tasks one by one, and returns the jobs of the tasks launched in their place.
fn turn_over(t: &mut Table, times: usize) -> Vec<u64> {
    let mut order = Vec::new();
    for _ in 0..times {
        let before: Vec<_> = t.out.iter().map(|(_, task)| task.attempt).collect();
        t.done_with(before[0], 1, 1, 7);
        order.extend(t.out.iter().filter(|(_, task)| !before.contains(&task.attempt)).map(|(_, task)| task.job.0));
    }
    order
}

#[test]
fn without_pools_the_first_job_comes_first() {
    let mut t = Table::with(1, 4);
    t.submit(1, tasks("", 6));
    t.submit(2, tasks("", 6));
    assert_eq!(running(&t, 2), [4, 0]);
    assert_eq!(turn_over(&mut t, 4), [1, 1, 2, 2]);
}

#[test]
fn pools_of_equal_weight_take_turns() {
    let mut t = Table::with(2, 4);
    define(&mut t, "b", weight(1));
    t.submit(1, tasks("", 20));
    t.submit(2, tasks("b", 20));
    assert_eq!(running(&t, 2), [8, 0], "nothing that runs is stopped");
    turn_over(&mut t, 4);
    assert_eq!(running(&t, 2), [4, 4]);
    assert_eq!((t.scheduler.pool_running(""), t.scheduler.pool_running("b")), (Some(4), Some(4)));
}

#[test]
fn shares_go_by_weight() {
    let mut t = Table::with(2, 4);
    define(&mut t, "heavy", weight(3));
    define(&mut t, "light", weight(1));
    t.submit(1, tasks("", 8));
    t.submit(2, tasks("light", 20));
    t.submit(3, tasks("heavy", 20));
    turn_over(&mut t, 8);
    assert_eq!(running(&t, 3), [0, 2, 6]);
    t.submit(4, tasks("heavy", 20));
    turn_over(&mut t, 8);
    assert_eq!(running(&t, 4), [0, 2, 6, 0], "within a pool the first job comes first");
}

#[test]
fn a_minimal_share_comes_before_weight_and_priority() {
    let mut t = Table::with(2, 4);
    define(&mut t, "small", PoolSpec { min_share: 3, ..PoolSpec::default() });
    define(&mut t, "urgent", PoolSpec { priority: 9, weight: 100, ..PoolSpec::default() });
    t.submit(1, tasks("urgent", 40));
    t.submit(2, tasks("small", 20));
    turn_over(&mut t, 8);
    assert_eq!(running(&t, 2), [5, 3]);
}

#[test]
fn a_higher_priority_comes_before_weight() {
    let mut t = Table::with(1, 4);
    define(&mut t, "urgent", PoolSpec { priority: 1, ..PoolSpec::default() });
    define(&mut t, "heavy", weight(100));
    t.submit(1, tasks("", 4));
    t.submit(2, tasks("heavy", 4));
    t.submit(3, tasks("urgent", 4));
    assert_eq!(turn_over(&mut t, 8), [3, 3, 3, 3, 2, 2, 2, 2]);
}

#[test]
fn a_pool_that_gets_another_share_has_it_from_then_on() {
    let mut t = Table::with(1, 4);
    define(&mut t, "b", weight(1));
    t.submit(1, tasks("", 40));
    t.submit(2, tasks("b", 40));
    turn_over(&mut t, 4);
    assert_eq!(running(&t, 2), [2, 2]);
    define(&mut t, "b", weight(3));
    turn_over(&mut t, 8);
    assert_eq!(running(&t, 2), [1, 3]);
}

#[test]
fn a_task_of_a_pool_that_has_its_share_gives_that_reason() {
    let mut t = Table::with(1, 2);
    define(&mut t, "b", weight(1));
    t.submit(1, tasks("", 4));
    t.submit(2, tasks("b", 4));
    t.submit(3, tasks("b", 4));
    let why = |t: &Table, id| t.scheduler.why(JobId(id), 0, 3);
    assert_eq!([why(&t, 1), why(&t, 2), why(&t, 3)], [Some(Why::Queue), Some(Why::Share), Some(Why::Queue)]);
}

#[test]
fn a_shared_stage_counts_where_its_oldest_job_is() {
    let mut t = Table::with(1, 4);
    define(&mut t, "b", weight(1));
    let spec = |pool: &str| JobSpec { pool: pool.into(), ..job(vec![map(1, 4, &[]), result(1, &[0])]) };
    t.submit(1, spec(""));
    t.submit(2, spec("b"));
    let running = |t: &Table| (t.scheduler.pool_running(""), t.scheduler.pool_running("b"));
    assert_eq!(running(&t), (Some(4), Some(0)));
    t.cancel(1);
    assert_eq!(running(&t), (Some(0), Some(4)));
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), running(&t)), ("done", (Some(0), Some(0))));
}

/// Regression: with tens of thousands of jobs of one task each, engines held one task each in advance. Each dispatch
/// then looked at all other tasks without need.
#[test]
fn engines_hold_many_small_jobs_in_advance_but_do_not_hoard_few() {
    let prefetch = |t: &mut Table| {
        for engine in 1..=2 {
            t.tell(Event::EnginePrefetch { engine: tryworks_base::ids::EngineId(engine), prefetch: 100 });
        }
    };
    let mut t = Table::with(2, 2);
    prefetch(&mut t);
    (1..=1_000).for_each(|job| t.submit(job, tasks("", 1)));
    assert_eq!(t.out.len(), 2 * (2 + 100), "engines are full, so no other job is looked at");
    // If few jobs are left, they wait for the engine that is free first.
    let mut t = Table::with(2, 2);
    prefetch(&mut t);
    (1..=12).for_each(|job| t.submit(job, tasks("", 1)));
    assert!(t.out.len() <= 2 * (2 + 3), "{}", t.out.len());
}

#[test]
fn a_job_in_an_undefined_pool_fails_with_the_names_of_the_pools() {
    let mut t = Table::with(1, 1);
    let told = |t: &mut Table, id| {
        t.submit(id, JobSpec { label: "count at src/main.rs:3:9".into(), ..tasks("zzz", 1) });
        t.end_of(id)
    };
    let asked = "there is no pool named \"zzz\", which count at src/main.rs:3:9 is to run in; ";
    assert_eq!(told(&mut t, 1), format!("{asked}the cluster has none with a name"));
    define(&mut t, "now", weight(1));
    define(&mut t, "etl", weight(1));
    assert_eq!(told(&mut t, 2), format!("{asked}the cluster's pools are `etl`, `now`"));
}
