//! Engines that join, join twice, fall silent, and are lost.

use super::*;
use tryworks_base::Error;
use tryworks_scheduler::Failure;

#[test]
fn only_the_engine_with_the_same_store_may_take_over_a_name() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let first = offer("one", &directory);
    let (old, before) = world.engine(first.clone()).unwrap();
    let other = Offer { store: offer("two", &directory).store, ..first.clone() };
    let why = world.engine(other).unwrap_err();
    assert!(why.contains("there is an engine `one` already"), "{why}");
    assert_eq!(world.closed.len(), 1, "the refused engine is hung up on");
    // The same engine, on another connection.
    let (_, after) = world.engine(first).unwrap();
    assert!(after > before);
    assert_eq!(world.hub.engines.all.keys().copied().collect::<Vec<_>>(), [after]);
    assert!(world.closed.contains(&old));
}

#[test]
fn an_engine_of_another_version_is_refused_with_the_reason() {
    let mut world = World::new();
    let (peer, mut hello) = world.hello(Purpose::Administer);
    hello[4] ^= 1;
    world.client_says(peer, &hello);
    let why = world.answer::<Welcome>(peer).unwrap_err();
    assert!(why.contains("different versions"), "{why}");
    assert_eq!(world.closed, [peer]);
    let (peer, hello) = world.hello(Purpose::Administer);
    world.engine_says(peer, &hello);
    let why = world.answer::<EngineWelcome>(peer).unwrap_err();
    assert!(why.contains("the socket of engines"), "{why}");
}

#[test]
fn tasks_of_a_lost_or_silent_engine_run_on_other_engines() {
    for silent in [false, true] {
        let mut world = World::new();
        let directory = tempfile::tempdir().unwrap();
        let (driver, welcome) = world.driver(None);
        let (first, id) = world.engine(offer("one", &directory)).unwrap();
        world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, None, None)))]);
        let lost = world.tasks(first);
        assert!(!lost.is_empty());
        let (second, _) = world.engine(offer("two", &directory)).unwrap();
        if silent {
            world.pass(Duration::from_secs(6), &[second]);
            world.drive(driver, &[FromDriver::Beat]);
            world.pass(Duration::from_secs(5), &[second]);
        } else {
            world.hub.engine_gone(world.now, first, "its connection ended");
        }
        assert!(!world.hub.engines.all.contains_key(&id));
        let again = world.tasks(second);
        assert_eq!(again.len(), 2, "{silent}");
        // Messages that arrive from the lost engine change nothing.
        world.report(first, &[FromEngine::Beat { resident: 0, blocks: 0, short: false }]);
        world.report(second, &again.iter().map(done).collect::<Vec<_>>());
        let (parts, ends) = results(&world.said(driver));
        assert_eq!((parts.len(), ends.get(&1)), (2, Some(&true)));
        assert!(world.hub.launches.out.is_empty());
    }
}

#[test]
fn tasks_of_a_worker_that_died_run_again() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 3, None, None)))]);
    let mut tasks = world.tasks(engine);
    let suspects: Vec<_> = tasks.drain(..1).map(|task| task.task.attempt).collect();
    let waiting: Vec<_> = tasks.drain(..).map(|task| task.task.attempt).collect();
    let error = Error::Lost { what: "a worker was killed".into(), details: String::new() };
    world.report(engine, &[FromEngine::WorkerDied { session: welcome.session, suspects, waiting, error }]);
    let mut ran = 0;
    for _ in 0..8 {
        let tasks = world.tasks(engine);
        ran += tasks.len();
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    }
    assert_eq!(ran, 3);
    // `tryworks job` said that no task had failed.
    let progress = world.hub.jobs.iter().next().unwrap().1.progress;
    assert_eq!((progress.failed, progress.partitions_done), (1, 3));
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&1)), (3, Some(&true)));
}

#[test]
fn reports_out_of_order_change_nothing() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Received { attempts: vec![AttemptId(9)] }, FromDriver::Cancel { ticket: 7 }]);
    world.drive(driver, &[FromDriver::Close { ticket: 7 }, FromDriver::Detach { ticket: 8 }]);
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 1, None, None)))]);
    let tasks = world.tasks(engine);
    let (attempt, span) = (tasks[0].task.attempt, (0, 0));
    let stranger = AttemptId::new(999, 3);
    world.report(engine, &[FromEngine::Failed { attempt: stranger, failure: Failure::Killed, span }]);
    world.report(engine, &[done(&tasks[0]), done(&tasks[0])]);
    world.report(engine, &[FromEngine::Failed { attempt, failure: Failure::Killed, span }]);
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&1)), (1, Some(&true)));
    // A message that cannot be read ends the connection.
    world.engine_says(engine, &[255; 9]);
    world.turn();
    assert!(world.hub.engines.all.is_empty() && world.closed.contains(&engine));
    world.client_says(driver, &[255; 9]);
    assert!(!world.answer::<Welcome>(driver).unwrap_err().is_empty());
    assert!(world.hub.sessions.clients.is_empty() && world.closed.contains(&driver));
}

/// Fails every task that the engine gets, so that the hub excludes it. Tasks on other engines keep running.
fn exclude(world: &mut World, sick: PeerId) {
    let (driver, welcome) = world.driver(None);
    for ticket in 1..=40 {
        world.drive(driver, &[FromDriver::Submit(Box::new(job(ticket, welcome.session, 2, None, None)))]);
        let failed = |task: &Assignment| FromEngine::Failed {
            attempt: task.task.attempt,
            failure: Failure::User(Error::Bug("wrong".into())),
            span: (0, 0),
        };
        let reports: Vec<_> = world.tasks(sick).iter().map(failed).collect();
        world.report(sick, &reports);
    }
}

/// The first of two exclusions ended. The second never did while the hub had nothing to do, because the hub remembered
/// only one time.
#[test]
fn the_status_shows_exclusions_and_they_end_even_in_an_idle_hub() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let states =
        |world: &World| -> Vec<String> { world.hub.status().engines.into_iter().map(|engine| engine.state).collect() };
    let (first, _) = world.engine(offer("one", &directory)).unwrap();
    let (well, _) = world.engine(offer("two", &directory)).unwrap();
    assert_eq!(states(&world), ["open", "open"]);
    exclude(&mut world, first);
    assert_eq!(states(&world), ["excluded", "open"]);
    world.pass(Duration::from_secs(20), &[first, well]);
    let (second, id) = world.engine(offer("three", &directory)).unwrap();
    let all = [first, well, second];
    exclude(&mut world, second);
    assert_eq!(states(&world), ["excluded", "open", "excluded"]);
    world.pass(Duration::from_secs(39), &all);
    // The status is asked for before the hub has looked at its times.
    world.now = world.now + Duration::from_secs(2);
    world.report(well, &[FromEngine::Beat { resident: 0, blocks: 0, short: false }]);
    assert_eq!(states(&world), ["open", "open", "excluded"]);
    world.pass(Duration::from_secs(20), &all);
    assert_eq!(states(&world), ["open", "open", "open"]);
    assert_eq!(world.hub.scheduler.excluded_until(id), None, "the scheduler has the time, too");
}
