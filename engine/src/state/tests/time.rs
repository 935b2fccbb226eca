//! What depends on time: workers that are late, beats, and patience.

use super::super::deaths::{FAREWELL, KILL_GRACE, SILENCE, START_LIMIT};
use super::*;

/// The suspects and the waiting tasks of a worker that died, and why it died.
#[track_caller]
fn died(told: &[FromEngine]) -> (Vec<u64>, Vec<u64>, String) {
    let [FromEngine::WorkerDied { suspects, waiting, error, .. }] = told else { panic!("{told:?}") };
    let numbers = |attempts: &[AttemptId]| attempts.iter().map(|attempt| attempt.0).collect();
    (numbers(suspects), numbers(waiting), error.to_string())
}

#[test]
fn a_task_that_does_not_stop_has_its_worker_killed_and_no_task_is_suspected() {
    let mut world = World::new();
    world.launch([1, 2]);
    world.said();
    world.hub(ToEngine::Kill { attempt: AttemptId(1) });
    assert_eq!(world.said(), [ToWorker::Kill { attempt: AttemptId(1) }]);
    world.pass(KILL_GRACE - TICK);
    // A second request to stop gives no more time.
    world.hub(ToEngine::Kill { attempt: AttemptId(1) });
    assert!(world.killed().is_empty());
    world.pass(TICK);
    assert_eq!(world.killed(), [WORKER]);
    world.ended("was killed by signal 9", &[1, 2]);
    let (suspects, waiting, why) = died(&world.told());
    assert_eq!((suspects, waiting), (vec![], vec![1, 2]));
    assert!(why.contains("(process 77) of one on here was killed because a task did not stop within 3s"), "{why}");
}

#[test]
fn a_task_that_stops_in_time_does_not_end_its_worker() {
    let mut world = World::new();
    world.launch([1]);
    world.hub(ToEngine::Kill { attempt: AttemptId(1) });
    world.pass(KILL_GRACE - TICK);
    world.worker(failed(1));
    world.pass(KILL_GRACE);
    assert!(world.killed().is_empty());
    assert!(matches!(world.told()[..], [FromEngine::Failed { failure: Failure::Killed, .. }]));
}

#[test]
fn a_silent_worker_is_killed_and_its_running_tasks_are_suspects() {
    let mut world = World::new();
    world.launch([1, 2, 3]);
    world.pass(SILENCE - TICK);
    world.worker(FromWorker::Beat);
    world.pass(SILENCE - TICK);
    assert!(world.killed().is_empty(), "it sent a message in time");
    world.pass(TICK);
    assert_eq!(world.killed(), [WORKER]);
    world.ended("was killed by signal 9", &[2]);
    let (suspects, waiting, why) = died(&world.told());
    assert_eq!((suspects, waiting), (vec![2], vec![1, 3]));
    assert!(why.contains("nothing was heard of it for 15s: was it stopped?"), "{why}");
}

/// An engine killed all of its workers when its machine woke up from a night's sleep.
#[test]
fn an_engine_that_was_stopped_itself_does_not_kill_its_workers() {
    let mut world = World::new();
    world.launch([1]);
    world.now = world.now + 1000 * SECOND;
    world.engine.tick(world.now);
    world.pass(SILENCE - TICK);
    assert!(world.killed().is_empty());
    world.pass(TICK);
    assert_eq!(world.killed(), [WORKER]);
}

#[test]
fn a_worker_that_lost_its_connection_has_a_moment_to_end_by_itself() {
    let mut world = World::new();
    world.launch([1]);
    world.engine.worker_cut(world.now, WORKER);
    world.pass(FAREWELL - TICK);
    assert!(world.killed().is_empty());
    world.pass(TICK);
    assert_eq!(world.killed(), [WORKER]);
    world.ended("was killed by signal 9", &[1]);
    let (suspects, _, why) = died(&world.told());
    assert_eq!(suspects, [1]);
    assert!(why.contains("it had lost its connection to the engine"), "{why}");
    // A worker that ends within that time is reported as it ended.
    let mut world = World::new();
    world.launch([1]);
    world.engine.worker_cut(world.now, WORKER);
    world.pass(FAREWELL / 2);
    world.ended("ended by itself (exit code 3)", &[1]);
    assert!(died(&world.told()).2.contains("ended by itself (exit code 3)"));
}

#[test]
fn a_program_that_never_reaches_its_context_is_given_up_after_two_attempts() {
    let (store, stock) = nowhere();
    let mut world = World::begun(store, stock);
    world.join(1);
    world.session();
    world.launch([1]);
    assert_eq!(world.engine.orders().len(), 1, "it is started once");
    world.engine.started(1, 77, 700);
    world.pass(START_LIMIT - TICK);
    assert!(world.killed().is_empty());
    world.pass(TICK);
    assert_eq!(world.killed(), [1]);
    world.ended("was killed by signal 9", &[]);
    assert!(matches!(world.told()[..], [FromEngine::Failed { failure: Failure::Killed, .. }]));
    let orders = world.engine.orders();
    assert!(orders.iter().any(|order| matches!(order, Order::Start { worker: 2, .. })), "{orders:?}");
    let death = Death { how: "ended by itself (exit code 1)".into(), hopeless: false, ran: vec![] };
    world.engine.worker_ended(world.now, 2, &death);
    let told = world.told();
    let [FromEngine::CannotWork { session: SESSION, error }] = &told[..] else { panic!("{told:?}") };
    assert!(error.to_string().contains("before it came to `Context::init()`"), "{error}");
    assert!(world.engine.orders().is_empty(), "no task asks for it yet");
    world.launch([2]);
    assert!(matches!(world.engine.orders()[..], [Order::Start { worker: 3, .. }]), "another task starts it again");
}

#[test]
fn the_engine_beats_at_the_interval_that_the_hub_asks_for() {
    let mut world = World::new();
    let beats = |world: &mut World| {
        let all = world.engine.for_hub();
        all.iter().filter(|message| matches!(message, FromEngine::Beat { blocks: 5, short: false, .. })).count()
    };
    world.pass(10 * SECOND);
    assert_eq!(beats(&mut world), 10);
    world.engine.joined(world.now, &Welcome { engine: EngineId(2), beat_ms: 5000 });
    world.pass(10 * SECOND);
    assert_eq!(beats(&mut world), 2);
    assert!(!world.engine.beat_is_due(world.now));
    assert!(world.engine.beat_is_due(world.now + 5 * SECOND));
}

#[test]
fn an_engine_continues_without_a_hub_until_its_patience_ends() {
    let (store, stock) = nowhere();
    let mut world = World::begun(store, stock);
    assert!(world.engine.without_hub(world.now + PATIENCE, "it does not answer").is_ok());
    world.pass(PATIENCE / 2);
    world.join(1);
    world.pass(10 * PATIENCE);
    assert!(world.engine.without_hub(world.now, "there is one").is_ok());
    world.engine.hub_lost(world.now);
    world.pass(PATIENCE);
    // The loss of the hub may be noticed more than once.
    world.engine.hub_lost(world.now);
    assert!(world.engine.without_hub(world.now, "connection refused").is_ok());
    let error = world.engine.without_hub(world.now + TICK, "connection refused").unwrap_err();
    assert!(error.to_string().contains("there was no hub for 60s: connection refused"), "{error}");
    assert!(world.engine.for_hub().is_empty(), "without a hub no message is kept");
}

#[test]
fn tasks_of_an_earlier_hub_are_stopped_and_not_reported() {
    let mut world = World::new();
    world.launch([1, 2]);
    world.said();
    world.engine.hub_lost(world.now);
    world.pass(SECOND);
    world.join(2);
    let attempts = [1, 2].map(|attempt| ToWorker::Kill { attempt: AttemptId(attempt) });
    assert_eq!(world.said(), attempts);
    // One task stops, and the other does not.
    world.worker(failed(1));
    world.engine.orders();
    world.pass(KILL_GRACE - TICK);
    assert!(world.killed().is_empty());
    world.pass(TICK);
    assert_eq!(world.killed(), [WORKER]);
    world.ended("was killed by signal 9", &[2]);
    assert_eq!(world.told(), []);
}
