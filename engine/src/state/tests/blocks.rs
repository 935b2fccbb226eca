//! Adding and deleting blocks: events may arrive before the outcome of an order.

use super::super::NotAdded;
use super::*;
use tryworks_base::Error;
use tryworks_protocol::engine::ResultPart;

/// A task has finished, and its blocks are being added.
fn adding() -> World {
    let mut world = World::new();
    world.launch([1]);
    world.worker(done(1, blocks()));
    world
}

#[test]
fn a_task_is_reported_and_offered_once_its_blocks_are_in_the_store() {
    let mut world = adding();
    let orders = world.engine.orders();
    let [Order::Blocks(BlockOrder::Add { attempt: AttemptId(1), blocks: added, note })] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!((added, note.is_empty()), (&blocks(), false));
    assert!(world.told().is_empty() && world.engine.has().held.is_empty());
    world.engine.added(AttemptId(1), Ok(()));
    assert!(matches!(world.told()[..], [FromEngine::Done { attempt: AttemptId(1), .. }]));
    assert_eq!(world.engine.has().held[0].partitions, (0..4).into());
    // A second outcome changes nothing.
    world.engine.added(AttemptId(1), Ok(()));
    assert!(world.told().is_empty() && world.stored().is_empty());
}

#[test]
fn a_task_whose_blocks_cannot_be_added_fails_and_is_retried_if_a_file_was_lost() {
    let lost = || Error::Bug("it is damaged".into());
    let full = || Error::limit("block_quota", 1, "2", "a larger quota");
    for (error, file, again) in [(lost(), true, true), (lost(), false, false), (full(), true, false)] {
        let mut world = adding();
        assert_eq!(world.stored(), ["add"]);
        world.engine.added(AttemptId(1), Err(NotAdded { error, file }));
        assert_eq!(world.stored(), ["delete", "discard"], "none of its blocks stays");
        let told = world.told();
        let [FromEngine::Failed { attempt: AttemptId(1), failure, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(matches!(failure, Failure::Killed), again, "{failure:?}");
        assert!(world.engine.has().held.is_empty());
    }
}

#[test]
fn blocks_deleted_while_they_are_being_added_do_not_stay() {
    let deletions = [
        (ToEngine::Discard { attempt: AttemptId(1) }, vec!["add", "delete", "delete"]),
        (ToEngine::DeleteOutput { output: output() }, vec!["add", "delete", "delete outputs"]),
        (ToEngine::EndSession { session: SESSION }, vec!["add", "delete", "delete outputs"]),
    ];
    for (deletion, orders) in deletions {
        let mut world = adding();
        world.hub(deletion);
        assert_eq!(world.stored(), orders, "it is deleted after it is added");
        world.engine.added(AttemptId(1), Ok(()));
        assert!(matches!(world.told()[..], [FromEngine::Done { .. }]), "each task is reported once");
        assert!(world.engine.has().held.is_empty(), "it is not offered");
    }
}

#[test]
fn blocks_being_added_when_another_hub_takes_over_are_deleted() {
    let mut world = adding();
    assert!(world.engine.has().held.is_empty());
    world.join(2);
    world.engine.orders();
    world.engine.added(AttemptId(1), Ok(()));
    assert_eq!(world.stored(), ["delete", "discard"]);
    assert!(world.told().is_empty() && world.engine.has().held.is_empty());
}

/// The new hub did not know of these blocks, and the engine kept them until the end of the session.
#[test]
fn blocks_and_results_made_between_offer_and_welcome_are_deleted() {
    let mut world = World::new();
    let results = assignment(AttemptId(3), CodeId::Results(JobId(1)));
    world.launch([1, 2]);
    world.hub(ToEngine::Launch { tasks: vec![results] });
    world.engine.hub_lost(world.now);
    world.worker(done(1, blocks()));
    world.engine.added(AttemptId(1), Ok(()));
    assert_eq!(world.engine.offer().held.len(), 1);
    world.worker(done(2, blocks()));
    world.engine.added(AttemptId(2), Ok(()));
    world.worker(done(3, vec![]));
    let has = world.engine.has();
    assert_eq!((has.held.len(), has.results.len()), (2, 1), "the hub may never answer");
    world.engine.orders();
    world.join(2);
    let has = world.engine.has();
    assert_eq!((has.held[0].attempt, has.held.len(), has.results.len()), (AttemptId(1), 1, 0));
    assert_eq!(world.stored(), ["delete", "delete"]);
}

#[test]
fn blocks_that_no_hub_waits_for_are_deleted_before_they_are_added() {
    // An earlier hub launched the task.
    let mut world = World::new();
    world.launch([1]);
    world.join(2);
    world.worker(done(1, blocks()));
    assert_eq!(world.stored(), ["delete", "discard"]);
    // No hub launched the task, or it was already reported.
    world.worker(done(1, blocks()));
    assert_eq!(world.stored(), ["discard"; 4]);
    assert!(world.told().is_empty());
}

#[test]
fn blocks_that_a_dead_worker_had_begun_are_deleted() {
    let mut world = World::new();
    world.launch([1, 2]);
    world.engine.orders();
    world.ended("was killed by signal 9", &[1, 2]);
    assert_eq!(world.stored(), ["delete", "discard", "delete", "discard"]);
}

#[test]
fn results_are_offered_until_the_driver_has_them() {
    let mut world = World::new();
    let results = CodeId::Results(JobId(1));
    world.hub(ToEngine::Launch { tasks: vec![assignment(AttemptId(1), results), assignment(AttemptId(2), results)] });
    for attempt in [1, 2] {
        let FromWorker::Done { attempt, report, blocks, kept, span, .. } = done(attempt, vec![]) else { panic!() };
        let results = vec![(0, ResultPart::Here(vec![7]))];
        world.worker(FromWorker::Done { attempt, report, blocks, results, kept, span });
    }
    assert_eq!(world.told().len(), 2, "no blocks have to be added first");
    world.hub(ToEngine::Received { attempts: vec![AttemptId(1), AttemptId(9)] });
    let left = world.engine.has().results;
    assert_eq!(left.iter().map(|held| held.attempt.0).collect::<Vec<_>>(), [2]);
    assert_eq!(world.stored(), ["delete"]);
    // A result that is too large to be reported is not kept either.
    let report = Report { partitions: vec![], bucket_bytes: vec![] };
    let what = FromEngine::Done { attempt: AttemptId(2), report, results: vec![], kept: vec![], span: (1, 2) };
    world.engine.unsaid(&what, Error::Bug("too large".into()));
    assert!(matches!(world.told()[..], [FromEngine::Failed { failure: Failure::Final(_), .. }]));
    assert!(world.engine.has().results.is_empty());
}
