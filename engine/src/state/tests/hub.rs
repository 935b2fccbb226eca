//! What the hub sends reaches each worker once, and the next hub gets what its predecessor may have missed.

use super::*;
use tryworks_protocol::engine::{CodeBytes, Places};
use tryworks_scheduler::{BlockLocation, Run};

/// The names of messages to workers.
fn names(said: &[ToWorker]) -> Vec<&'static str> {
    let name = |message: &ToWorker| match message {
        ToWorker::Code { .. } => "code",
        ToWorker::Peer { .. } => "peer",
        ToWorker::Places { .. } => "places",
        ToWorker::Launch { .. } => "launch",
        ToWorker::Kill { .. } => "kill",
        ToWorker::ForgetCode { .. } => "forget",
        _ => "other",
    };
    said.iter().map(name).collect()
}

fn tell_all(world: &mut World) {
    world.hub(ToEngine::Peer { engine: EngineId(7), store: Box::new(nowhere().0) });
    let at = BlockLocation { made_by: AttemptId(5), engine: EngineId(7) };
    let places = Places { partitions: 4, runs: vec![(Run::new(0, 4), at)] };
    world.hub(ToEngine::Places { output: output(), places });
}

#[test]
fn a_worker_gets_what_its_tasks_need_once_before_the_first_of_them() {
    let mut world = World::new();
    world.hub(ToEngine::Code { session: SESSION, code: code(), bytes: CodeBytes::Here(vec![1]) });
    tell_all(&mut world);
    assert!(world.said().is_empty(), "no task needs it yet");
    world.launch([1]);
    world.launch([2]);
    assert_eq!(names(&world.said()), ["code", "peer", "places", "launch", "launch"]);
    // The next hub gives engines new numbers, and sends the places of blocks again.
    world.join(2);
    tell_all(&mut world);
    world.launch([3]);
    assert_eq!(names(&world.said()), ["kill", "kill", "peer", "places", "launch"]);
    world.hub(ToEngine::ForgetCode { code: code() });
    assert_eq!(names(&world.said()), ["forget"]);
}

#[test]
fn a_downloaded_code_file_stays_while_any_code_uses_it() {
    let mut world = World::new();
    let other = CodeId::Results(JobId(1));
    for code in [code(), other] {
        world.hub(ToEngine::Code { session: SESSION, code, bytes: CodeBytes::AtHub { id: [3; 32], bytes: 1 } });
    }
    world.hub(ToEngine::ForgetCode { code: code() });
    assert!(world.engine.orders().is_empty());
    world.hub(ToEngine::ForgetCode { code: other });
    assert!(matches!(world.engine.orders()[..], [Order::DropFile { session: SESSION, id }] if id == [3; 32]));
}

#[test]
fn only_workers_started_by_this_engine_are_welcomed_and_each_once() {
    let mut world = World::new();
    assert!(world.engine.greet(world.now, WORKER).is_none());
    assert!(world.engine.greet(world.now, 9).is_none());
}

#[test]
fn a_worker_whose_session_ended_early_is_killed_when_its_process_starts() {
    let (store, stock) = nowhere();
    let mut world = World::begun(store, stock);
    world.join(1);
    world.session();
    world.hub(ToEngine::EndSession { session: SESSION });
    world.engine.orders();
    world.engine.started(WORKER, 77, 700);
    assert_eq!(world.killed(), [WORKER]);
    world.ended("was killed by signal 9", &[]);
    assert!(!world.engine.has_workers() && world.told().is_empty());
}

#[test]
fn a_session_that_returns_before_its_worker_has_ended_gets_a_new_worker() {
    let mut world = World::new();
    world.launch([1]);
    world.hub(ToEngine::EndSession { session: SESSION });
    world.session();
    world.launch([2]);
    let orders = world.engine.orders();
    assert!(orders.iter().any(|order| matches!(order, Order::Start { worker: 2, .. })), "{orders:?}");
    world.ended("was killed by signal 9", &[1]);
    assert!(matches!(world.told()[..], [FromEngine::Failed { attempt: AttemptId(1), failure: Failure::Killed, .. }]));
}

#[test]
fn recent_output_is_sent_again_to_the_next_hub_unless_its_session_is_over() {
    let mut world = World::new();
    let piece = || Piece { bytes: b"call me".to_vec(), ..Piece::default() };
    world.engine.wrote(WORKER, piece());
    let first = world.told();
    let [FromEngine::Wrote { session: SESSION, written }] = &first[..] else { panic!("{first:?}") };
    assert_eq!((written.run, written.worker, &written.bytes[..]), (700, 77, &b"call me"[..]));
    world.join(2);
    assert_eq!(world.told(), first);
    // An acknowledgement opens the window of the worker that wrote the output. Other windows stay as they are.
    world.engine.orders();
    for run in [699, 700] {
        world.hub(ToEngine::Heard { session: SESSION, run, stderr: true, offset: 7 });
    }
    let orders = world.engine.orders();
    assert!(matches!(orders[..], [Order::Heard { worker: WORKER, stderr: true, offset: 7 }]), "{orders:?}");
    world.hub(ToEngine::Unheard { session: SESSION });
    assert!(matches!(world.engine.orders()[..], [Order::Unheard { worker: WORKER }]));
    world.hub(ToEngine::EndSession { session: SESSION });
    world.join(3);
    assert_eq!(world.told(), []);
}

/// Output of ended sessions still counted against the bound, until no output was kept for the next hub.
#[test]
fn output_of_ended_sessions_does_not_count_against_the_bound() {
    let mut world = World::new();
    for worker in 1..=40 {
        let bytes = vec![b'x'; 64 << 10];
        world.engine.wrote(worker, Piece { bytes, ..Piece::default() });
        world.hub(ToEngine::EndSession { session: SESSION });
        world.session();
    }
    world.engine.wrote(41, Piece { bytes: b"call me".to_vec(), ..Piece::default() });
    world.told();
    world.join(2);
    assert!(matches!(world.told()[..], [FromEngine::Wrote { .. }]));
}

/// A worker that held more than its budget while idle got no more tasks, and its job never ended.
#[test]
fn an_idle_worker_gets_a_task_even_if_it_holds_too_much_memory() {
    let mut world = World::new();
    world.launch([1]);
    world.engine.measured(WORKER, 2 * MEMORY, 2 * MEMORY);
    world.pass(SECOND);
    let short = |message: &FromEngine| matches!(message, FromEngine::Beat { short: true, .. });
    assert!(world.engine.for_hub().last().is_some_and(short));
    world.worker(failed(1));
    let told = world.engine.for_hub();
    assert!(matches!(told[..], [FromEngine::Failed { .. }, FromEngine::Beat { short: false, .. }]), "{told:?}");
    assert!(world.engine.for_hub().is_empty(), "the message is sent once");
}

#[test]
fn a_message_that_cannot_be_sent_to_a_worker_fails_its_tasks() {
    let mut world = World::new();
    world.launch([1, 2]);
    world.engine.orders();
    world.engine.cannot_tell(WORKER, &tryworks_base::Error::Bug("too large".into()));
    assert_eq!(world.killed(), [WORKER]);
    let told = world.told();
    assert!(matches!(told[..], [FromEngine::Failed { failure: Failure::Final(_), .. }, FromEngine::Failed { .. }]));
    world.ended("was killed by signal 9", &[1]);
    assert_eq!(world.told(), [], "each is reported once");
}
