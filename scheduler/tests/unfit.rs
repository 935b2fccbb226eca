//! The scheduler and engines that cannot run a program: other engines run it, and it is tried there again later.

mod table;

use std::time::Duration;
use table::{Table, job, map, result};
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A job of this program with `tasks` tasks.
fn of(program: u64, tasks: u32) -> JobSpec {
    JobSpec { program, ..job(vec![result(tasks, &[])]) }
}

impl Table {
    /// An engine cannot run a program for a minute; its tasks of that program come back.
    fn unfit(&mut self, engine: u32, program: u64, why: &str) {
        let there: Vec<_> = self.on(engine).into_iter().filter(|task| self.program(task) == program).collect();
        let error = format!("{why} on {engine}");
        self.tell(Event::EngineUnfit { engine: EngineId(engine), program, error, lasts: MINUTE });
        for task in there {
            self.tell(Event::TaskFailed { attempt: task.attempt, failure: Failure::Killed });
        }
    }

    /// The tasks that run on an engine.
    fn on(&self, engine: u32) -> Vec<Task> {
        self.out.iter().filter(|(on, _)| *on == EngineId(engine)).map(|(_, task)| task.clone()).collect()
    }

    /// In these tests the tens of a job's number are the number of its program.
    fn program(&self, task: &Task) -> u64 {
        task.job.0 / 10
    }

    fn is_unfit(&self, engine: u32, program: u64) -> bool {
        self.scheduler.unfit_until(EngineId(engine), program).is_some()
    }
}

#[test]
fn the_tasks_of_a_program_go_to_the_engines_that_can_run_it() {
    let mut t = Table::with(2, 2);
    t.submit(10, of(1, 20));
    assert_eq!((t.on(1).len(), t.on(2).len()), (2, 2));
    t.unfit(1, 1, "no space");
    assert!(t.is_unfit(1, 1) && !t.is_unfit(2, 1) && !t.is_unfit(1, 2));
    assert_eq!((t.on(1).len(), t.on(2).len()), (0, 2));
    assert_eq!(t.scheduler.why(JobId(10), 0, 19), Some(Why::Unfit));
    // Another program can run there as well as anywhere.
    t.submit(20, of(2, 20));
    assert!(t.on(1).iter().all(|task| t.program(task) == 2) && t.on(1).len() == 2);
    while let Some((engine, task)) = t.out.first().cloned() {
        assert!(engine == EngineId(2) || t.program(&task) == 2);
        t.done_with(task.attempt, task.partitions.len(), 1, 7);
    }
    assert_eq!((t.end_of(10), t.end_of(20)), ("done".into(), "done".into()));
    assert_eq!(t.commits_of(10).len(), 20);
}

/// The reader waited for its input, which no task recomputed.
#[test]
fn lost_input_is_recomputed_when_its_reader_moves_to_another_engine() {
    let mut t = Table::with(3, 1);
    t.submit(10, JobSpec { program: 1, ..job(vec![map(1, 3, &[]), result(1, &[0])]) });
    (0..3).for_each(|partition| t.done(0, partition));
    let reads = t.task(1, 0).0.0;
    t.lose(if reads == 1 { 2 } else { 1 });
    t.unfit(reads, 1, "no space");
    t.finish_all();
    assert_eq!((t.end_of(10).as_str(), t.scheduler.launched()), ("done", 6));
}

#[test]
fn after_a_while_the_engine_is_tried_again() {
    let mut t = Table::with(2, 2);
    t.submit(10, of(1, 20));
    t.unfit(1, 1, "no space");
    t.wait(MINUTE / 2);
    assert_eq!(t.on(1).len(), 0);
    assert!(t.actions.iter().any(|action| matches!(action, Action::WakeAt { .. })), "somebody has to say so");
    t.wait(MINUTE / 2);
    assert_eq!((t.on(1).len(), t.is_unfit(1, 1)), (2, false));
    t.unfit(1, 1, "still no space");
    assert_eq!((t.on(1).len(), t.is_unfit(1, 1)), (0, true));
    t.finish_all();
    assert_eq!(t.end_of(10), "done");
}

#[test]
fn a_job_fails_when_no_engine_can_run_it_with_the_reason_of_each() {
    let mut t = Table::with(3, 1);
    t.submit(10, of(1, 5));
    t.submit(20, of(2, 5));
    t.unfit(2, 1, "no space");
    t.unfit(1, 1, "no files");
    assert_eq!(t.end_of(10), "");
    t.unfit(3, 1, "no program");
    let told = "no engine can run the program:\n  engine 1: no files on 1\n  engine 2: no space on 2\n  engine 3: no \
                program on 3";
    assert_eq!(t.end_of(10), told);
    // The next job tries everywhere again.
    t.submit(11, of(1, 5));
    t.finish_all();
    assert_eq!((t.end_of(11), t.end_of(20)), ("done".into(), "done".into()));
}

#[test]
fn one_engine_alone_fails_its_job_at_once() {
    let mut t = Table::with(1, 2);
    t.unfit(1, 1, "no space");
    t.submit(10, of(1, 5));
    assert_eq!(t.on(1).len(), 2, "what nobody had asked for is no reason yet");
    t.unfit(1, 1, "no space");
    assert_eq!(t.end_of(10), "no engine can run the program:\n  engine 1: no space on 1");
    assert_eq!(t.scheduler.census().jobs, 0);
}

#[test]
fn when_the_others_are_gone_it_is_tried_again_at_once() {
    let mut t = Table::with(2, 2);
    t.submit(10, of(1, 20));
    t.unfit(1, 1, "no space");
    t.lose(2);
    assert_eq!((t.on(1).len(), t.is_unfit(1, 1)), (2, false));
    t.join(3, 2);
    t.unfit(1, 1, "no space");
    t.tell(Event::EngineGate { engine: EngineId(3), gate: Gate::Draining });
    assert_eq!(t.on(1).len(), 2, "one that leaves takes nothing more");
    t.finish_all();
    assert_eq!(t.end_of(10), "done");
}

#[test]
fn an_engine_that_cannot_run_a_program_counts_as_no_tasks_failure() {
    let mut t = Table::with(2, 2);
    let limits = Limits { max_losses: 2, ..Limits::default() };
    t.submit(10, JobSpec { limits, ..of(1, 4) });
    for _ in 0..10 {
        t.unfit(1, 1, "no space");
        t.wait(MINUTE);
        assert_eq!(t.on(1).len(), 2);
    }
    t.finish_all();
    assert_eq!(t.end_of(10), "done");
}

#[test]
fn tasks_that_wait_for_an_unfit_engine_go_elsewhere() {
    let mut t = Table::with(2, 1);
    let local_to = vec![(Run::new(0, 10), EngineId(1))];
    let spec = job(vec![StageSpec { local_to, ..result(10, &[]) }]);
    t.submit(10, JobSpec { program: 1, ..spec });
    t.unfit(1, 1, "no space");
    for _ in 0..10 {
        assert_eq!((t.on(1).len(), t.on(2).len()), (0, 1));
        t.done(0, t.out[0].1.partitions.first());
    }
    assert_eq!(t.end_of(10), "done");
}

#[test]
fn a_task_that_has_to_run_alone_and_one_that_failed_go_elsewhere() {
    let mut t = Table::with(3, 1);
    t.submit(10, of(1, 3));
    t.unfit(1, 1, "no space");
    let (_, failed) = t.out.iter().find(|(on, _)| *on == EngineId(2)).cloned().unwrap();
    t.tell(Event::TaskFailed { attempt: failed.attempt, failure: Failure::User("bad luck".into()) });
    let (_, dying) = t.out.iter().find(|(on, _)| *on == EngineId(3)).cloned().unwrap();
    t.tell(Event::WorkerDied { engine: EngineId(3), suspects: vec![dying.attempt], error: "signal 9".into() });
    while let Some((engine, task)) = t.out.first().cloned() {
        assert_ne!(engine, EngineId(1), "{task:?}");
        t.done_with(task.attempt, task.partitions.len(), 1, 7);
    }
    assert_eq!(t.end_of(10), "done");
}

#[test]
fn blocks_on_an_unfit_engine_stay_and_late_reports_change_nothing() {
    let mut t = Table::with(2, 1);
    t.submit(10, JobSpec { program: 1, ..job(vec![map(1, 4, &[]), result(2, &[0])]) });
    let (on, first) = t.out[0].clone();
    t.done_with(first.attempt, 1, 1, 7);
    let late = t.on(on.0)[0].clone();
    t.unfit(on.0, 1, "no space");
    t.done_with(late.attempt, 1, 1, 7);
    t.tell(Event::EngineUnfit { engine: EngineId(9), program: 1, error: "nobody".into(), lasts: MINUTE });
    t.finish_all();
    assert_eq!(t.end_of(10), "done");
    let launches = |action: &Action<String>| match action {
        Action::Launch { tasks, .. } => {
            tasks.iter().filter(|task| task.partitions.contains(first.partitions.first())).count()
        }
        _ => 0,
    };
    let stage = t.actions.iter().map(launches).sum::<usize>();
    assert!(stage <= 2, "the first map task ran once, and one of the last stage has its number");
}
