//! The scheduler after a restart of its shell: what engines still hold is not recomputed.

mod table;

use table::{Table, job, map, result};
use tryworks_base::ids::{AttemptId, EngineId, OutputId};
use tryworks_scheduler::*;

fn block(engine: u32, launch: u64, partitions: std::ops::Range<u32>) -> KnownBlock {
    let made = PartitionReport { bytes: 10, rows: 1, checksum: 7 };
    let report = Report { partitions: vec![made; partitions.len()], bucket_bytes: vec![5, 5] };
    KnownBlock { engine: EngineId(engine), made_by: AttemptId::new(launch, 0), partitions: partitions.into(), report }
}

fn known(t: &mut Table, partitions: u32, blocks: Vec<KnownBlock>) {
    t.tell(Event::OutputKnown {
        output: OutputId(1),
        partitions,
        buckets: 2,
        parents: vec![],
        made: vec![],
        changed: None,
        blocks,
    });
}

fn discarded(t: &Table) -> Vec<u64> {
    let discards = |action: &Action<String>| match action {
        Action::Discard { attempt, .. } => Some(attempt.sequence()),
        _ => None,
    };
    t.actions.iter().filter_map(discards).collect()
}

fn two_stages() -> JobSpec {
    job(vec![map(1, 4, &[]), result(2, &[0])])
}

#[test]
fn blocks_that_engines_still_hold_are_not_recomputed_and_the_job_keeps_its_id() {
    let mut t = Table::with(2, 2);
    known(&mut t, 4, vec![block(1, 5, 0..2), block(2, 9, 3..4)]);
    t.submit(40, two_stages());
    assert_eq!(t.running(), "0:2..3@1");
    assert_eq!(t.attempt(0, 2).sequence(), 10, "after everything that is known to have run");
    t.submit(3, JobSpec { wanted: (1..2).into(), ..two_stages() });
    t.done(0, 2);
    let order: Vec<_> = t.out.iter().map(|(_, task)| (task.job.0, task.partitions.first())).collect();
    assert_eq!(order, [(3, 1), (40, 1), (40, 0)], "the older job first, and only what its driver lacks");
    t.finish_all();
    assert_eq!((t.end_of(40), t.end_of(3)), ("done".into(), "done".into()));
}

#[test]
fn an_output_that_is_known_whole_needs_no_task_and_goes_when_it_is_released() {
    let mut t = Table::with(2, 2);
    known(&mut t, 4, vec![block(1, 5, 0..2)]);
    known(&mut t, 4, vec![block(2, 9, 2..4)]);
    t.submit(1, two_stages());
    assert_eq!(t.running(), "1:0..1@1 1:1..2@2");
    t.finish_all();
    t.release(1);
    let deleted = t.actions.iter().filter(|action| matches!(action, Action::DeleteOutput { .. })).count();
    assert_eq!((deleted, t.scheduler.census()), (2, Census { engines: 2, ..Census::default() }));
}

#[test]
fn the_first_of_two_blocks_with_the_same_partition_is_kept() {
    let mut t = Table::with(2, 2);
    known(&mut t, 4, vec![block(1, 5, 0..2), block(2, 9, 1..3), block(1, 5, 0..2)]);
    assert_eq!(discarded(&t), [9], "and what is told twice stays");
    known(&mut t, 4, vec![block(2, 5, 0..2)]);
    assert_eq!(discarded(&t), [9, 5], "but not a copy on another engine");
    let here: Vec<bool> = t.scheduler.places(OutputId(1)).iter().map(|place| place.exists()).collect();
    assert_eq!(here, [true, true, false, false]);
}

#[test]
fn blocks_of_unknown_sessions_or_of_another_shape_are_not_taken_in() {
    let mut t = Table::with(1, 2);
    known(&mut t, 4, vec![block(7, 5, 0..2), block(1, 6, 3..5)]);
    let mut short = block(1, 7, 0..2);
    short.report.partitions.pop();
    known(&mut t, 4, vec![short]);
    known(&mut t, 5, vec![block(1, 8, 0..1)]);
    assert_eq!((discarded(&t), t.scheduler.places(OutputId(1)).len()), (vec![6, 7, 8], 0));
    t.submit(1, job(vec![map(1, 5, &[]), result(1, &[0])]));
    assert_eq!(t.end_of(1), "an output is described differently than it was before");
}

#[test]
fn an_engine_that_comes_back_late_spares_what_still_waits() {
    let mut t = Table::with(1, 1);
    t.submit(1, two_stages());
    assert_eq!(t.running(), "0:0..1@1");
    t.join(2, 1);
    assert_eq!(t.running(), "0:0..1@1 0:1..2@2");
    // One of these runs again already, and the other two wait.
    known(&mut t, 4, vec![block(2, 90, 1..2), block(2, 91, 2..4)]);
    assert_eq!(discarded(&t), [90]);
    t.done(0, 0);
    t.done(0, 1);
    assert_eq!(t.running(), "1:0..1@1 1:1..2@2");
    t.finish_all();
    assert_eq!((t.end_of(1), t.scheduler.launched()), ("done".into(), 91 + 2));
}

#[test]
fn an_engine_that_comes_back_late_can_finish_a_stage() {
    let mut t = Table::with(1, 1);
    t.tell(Event::EngineGate { engine: EngineId(1), gate: Gate::Memory });
    t.submit(1, two_stages());
    known(&mut t, 4, vec![block(1, 90, 0..4)]);
    t.tell(Event::EngineGate { engine: EngineId(1), gate: Gate::Open });
    assert_eq!(t.running(), "1:0..1@1");
}

#[test]
fn another_answer_than_the_one_that_was_lost_is_not_taken_in() {
    let mut t = Table::with(1, 1);
    t.submit(1, two_stages());
    t.done(0, 0);
    t.lose_block(1, 0);
    let mut other = block(1, 90, 0..1);
    other.report.partitions[0].checksum = 8;
    known(&mut t, 4, vec![other, block(1, 91, 0..1)]);
    assert_eq!(discarded(&t)[1..], [90]);
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn another_answer_than_before_a_restart_is_detected() {
    for delivered in [0, 1] {
        let mut t = Table::with(1, 4);
        let remembered = Event::OutputKnown {
            output: OutputId(1),
            partitions: 1,
            buckets: 2,
            parents: vec![],
            made: vec![(0, 8)],
            changed: None,
            blocks: vec![],
        };
        t.tell(remembered);
        let mut kept = block(1, 5, 0..1);
        kept.report.bucket_bytes = vec![];
        let parents = vec![OutputId(1)];
        t.tell(Event::OutputKnown {
            output: OutputId(2),
            partitions: 2,
            buckets: 2,
            parents,
            made: vec![],
            changed: None,
            blocks: vec![kept],
        });
        let spec = job(vec![map(1, 1, &[]), map(2, 2, &[0]), result(2, &[0, 1])]);
        t.submit(1, JobSpec { delivered, ..spec });
        t.done(0, 0);
        let noticed = t.actions.iter().any(|action| matches!(action, Action::Nondeterministic { partition: 0, .. }));
        assert!(noticed, "it came to 8 before, and to 7 now");
        t.finish_all();
        match delivered {
            0 => assert_eq!((t.end_of(1).as_str(), t.scheduler.launched()), ("done", 5 + 1 + 2 + 2)),
            _ => assert!(t.end_of(1).ends_with("after 1 results that depend on it were delivered"), "{}", t.end_of(1)),
        }
    }
}

#[test]
fn a_block_made_from_an_answer_that_has_changed_is_not_taken_in() {
    let mut t = Table::with(2, 4);
    let known = |output, parents, made, blocks| {
        let (output, parents) = (OutputId(output), Vec::from_iter(Option::map(parents, OutputId)));
        Event::OutputKnown { output, partitions: 1, buckets: 2, parents, made, changed: None, blocks }
    };
    t.tell(known(1, None, vec![(0, 8)], vec![]));
    t.submit(1, job(vec![map(1, 1, &[]), map(2, 1, &[0]), map(3, 1, &[1]), result(1, &[2])]));
    t.done(0, 0);
    let noticed = t.actions.iter().any(|action| matches!(action, Action::Nondeterministic { partition: 0, .. }));
    assert!(noticed, "it came to 8 before, and to 7 now");
    t.said();
    // An engine that reconnects late has a block that was made from the first answer, 8.
    t.tell(known(3, Some(2), vec![], vec![block(2, 1, 0..1)]));
    assert_eq!(discarded(&t), [1]);
    t.finish_all();
    assert_eq!(t.end_of(1), "done");
}

#[test]
fn a_changed_answer_is_remembered_across_restarts() {
    let changed = Some(Change { partition: 2, launched: 20 });
    let mut t = Table::with(1, 1);
    let known = |output, parents, changed, blocks| {
        let (output, parents) = (OutputId(output), Vec::from_iter(Option::map(parents, OutputId)));
        Event::OutputKnown { output, partitions: 4, buckets: 2, parents, made: vec![], changed, blocks }
    };
    t.tell(known(1, None, changed, vec![block(1, 19, 0..4)]));
    t.tell(known(2, Some(1), None, vec![block(1, 20, 0..2), block(1, 21, 2..4)]));
    assert_eq!((discarded(&t), t.scheduler.changed(OutputId(1))), (vec![20], changed));
    let spec = job(vec![map(1, 4, &[]), map(2, 4, &[0]), result(2, &[1])]);
    t.submit(1, JobSpec { delivered: 1, wanted: (1..2).into(), ..spec.clone() });
    assert!(t.end_of(1).starts_with("stage 0 is not deterministic: partition 2 was recomputed"), "{}", t.end_of(1));
    t.submit(2, spec);
    t.finish_all();
    assert_eq!((t.end_of(2).as_str(), t.scheduler.launched()), ("done", 21 + 2 + 2));
}
