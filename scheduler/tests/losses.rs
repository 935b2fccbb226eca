//! The scheduler after losses: of engines, of blocks, and of the first answer of a map task.

mod table;

use table::{Table, job, map, result};
use tryworks_base::ids::OutputId;
use tryworks_scheduler::*;

/// Two engines of two slots. A map stage of four partitions is done; the two results are running.
fn mapped() -> Table {
    let mut t = Table::with(2, 2);
    t.submit(1, job(vec![map(1, 4, &[]), result(2, &[0])]));
    (0..4).for_each(|partition| t.done(0, partition));
    assert_eq!(t.running(), "1:0..1@1 1:1..2@2");
    t
}

fn lost_places(t: &Table) -> Vec<u32> {
    let places = t.scheduler.places(OutputId(1)).iter().zip(0..);
    places.filter(|(place, _)| !place.exists()).map(|(_, partition)| partition).collect()
}

#[test]
fn a_failed_fetch_recomputes_only_what_is_missing() {
    let mut t = mapped();
    let reader = t.attempt(1, 0);
    t.cannot_fetch(reader, 1, 2);
    assert_eq!(lost_places(&t), [2]);
    assert_eq!(t.running(), "1:1..2@2 0:2..3@2");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 8));
}

#[test]
fn of_a_lost_engines_outputs_only_those_still_needed_are_recomputed() {
    let mut t = mapped();
    t.lose(1);
    assert_eq!(lost_places(&t), [0, 2]);
    // The result that ran there needs them; the other result may have read them already.
    assert_eq!(t.running(), "1:1..2@2 0:0..1@2");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 9));

    let mut t = mapped();
    let first = t.attempt(1, 0);
    t.done_with(first, 1, 1, 7);
    t.lose(1);
    assert_eq!(t.running(), "1:1..2@2", "no reader is left for what was lost");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn lost_grandparents_are_recomputed_only_as_far_as_needed() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), map(2, 2, &[0]), result(1, &[1])]));
    (0..2).for_each(|stage| (0..2).for_each(|partition| t.done(stage, partition)));
    let survivor = if t.task(2, 0).0.0 == 1 { 2 } else { 1 };
    t.lose(3 - survivor);
    // The result was lost with its engine, and so was half of both stages.
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 5 + 3));
}

#[test]
fn a_block_that_an_engine_misses_is_recomputed_before_a_reader_asks() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    t.done(0, 0);
    t.lose_block(1, 0);
    assert_eq!(lost_places(&t), [0, 1]);
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 4));
}

#[test]
fn four_barren_stage_attempts_in_a_row_fail_the_job_with_the_reasons() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 1, &[]), result(1, &[0])]));
    for round in 0..4 {
        assert_eq!(t.end_of(1), "", "round {round}");
        t.done(0, 0);
        let (_, reader) = t.task(1, 0);
        assert_eq!(reader.stage_attempt, round);
        t.cannot_fetch(reader.attempt, 1, 0);
    }
    let end = t.end_of(1);
    assert!(end.starts_with("stage 1 could not read its input 4 times in a row:\n  partition 0 of output 1"), "{end}");
    assert_eq!(end.lines().count(), 5, "one line for each time: {end}");
}

#[test]
fn all_blocks_that_a_reader_misses_are_recomputed_at_once() {
    let mut t = mapped();
    let reader = t.attempt(1, 0);
    let places = t.scheduler.places(OutputId(1)).to_vec();
    let missed =
        |partition: u32| FetchFailure { output: OutputId(1), partition, at: places[partition as usize].location() };
    let failure = Failure::Fetch(vec![missed(0), missed(3), missed(1)]);
    t.tell(Event::TaskFailed { attempt: reader, failure });
    assert_eq!((lost_places(&t), t.task(1, 1).1.stage_attempt), (vec![0, 1, 3], 0));
    (0..4).filter(|&partition| partition != 2).for_each(|partition| t.done(0, partition));
    assert_eq!(t.task(1, 0).1.stage_attempt, 1, "one new attempt for three losses");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 6 + 3 + 1));
}

#[test]
fn a_block_that_cannot_be_read_on_one_engine_is_recomputed_on_another() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(2, &[0])]));
    (0..2).for_each(|partition| t.done(0, partition));
    let unreachable = t.scheduler.places(OutputId(1))[0].location().unwrap().engine;
    t.done(1, 0);
    let (reader, other) = (t.attempt(1, 1), t.task(1, 1).0);
    assert_ne!(unreachable, other);
    t.cannot_fetch(reader, 1, 0);
    assert_eq!(t.task(0, 0).0, other);
    // If there is no other engine, this one is as good as any.
    t.lose(other.0);
    assert_eq!(t.task(0, 0).0, unreachable);
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn blocks_found_missing_one_after_another_are_all_recomputed() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 9, &[]), result(1, &[0])]));
    for lost in 0..9 {
        t.finish_maps();
        let reader = t.attempt(1, 0);
        t.cannot_fetch(reader, 1, lost);
        assert_eq!(t.end_of(1), "", "after {lost} others");
    }
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_block_that_is_lost_again_each_time_fails_the_job() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 9, &[]), result(1, &[0])]));
    for round in 0..4 {
        t.finish_maps();
        let reader = t.attempt(1, 0);
        let places = t.scheduler.places(OutputId(1)).to_vec();
        let missed = [round, 8].map(|partition| FetchFailure {
            output: OutputId(1),
            partition,
            at: places[partition as usize].location(),
        });
        t.tell(Event::TaskFailed { attempt: reader, failure: Failure::Fetch(missed.to_vec()) });
    }
    let end = t.end_of(1);
    assert!(end.starts_with("stage 1 could not read its input 4 times in a row:\n  partition 8 of output 1"), "{end}");
    assert_eq!(end.matches("partition 8 of output 1").count(), 4, "{end}");
}

#[test]
fn a_block_that_is_elsewhere_by_now_is_not_counted_as_lost() {
    let mut t = Table::with(2, 9);
    t.submit(1, job(vec![map(1, 9, &[]), result(9, &[0])]));
    for round in 1..9 {
        t.finish_maps();
        let reader = t.attempt(1, 0);
        let places = t.scheduler.places(OutputId(1)).to_vec();
        t.lose_block(1, 0);
        t.fail(1, round, "flaky");
        t.done(0, 0);
        let missed = [0, round].map(|partition| FetchFailure {
            output: OutputId(1),
            partition,
            at: places[partition as usize].location(),
        });
        t.tell(Event::TaskFailed { attempt: reader, failure: Failure::Fetch(missed.to_vec()) });
        assert_eq!(t.end_of(1), "", "after {round} rounds");
    }
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_reader_that_looked_in_an_old_place_runs_again_and_nothing_is_recomputed() {
    let mut t = mapped();
    let old = t.scheduler.places(OutputId(1))[0].location();
    t.lose_block(1, 0);
    t.fail(1, 0, "flaky");
    t.done(0, 0);
    let reader = t.attempt(1, 1);
    t.cannot_fetch_from(reader, 1, 0, old);
    assert_eq!((lost_places(&t), t.task(1, 1).1.stage_attempt), (vec![], 0));
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 4 + 1 + 2 + 2));
}

#[test]
fn a_success_in_between_restarts_the_count() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 1, &[]), result(3, &[0])]));
    for partition in 0..3 {
        for _ in 0..3 {
            t.finish_maps();
            let reader = t.attempt(1, partition);
            t.cannot_fetch(reader, 1, 0);
        }
        t.finish_maps();
        t.done(1, partition);
    }
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn failures_of_different_stages_are_not_added_up() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![map(1, 1, &[]), map(2, 1, &[0]), result(1, &[1])]));
    for (reader, output) in [(1, 1), (2, 2)] {
        for _ in 0..3 {
            while t.out[0].1.stage < reader {
                let stage = t.out[0].1.stage;
                t.done(stage, 0);
            }
            let attempt = t.attempt(reader, 0);
            t.cannot_fetch(attempt, output, 0);
        }
    }
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn late_fetch_failures_start_nothing_twice() {
    let mut t = mapped();
    let (first, second) = (t.attempt(1, 0), t.attempt(1, 1));
    let place = t.scheduler.places(OutputId(1))[0].location();
    t.cannot_fetch_from(first, 1, 0, place);
    assert_eq!(t.running(), "1:1..2@2 0:0..1@2");
    // A late report: the same loss, seen by the other reader while the map task runs again.
    t.cannot_fetch_from(second, 1, 0, place);
    assert_eq!(t.running(), "0:0..1@2");
    t.done(0, 0);
    assert_eq!(t.running(), "1:0..1@1 1:1..2@2");
    assert_eq!(t.task(1, 0).1.stage_attempt, 1, "the late one began no further attempt");
    // A very late report names the old block again, when the new one exists.
    t.cannot_fetch_from(first, 1, 0, place);
    t.cannot_fetch_from(second, 1, 0, place);
    assert_eq!((lost_places(&t), t.running().as_str()), (vec![], "1:0..1@1 1:1..2@2"));
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 9));
}

#[test]
fn other_tasks_of_the_reading_stage_go_on_and_their_results_count() {
    let mut t = mapped();
    let reader = t.attempt(1, 0);
    t.cannot_fetch(reader, 1, 0);
    t.done(1, 1);
    assert_eq!((t.commits_of(1), t.killed()), (vec![1], vec![]));
    t.finish_all();
    assert_eq!(t.commits_of(1), [1, 0]);
}

#[test]
fn late_completions_from_a_lost_engine_are_ignored() {
    let mut t = Table::with(2, 1);
    t.submit(1, job(vec![map(1, 2, &[]), result(1, &[0])]));
    let (engine, task) = t.task(0, 0);
    t.lose(engine.0);
    t.said();
    t.done_with(task.attempt, 1, 1, 7);
    assert_eq!((t.said(), lost_places(&t)), (vec![], vec![]), "it was never made");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 4));
}

#[test]
fn repeated_reports_count_once() {
    let mut t = Table::with(1, 1);
    t.submit(1, job(vec![result(2, &[])]));
    let attempt = t.attempt(0, 0);
    for _ in 0..3 {
        t.done_with(attempt, 1, 1, 7);
    }
    t.tell(Event::TaskFailed { attempt, failure: Failure::User("late".into()) });
    t.join(1, 64);
    assert_eq!((t.commits_of(1), t.running().as_str()), (vec![0], "0:1..2@1"));
}

#[test]
fn everything_derived_from_a_changed_answer_is_recomputed() {
    let mut t = Table::with(1, 4);
    t.submit(1, job(vec![map(1, 1, &[]), map(2, 2, &[0]), map(3, 1, &[1]), result(1, &[2])]));
    (0..2).for_each(|stage| t.done(stage, 0));
    let running = t.attempt(1, 1);
    // The first stage is lost and runs again, because a reader reports so.
    t.cannot_fetch(running, 1, 0);
    t.said();
    let again = t.attempt(0, 0);
    t.done_with(again, 1, 1, 8);
    let said = t.said();
    assert!(said.contains(&Action::Nondeterministic {
        job: tryworks_base::ids::JobId(1),
        stage: 0,
        partition: 0,
        declared: false
    }));
    assert!(said.iter().any(|action| matches!(action, Action::Discard { .. })), "what was made of it is deleted");
    assert_eq!(t.running(), "1:1..2@1 1:0..1@1");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 1 + 2 + 1 + 2 + 1 + 1));
}

#[test]
fn a_task_that_reads_the_old_answer_is_stopped() {
    let mut t = Table::with(1, 4);
    t.submit(1, job(vec![map(1, 1, &[]), map(2, 2, &[0]), result(1, &[1])]));
    t.done(0, 0);
    let (failing, going_on) = (t.attempt(1, 0), t.attempt(1, 1));
    t.cannot_fetch(failing, 1, 0);
    let again = t.attempt(0, 0);
    t.done_with(again, 1, 1, 8);
    assert_eq!(t.killed(), [going_on]);
    t.said();
    t.done_with(going_on, 1, 1, 7);
    assert!(matches!(t.said()[..], [Action::Discard { .. }]), "it was faster, and is not wanted");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn recomputing_the_same_answer_stops_no_task() {
    let mut t = mapped();
    let reader = t.attempt(1, 0);
    t.done(1, 1);
    t.cannot_fetch(reader, 1, 0);
    t.finish_all();
    assert!(!t.actions.iter().any(|action| matches!(action, Action::Nondeterministic { .. })));
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn results_that_were_delivered_cannot_be_taken_back() {
    let mut t = mapped();
    t.done(1, 1);
    let reader = t.attempt(1, 0);
    t.cannot_fetch(reader, 1, 0);
    let again = t.attempt(0, 0);
    t.done_with(again, 1, 1, 8);
    let end = t.end_of(1);
    assert!(end.starts_with("stage 0 is not deterministic: partition 0 was recomputed"), "{end}");
    assert!(end.ends_with("after 1 results that depend on it were delivered"), "{end}");
}

#[test]
fn a_result_task_that_is_started_again_commits_once() {
    let mut t = mapped();
    t.lose(1);
    t.finish_all();
    let mut commits = t.commits_of(1);
    commits.sort_unstable();
    assert_eq!(commits, [0, 1]);
}

#[test]
fn the_loss_of_its_engine_is_not_a_failure_of_the_task() {
    let mut t = Table::with(1, 1);
    let limits = Limits::local();
    t.submit(1, JobSpec { limits, ..job(vec![result(1, &[])]) });
    for engine in 1..10 {
        t.join(engine + 1, 1);
        t.lose(engine);
        assert_eq!((t.end_of(1).as_str(), t.task(0, 0).1.tries), ("", engine));
    }
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_task_that_loses_its_engine_too_often_fails() {
    let mut t = Table::with(1, 1);
    t.submit(1, JobSpec { limits: Limits { max_losses: 3, ..Limits::default() }, ..job(vec![result(1, &[])]) });
    for engine in 1..=3 {
        t.join(engine + 1, 1);
        t.lose(engine);
    }
    assert_eq!(t.end_of(1), "task 0..1 of stage 0 was lost 3 times and is not to blame");
}

impl Table {
    /// Finishes the running tasks of the first stage.
    fn finish_maps(&mut self) {
        while let Some((_, task)) = self.out.iter().find(|(_, task)| task.stage == 0).cloned() {
            self.done_with(task.attempt, task.partitions.len(), 1, 7);
        }
    }
}

#[test]
fn engines_that_die_again_and_again_in_maps_and_reducers_cost_only_what_they_had() {
    let mut t = Table::with(3, 1);
    t.submit(1, job(vec![map(1, 6, &[]), result(6, &[0])]));
    for next in 4..8 {
        t.done_with(t.out[0].1.attempt, 1, 1, 7);
        let (engine, _) = t.out[0];
        t.lose(engine.0);
        t.join(next, 1);
    }
    t.finish_all();
    let mut commits = t.commits_of(1);
    commits.sort_unstable();
    assert_eq!((t.end_of(1).as_str(), commits), ("done", (0..6).collect()));
    assert!(t.scheduler.launched() > 12, "something was recomputed");
    t.release(1);
    assert_eq!(t.scheduler.census(), Census { engines: 3, ..Census::default() });
}

#[test]
fn a_cancelled_stage_that_is_wanted_again_is_neither_stuck_nor_stale() {
    let mut t = Table::with(1, 2);
    let spec = job(vec![map(1, 2, &[]), result(1, &[0])]);
    t.submit(1, spec.clone());
    let stopping = [t.attempt(0, 0), t.attempt(0, 1)];
    t.cancel(1);
    t.submit(2, spec);
    assert_eq!(t.killed(), stopping);
    // One task finished before it was stopped, and reports for the job that is gone.
    t.done_with(stopping[0], 1, 1, 99);
    t.tell(Event::TaskFailed { attempt: stopping[1], failure: Failure::Killed });
    assert_eq!(lost_places(&t), Vec::<u32>::new(), "nothing was made yet");
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), t.scheduler.launched()), ("done", 5));
    assert!(!t.actions.iter().any(|action| matches!(action, Action::Nondeterministic { .. })));
}
