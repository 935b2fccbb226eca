//! The scheduler and engines that are asked to leave: their tasks end, their blocks are moved, then they go.

mod table;

use std::time::Duration;
use table::{Table, job, map, result};
use tryworks_base::ids::{EngineId, JobId, OutputId};
use tryworks_scheduler::*;

fn gate(t: &mut Table, engine: u32, gate: Gate) {
    t.tell(Event::EngineGate { engine: EngineId(engine), gate });
}

fn moves(t: &Table) -> Vec<Move> {
    let moves = |action: &Action<String>| match action {
        Action::Move(what) => Some(what.clone()),
        _ => None,
    };
    t.actions.iter().filter_map(moves).collect()
}

fn drained(t: &Table) -> bool {
    t.actions.iter().any(|action| matches!(action, Action::Drained { .. }))
}

fn places(t: &Table) -> Vec<u32> {
    t.scheduler.places(OutputId(1)).iter().map(|place| place.location().unwrap().engine.0).collect()
}

/// Two engines of two slots. A map stage of four partitions is done, two of them on each engine; the two results are
/// running.
fn mapped() -> Table {
    let mut t = Table::with(2, 2);
    t.submit(1, job(vec![map(1, 4, &[]), result(2, &[0])]));
    (0..4).for_each(|partition| t.done(0, partition));
    assert_eq!((t.running().as_str(), places(&t)), ("1:0..1@1 1:1..2@2", vec![1, 2, 1, 2]));
    t
}

#[test]
fn blocks_are_moved_before_an_engine_goes_and_no_finished_map_runs_again() {
    let mut t = mapped();
    gate(&mut t, 1, Gate::Draining);
    let moves = moves(&t);
    assert!(moves.iter().all(|what| (what.from, what.to) == (EngineId(1), EngineId(2))));
    assert_eq!(moves.iter().map(|what| format!("{:?}", what.partitions)).collect::<Vec<_>>(), ["0..1", "2..3"]);
    for what in moves {
        t.tell(Event::BlockMoved(what));
    }
    assert_eq!(places(&t), [2, 2, 2, 2]);
    t.done(1, 0);
    assert!(!drained(&t), "the other reader was told to read there");
    t.done(1, 1);
    assert!(drained(&t));
    t.lose(1);
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 6));
}

#[test]
fn running_tasks_end_and_no_new_task_begins() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 5, &[]), result(1, &[0])]));
    gate(&mut t, 1, Gate::Draining);
    t.said();
    t.done(0, 0);
    assert_eq!(t.running(), "0:1..2@2", "the slot stays empty");
    let made = moves(&t);
    assert_eq!(made.len(), 1, "what it still made is moved too: {made:?}");
    assert_eq!(t.scheduler.draining(EngineId(1)).unwrap().moving, 1);
    t.tell(Event::BlockMoved(made[0].clone()));
    assert!(drained(&t), "no task reads it yet");
    t.lose(1);
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 6));
}

#[test]
fn a_block_that_cannot_be_moved_is_recomputed_when_the_engine_is_gone() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 4, &[]), result(1, &[0])]));
    t.done(0, 0);
    t.done(0, 1);
    gate(&mut t, 1, Gate::Draining);
    let what = moves(&t)[0].clone();
    t.done(0, 2);
    moves(&t)[1..].to_vec().into_iter().for_each(|what| t.tell(Event::BlockMoved(what)));
    assert!(!drained(&t));
    t.tell(Event::MoveFailed(what));
    assert!(drained(&t));
    t.lose(1);
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 4 + 1 + 1));
}

#[test]
fn an_engine_whose_blocks_have_nowhere_to_go_stays_and_reports_it() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.finish_all();
    t.said();
    gate(&mut t, 2, Gate::Memory);
    gate(&mut t, 1, Gate::Draining);
    let draining = t.scheduler.draining(EngineId(1)).unwrap();
    assert_eq!((draining.waiting, draining.nowhere, moves(&t).len()), (1, true, 0), "not to one short of memory");
    t.join(3, 1);
    let moves = moves(&t);
    assert_eq!(moves[0].to, EngineId(3));
    t.tell(Event::BlockMoved(moves[0].clone()));
    assert!(drained(&t));
}

#[test]
fn blocks_that_are_not_needed_any_more_are_not_moved() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.finish_all();
    t.release(1);
    t.said();
    gate(&mut t, 1, Gate::Draining);
    assert_eq!(t.said(), [Action::Drained { engine: EngineId(1) }]);
}

#[test]
fn a_copy_that_arrives_too_late_is_deleted() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.finish_all();
    gate(&mut t, 1, Gate::Draining);
    let what = moves(&t)[0].clone();
    t.release(1);
    assert!(!drained(&t), "the move is not over");
    t.said();
    let (engine, attempt) = (what.to, what.made_by);
    t.tell(Event::BlockMoved(what));
    assert_eq!(t.said(), [Action::Discard { engine, attempt }, Action::Drained { engine: EngineId(1) }]);
}

#[test]
fn if_the_engine_that_takes_over_leaves_too_another_takes_over() {
    let mut t = Table::with(3, 1);
    t.submit(1, job(vec![map(1, 3, &[]), result(1, &[0])]));
    t.finish_all();
    gate(&mut t, 1, Gate::Draining);
    let first = moves(&t)[0].clone();
    t.said();
    t.lose(first.to.0);
    let second = moves(&t)[0].clone();
    assert!(second.to != first.to && second.from == EngineId(1));
    t.tell(Event::BlockMoved(first));
    assert!(!drained(&t), "a late answer of one that is gone");
    t.tell(Event::BlockMoved(second.clone()));
    t.tell(Event::BlockMoved(second));
    assert!(drained(&t));
}

#[test]
fn an_engine_that_stays_after_all_takes_tasks_again_and_deletes_moved_blocks() {
    let mut t = mapped();
    gate(&mut t, 1, Gate::Draining);
    for what in moves(&t) {
        t.tell(Event::BlockMoved(what));
    }
    t.said();
    gate(&mut t, 1, Gate::Open);
    assert_eq!(t.actions.iter().filter(|action| matches!(action, Action::Discard { .. })).count(), 2);
    assert_eq!(t.scheduler.draining(EngineId(1)), None);
    t.submit(2, job(vec![result(4, &[])]));
    assert_eq!(t.task(0, 0).0, EngineId(1));
}

#[test]
fn tasks_wait_for_engines_that_are_all_leaving_and_then_fail() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(2, &[])]));
    gate(&mut t, 1, Gate::Draining);
    assert_eq!(t.scheduler.why(JobId(1), 0, 1), Some(Why::Draining));
    t.wait(Duration::from_secs(100));
    assert_eq!(t.end_of(1), "", "while a task runs");
    t.done(0, 0);
    assert!(matches!(t.actions.last(), Some(Action::Drained { .. })));
    t.wait(Duration::from_secs(60));
    assert!(t.end_of(1).starts_with("there was no engine for 60"), "{}", t.end_of(1));
}
