//! The scheduler and locality: tasks go to the engine that has what they read, and never wait for it while a slot is
//! free.

mod table;

use table::{Table, job, map, result};
use tryworks_base::ids::EngineId;
use tryworks_scheduler::*;

fn local(partitions: u32, hints: &[(std::ops::Range<u32>, u32)]) -> JobSpec {
    let local_to = hints.iter().map(|(run, engine)| (Run::new(run.start, run.end), EngineId(*engine))).collect();
    job(vec![StageSpec { local_to, ..result(partitions, &[]) }])
}

/// Engines of one slot that may hold one more task each.
fn with_prefetch(engines: u32) -> Table {
    let mut t = Table::with(0, 0);
    t.scheduler = Scheduler::new(Config { prefetch: 1, ..Config::default() });
    (1..=engines).for_each(|engine| t.join(engine, 1));
    t
}

#[test]
fn a_task_goes_to_the_engine_that_has_what_it_reads() {
    let mut t = Table::with(3, 1);
    t.submit(1, local(3, &[(0..1, 3), (1..2, 1), (2..3, 2)]));
    assert_eq!(t.running(), "0:1..2@1 0:2..3@2 0:0..1@3");
}

#[test]
fn an_idle_engine_takes_what_is_local_to_a_busy_one_at_once() {
    let mut t = Table::with(2, 1);
    t.submit(1, local(4, &[(0..4, 2)]));
    assert_eq!(t.running(), "0:0..1@2 0:1..2@1");
    t.done(0, 0);
    assert_eq!(t.running(), "0:1..2@1 0:2..3@2");
    t.done(0, 1);
    assert_eq!(t.running(), "0:2..3@2 0:3..4@1");
}

#[test]
fn an_engine_does_not_hold_in_advance_what_is_local_to_another() {
    let mut t = with_prefetch(2);
    t.submit(1, local(6, &[(0..6, 2)]));
    assert_eq!(t.running(), "0:0..1@2 0:2..3@2 0:1..2@1", "engine 1 could hold one, but not begin it at once");
    t.done(0, 0);
    assert_eq!(t.running(), "0:2..3@2 0:1..2@1 0:3..4@2");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_stage_that_waits_for_a_busy_engine_does_not_hold_up_the_next() {
    let mut t = with_prefetch(2);
    t.submit(1, local(6, &[(0..6, 2)]));
    t.submit(2, job(vec![result(2, &[])]));
    assert_eq!(t.running(), "0:0..1@2 0:2..3@2 0:1..2@1 0:0..1@1", "the second job has the capacity that is left");
    t.finish_all();
    assert_eq!((t.end_of(1), t.end_of(2)), ("done".into(), "done".into()));
}

#[test]
fn an_engine_that_joins_gets_what_is_local_to_it() {
    let mut t = Table::with(1, 1);
    t.submit(1, local(4, &[(2..4, 7)]));
    assert_eq!(t.running(), "0:0..1@1");
    t.join(7, 1);
    assert_eq!(t.running(), "0:0..1@1 0:2..3@7");
    t.done(0, 0);
    assert_eq!(t.running(), "0:2..3@7 0:1..2@1");
}

#[test]
fn a_task_that_waited_for_a_lost_engine_waits_for_the_next_hint() {
    let mut t = Table::with(3, 1);
    t.submit(1, local(4, &[(0..4, 2), (0..4, 3)]));
    assert_eq!(t.running(), "0:0..1@2 0:1..2@1 0:2..3@3");
    t.lose(2);
    t.done(0, 2);
    assert_eq!(t.running(), "0:1..2@1 0:3..4@3");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn hints_about_nothing_that_exists_change_nothing() {
    let mut t = Table::with(2, 1);
    t.submit(1, local(2, &[(0..2, 99), (5..9, 1), (1..1, 2)]));
    assert_eq!(t.running(), "0:0..1@1 0:1..2@2");
    t.finish_all();
    assert_eq!((t.end_of(1), t.scheduler.census()), ("done".into(), Census { engines: 2, ..Census::default() }));
}

#[test]
fn partitions_are_packed_within_what_is_local_to_one_engine() {
    let mut t = Table::with(2, 4);
    let by_size = Packing::BySize { target_bytes: 100, max_partitions: 3 };
    let mut spec = local(8, &[(0..4, 1), (4..8, 2)]);
    spec.stages[0].pack = by_size;
    t.submit(1, spec);
    assert_eq!(t.running(), "0:0..3@1 0:3..4@1 0:4..7@2 0:7..8@2");
}

#[test]
fn a_free_slot_comes_before_holding_a_task_in_advance() {
    let mut t = with_prefetch(2);
    t.submit(1, job(vec![map(1, 1, &[]), result(1, &[0])]));
    t.submit(2, job(vec![result(2, &[])]));
    let places: Vec<u32> = t.out.iter().map(|(engine, _)| engine.0).collect();
    assert_eq!(places, [1, 2, 1]);
}
