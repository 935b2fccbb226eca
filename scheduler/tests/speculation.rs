//! The scheduler and stragglers: a second launch on another engine; the first of the two to finish counts.

mod table;

use std::time::Duration;
use table::{Table, job, map, result};
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};
use tryworks_scheduler::*;

const SECOND: Duration = Duration::from_secs(1);

fn speculative(stages: Vec<StageSpec>) -> JobSpec {
    let speculation = Some(Speculation { quantile_percent: 50, multiplier_percent: 200 });
    JobSpec { limits: Limits { speculation, ..Limits::default() }, ..job(stages) }
}

/// Lets time pass, and ticks when the scheduler last asked for it.
fn pass(t: &mut Table, span: Duration) {
    t.now = t.now + span;
}

fn tick_when_asked(t: &mut Table) {
    let mut alarms = t.actions.iter().filter_map(|action| match action {
        Action::WakeAt { time } => Some(*time),
        _ => None,
    });
    t.now = t.now.max(alarms.next_back().expect("an alarm"));
    t.tell(Event::Tick);
}

/// Two engines of two slots: three of four tasks took a second. The fourth is still running, and has a second launch on
/// the other engine.
fn straggling(stages: Vec<StageSpec>) -> (Table, AttemptId, AttemptId) {
    let mut t = Table::with(2, 2);
    t.submit(1, speculative(stages));
    let slow = t.attempt(0, 3);
    pass(&mut t, SECOND);
    (0..3).for_each(|partition| t.done(0, partition));
    assert_eq!(t.out.len(), 1, "a second is not too long yet");
    tick_when_asked(&mut t);
    let (engine, copy) = t.out.last().cloned().unwrap();
    assert_eq!((copy.copy_of, &copy.partitions), (Some(slow), &Partitions::from(3..4)));
    assert_ne!(engine, t.out[0].0, "not on the slow engine");
    assert!(t.now >= Time(0) + 2 * SECOND, "twice the median: {:?}", t.now);
    (t, slow, copy.attempt)
}

#[test]
fn speculation_is_off_by_default() {
    let mut t = Table::with(2, 2);
    t.submit(1, job(vec![result(4, &[])]));
    pass(&mut t, SECOND);
    (0..3).for_each(|partition| t.done(0, partition));
    t.wait(1000 * SECOND);
    assert!(t.out.len() == 1 && !t.actions.iter().any(|action| matches!(action, Action::WakeAt { .. })));
}

#[test]
fn nothing_is_launched_twice_before_enough_tasks_are_done() {
    let mut t = Table::with(2, 2);
    t.submit(1, speculative(vec![result(4, &[])]));
    pass(&mut t, SECOND);
    t.done(0, 0);
    t.wait(1000 * SECOND);
    assert_eq!(t.out.len(), 3, "one of four is less than half");
    t.done(0, 1);
    t.wait(1000 * SECOND);
    assert_eq!(t.out.len(), 2, "now a second and a thousand are done, and their median is a thousand");
}

#[test]
fn the_second_launch_wins_and_the_first_is_stopped_uncounted() {
    let (mut t, slow, copy) = straggling(vec![result(4, &[])]);
    t.said();
    t.done_with(copy, 1, 1, 7);
    let kill = |action: &Action<String>| matches!(action, Action::Kill { attempt, .. } if *attempt == slow);
    assert!(t.actions.iter().any(kill));
    assert_eq!((t.commits_of(1), t.end_of(1)), (vec![3], "done".into()));
    t.said();
    t.done_with(slow, 1, 1, 7);
    assert!(matches!(t.said()[..], [Action::Discard { attempt, .. }] if attempt == slow), "never a second success");
    assert_eq!(t.scheduler.census(), Census { engines: 2, ..Census::default() });
}

#[test]
fn the_first_launch_can_win_too() {
    let (mut t, slow, copy) = straggling(vec![result(4, &[])]);
    t.done_with(slow, 1, 1, 7);
    assert_eq!((t.killed(), t.end_of(1)), (vec![copy], "done".into()));
}

#[test]
fn one_of_the_two_may_fail_and_the_task_is_not_put_back() {
    let (mut t, slow, copy) = straggling(vec![result(4, &[])]);
    t.tell(Event::TaskFailed { attempt: slow, failure: Failure::User("slow and wrong".into()) });
    assert_eq!(t.out.len(), 1, "the other runs on");
    t.tell(Event::TaskFailed { attempt: copy, failure: Failure::Killed });
    assert_eq!((t.out.len(), t.out[0].1.tries, t.out[0].1.copy_of), (1, 2, None), "now it is");
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 6));
}

#[test]
fn progress_and_cancel_count_the_task_once() {
    let (mut t, ..) = straggling(vec![result(4, &[])]);
    let progress = t.scheduler.progress(JobId(1)).unwrap();
    assert_eq!((progress.tasks, progress.tasks_running), (4, 1));
    t.said();
    t.cancel(1);
    let report = t.said().into_iter().find_map(|action| match action {
        Action::JobCancelled { report, .. } => Some(report[0]),
        _ => None,
    });
    assert_eq!(report, Some(Cancelled { stage: 0, not_started: 0, stopped: 1, done: 3, shared: false }));
}

#[test]
fn after_a_win_the_loss_of_either_engine_recomputes_only_what_is_gone() {
    for lose_winner in [false, true] {
        let (mut t, slow, copy) = straggling(vec![map(1, 4, &[]), result(1, &[0])]);
        let (loser, winner) = (t.task(0, 3).0, t.out[1].0);
        assert_eq!(t.out[1].1.attempt, copy);
        t.done_with(copy, 1, 1, 7);
        assert_eq!(t.killed(), [slow]);
        t.cancel(9);
        let gone = if lose_winner { winner } else { loser };
        let lost =
            t.scheduler.places(OutputId(1)).iter().filter(|place| place.location().unwrap().engine == gone).count()
                as u64;
        let reader = u64::from(t.task(1, 0).0 == gone);
        t.lose(gone.0);
        t.finish_all();
        // What was lost is recomputed only if the reader was lost too, or had not begun.
        let again = if reader == 1 { lost + 1 } else { 0 };
        assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 6 + again));
    }
}

#[test]
fn an_engine_that_is_lost_with_one_of_the_two_leaves_the_other() {
    let (mut t, ..) = straggling(vec![result(4, &[])]);
    let EngineId(slow) = t.out[0].0;
    t.lose(slow);
    assert_eq!(t.out.len(), 1);
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 5));
}

#[test]
fn with_no_other_engine_there_is_no_second_launch() {
    let mut t = Table::with(1, 4);
    t.submit(1, speculative(vec![result(4, &[])]));
    pass(&mut t, SECOND);
    (0..3).for_each(|partition| t.done(0, partition));
    tick_when_asked(&mut t);
    assert_eq!(t.out.len(), 1);
    t.join(2, 1);
    assert_eq!(t.out.len(), 2, "until one comes");
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_task_that_is_launched_last_of_all_is_watched_too() {
    let mut t = Table::with(2, 1);
    t.submit(1, speculative(vec![result(3, &[])]));
    pass(&mut t, SECOND);
    t.done(0, 0);
    t.done(0, 1);
    assert_eq!(t.running(), "0:2..3@1");
    t.wait(SECOND);
    assert_eq!(t.out.len(), 1);
    t.wait(5 * SECOND);
    assert_eq!(t.running(), "0:2..3@1 0:2..3@2");
}

#[test]
fn both_launches_are_stopped_when_what_they_read_changes_and_the_task_waits_once() {
    let (mut t, ..) = straggling(vec![map(1, 4, &[]), result(1, &[0])]);
    t.finish_all();
    assert_eq!(t.end_of(1), "done");

    let mut t = Table::with(2, 2);
    t.submit(1, speculative(vec![map(1, 1, &[]), map(2, 4, &[0]), result(1, &[1])]));
    t.done(0, 0);
    pass(&mut t, SECOND);
    (0..3).for_each(|partition| t.done(1, partition));
    tick_when_asked(&mut t);
    let both: Vec<AttemptId> = t.out.iter().map(|(_, task)| task.attempt).collect();
    assert_eq!(both.len(), 2);
    t.lose_block(1, 0);
    t.submit(2, job(vec![map(1, 1, &[]), result(1, &[0])]));
    let again = t.attempt(0, 0);
    t.done_with(again, 1, 1, 8);
    let mut killed = t.killed();
    killed.sort_unstable();
    assert_eq!(killed, both);
    both.into_iter().for_each(|attempt| t.tell(Event::TaskFailed { attempt, failure: Failure::Killed }));
    t.finish_all();
    assert_eq!((t.end_of(1).as_str(), t.end_of(2).as_str()), ("done", "done"));
}
