//! Large results of detached jobs, which stay with the engines that made them.

use super::*;
use tryworks_protocol::engine::{HeldResult, StorePlace};

/// The report of a task whose results are too large for a message.
fn kept(task: &Assignment) -> FromEngine {
    let FromEngine::Done { attempt, report, kept, span, .. } = done(task) else { panic!() };
    let results = task.task.partitions.iter().map(|partition| (partition, ResultPart::Kept(1 << 30))).collect();
    FromEngine::Done { attempt, report, results, kept, span }
}

fn night(ticket: u64, session: SessionId) -> FromDriver {
    FromDriver::Submit(Box::new(job(ticket, session, 2, Some(5), Some("night"))))
}

impl World {
    /// Reports the tasks that an engine gets, until it gets no more. Returns how many there were.
    fn run(&mut self, engine: PeerId, report: impl Fn(&Assignment) -> FromEngine) -> usize {
        let mut ran = 0;
        loop {
            let tasks = self.tasks(engine);
            if tasks.is_empty() {
                return ran;
            }
            ran += tasks.len();
            self.report(engine, &tasks.iter().map(&report).collect::<Vec<_>>());
        }
    }

    /// Finishes the map tasks of a job with an exchange, and returns the tasks that make its results.
    fn map(&mut self, engine: PeerId) -> Vec<Assignment> {
        let maps = self.tasks(engine);
        self.report(engine, &maps.iter().map(done).collect::<Vec<_>>());
        self.tasks(engine)
    }
}

/// The stores from which a driver shall fetch results, by partition.
fn places(said: &[ToDriver]) -> BTreeMap<u32, StorePlace> {
    let mut places = BTreeMap::new();
    for message in said {
        if let ToDriver::Results { parts, .. } = message {
            places.extend(parts.iter().filter_map(|(partition, part)| match part {
                tryworks_protocol::driver::Part::At { place, .. } => Some((*partition, place.store.clone())),
                tryworks_protocol::driver::Part::Here(_) => None,
            }));
        }
    }
    places
}

/// The job ended without these results, and its driver reported that as a bug.
#[test]
fn large_results_lost_with_their_engine_are_recomputed_before_the_job_ends() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (lost, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[night(1, welcome.session)]);
    let tasks = world.map(lost);
    assert_eq!(tasks.len(), 2);
    world.report(lost, &[kept(&tasks[0])]);
    assert_eq!(places(&world.said(driver)).len(), 1);
    world.hub.engine_gone(world.now, lost, "its connection ended");
    let other = offer("two", &directory);
    let (engine, _) = world.engine(other.clone()).unwrap();
    // These are the two map tasks, the task that the lost engine had not finished, and the task that it had finished.
    assert_eq!(world.run(engine, |task| if task.task.stage == 1 { kept(task) } else { done(task) }), 4);
    let said = world.said::<ToDriver>(driver);
    assert_eq!((places(&said).len(), results(&said).1.get(&1)), (2, Some(&true)), "{said:?}");
    assert!(places(&said).values().all(|store| store.key == other.store.key));
    let again = |message: &&ToDriver| matches!(message, ToDriver::Notice(text) if text.contains("with their engines and are recomputed"));
    assert_eq!(said.iter().filter(again).count(), 1, "{said:?}");
}

#[test]
fn lost_results_of_a_cancelled_job_are_not_recomputed() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (lost, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, None, Some("night"))))]);
    let tasks = world.tasks(lost);
    world.report(lost, &[kept(&tasks[0])]);
    world.hub.engine_gone(world.now, lost, "its connection ended");
    let (engine, _) = world.engine(offer("two", &directory)).unwrap();
    let tasks = world.tasks(engine);
    // The hub has read the last reports, and the scheduler has not handled them yet. Now the job is cancelled.
    let reports: Vec<_> = tasks.iter().map(kept).collect();
    world.hub.engine_says_bytes(engine, &encode(&reports).unwrap());
    let id = world.hub.detached_as("night").unwrap();
    world.hub.cancel_job(id);
    world.tick();
    let said = world.said::<ToDriver>(driver);
    assert_eq!(results(&said).1.get(&1), Some(&false), "{said:?}");
    assert!(world.tasks(engine).is_empty());
}

/// The results stayed with their engine, and the job kept its name, until another driver collected the job.
#[test]
fn a_collected_job_is_closed_when_the_other_attached_drivers_are_gone() {
    for detaches in [true, false] {
        let mut world = World::new();
        let directory = tempfile::tempdir().unwrap();
        let (engine, _) = world.engine(offer("one", &directory)).unwrap();
        let (first, welcome) = world.driver(None);
        world.drive(first, &[night(1, welcome.session)]);
        world.run(engine, |task| if task.task.stage == 1 { kept(task) } else { done(task) });
        let (second, welcome) = world.driver(None);
        world.drive(second, &[night(7, welcome.session)]);
        world.said::<ToDriver>(second);
        world.drive(second, &[FromDriver::Close { ticket: 7 }]);
        world.turn();
        assert_eq!(world.hub.jobs.len(), 1, "the first driver may still collect it");
        if detaches {
            world.drive(first, &[FromDriver::Detach { ticket: 1 }]);
        } else {
            // The driver has died, and its connection ends.
            world.client_gone(first);
            world.pass(Limits::default().driver_grace + Duration::from_secs(1), &[engine]);
        }
        world.turn();
        assert!(world.hub.jobs.is_empty());
        let received = |message: &ToEngine| matches!(message, ToEngine::Received { .. } | ToEngine::EndSession { .. });
        assert!(world.said::<ToEngine>(engine).iter().any(received));
    }
}

/// The previous hub told the driver of the job's end, and died before the journal had that end. The job ran again and
/// was never closed.
#[test]
fn a_job_that_runs_again_after_its_collection_is_closed_at_its_end() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    world.drive(driver, &[night(1, session)]);
    let mut world = world.again();
    let (driver, _) = world.driver(Some((session, welcome.secret)));
    world.drive(driver, &[FromDriver::Holds { tickets: vec![1], outputs: vec![], caches: vec![] }]);
    world.drive(driver, &[FromDriver::Close { ticket: 1 }]);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.pass(Duration::from_secs(6), &[engine]);
    assert_eq!(world.run(engine, done), 4);
    assert!(world.hub.jobs.is_empty());
}

/// The exchanges stayed as long as the results.
#[test]
fn exchanges_of_an_ended_job_are_deleted_while_its_large_results_stay() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let (driver, welcome) = world.driver(None);
    world.drive(driver, &[night(1, welcome.session)]);
    let tasks = world.map(engine);
    world.drive(driver, &[FromDriver::Leave]);
    let output = welcome.session.output(ExchangeId(5));
    let deleted = |said: Vec<ToEngine>| said.contains(&ToEngine::DeleteOutput { output });
    assert!(!deleted(world.said(engine)), "the job still reads it");
    world.report(engine, &tasks.iter().map(kept).collect::<Vec<_>>());
    let said = world.said::<ToEngine>(engine);
    assert!(!said.contains(&ToEngine::EndSession { session: welcome.session }));
    assert!(deleted(said));
    // The next driver gets the results.
    let (driver, welcome) = world.driver(None);
    world.drive(driver, &[night(1, welcome.session)]);
    let said = world.said::<ToDriver>(driver);
    assert_eq!((places(&said).len(), results(&said).1.get(&1)), (2, Some(&true)), "{said:?}");
}

/// Results of other jobs stayed as long as the large results of a detached job kept the session open.
#[test]
fn results_of_jobs_that_are_not_detached_are_released_when_their_driver_is_given_up() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let one = offer("one", &directory);
    let (engine, _) = world.engine(one.clone()).unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    world.drive(driver, &[night(1, session), FromDriver::Submit(Box::new(job(2, session, 1, None, None)))]);
    world.run(engine, |task| if task.task.stage == 1 { kept(task) } else { done(task) });
    let bound = world.hub.jobs.iter().find(|(_, job)| job.detached.is_none()).map(|(id, _)| *id).unwrap();
    let mut world = world.again();
    let parts = vec![(0, ResultPart::Here(vec![0]))];
    let result = |attempt| HeldResult { job: bound, session, attempt: AttemptId(attempt), parts: parts.clone() };
    let (engine, _) = world.engine(Offer { results: vec![result(7)], ..one }).unwrap();
    let received = |said: Vec<ToEngine>| {
        let attempts =
            said.into_iter().map(|one| if let ToEngine::Received { attempts } = one { attempts } else { vec![] });
        attempts.flatten().map(|attempt| attempt.0).collect::<Vec<_>>()
    };
    assert!(received(world.said(engine)).is_empty());
    world.pass(Limits::default().driver_grace + Duration::from_secs(1), &[engine]);
    assert_eq!(received(world.said(engine)), [7]);
    assert!(world.hub.sessions.all.contains_key(&session), "its detached job has not been collected");
    let (late, _) = world.engine(Offer { results: vec![result(8)], ..offer("two", &directory) }).unwrap();
    assert_eq!(received(world.said(late)), [8]);
}

/// The driver had collected the job, but the journal did not have that. The job ran once more, and its exchange stayed
/// until the end of the session.
#[test]
fn an_exchange_released_before_a_job_makes_it_is_deleted_when_the_job_ends() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    world.drive(driver, &[night(1, session)]);
    let mut world = world.again();
    let (driver, _) = world.driver(Some((session, welcome.secret)));
    world.drive(driver, &[FromDriver::Holds { tickets: vec![], outputs: vec![], caches: vec![] }]);
    world.turn();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.pass(Duration::from_secs(6), &[engine]);
    let tasks = world.map(engine);
    world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    let output = session.output(ExchangeId(5));
    assert!(world.said::<ToEngine>(engine).contains(&ToEngine::DeleteOutput { output }));
}

/// The next hub found the job as one that had failed. Its driver read that it was accepted, and then that the disk was
/// full.
#[test]
fn a_job_that_the_journal_cannot_write_leaves_nothing_behind() {
    let mut world = World::new();
    let (driver, welcome) = world.driver(None);
    world.turn();
    let other = rusqlite::Connection::open(world.directory.path().join("journal.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.drive(driver, &[night(1, welcome.session)]);
    let out = world.hub.outgoing(world.now);
    out.orders.into_iter().for_each(|order| assert_eq!(world.carrier.carry_out(order), None));
    assert!(world.carrier.journal.sync().is_err());
    let outcome = world.outcomes.try_recv().unwrap();
    assert!(matches!(&outcome, OrderOutcome::Submitted { outcome: Err(_), .. }), "{outcome:?}");
    world.hub.order_done(world.now, outcome);
    assert!(world.hub.jobs.is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    while world.carrier.journal.sync().is_err() {}
    assert_eq!(results(&world.said(driver)).1.get(&1), Some(&false));
    // The name of the refused job is free.
    world.drive(driver, &[night(2, welcome.session)]);
    let accepted = |message: &ToDriver| matches!(message, ToDriver::Accepted { ticket: 2, .. });
    assert!(world.said::<ToDriver>(driver).iter().any(accepted));
    world.drive(driver, &[FromDriver::Leave]);
    assert_eq!(world.again().hub.jobs.len(), 1, "the second job continues");
}

/// The results count again when their engine reconnects.
#[test]
fn large_results_of_an_engine_that_reconnects_are_not_recomputed() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let one = offer("one", &directory);
    let (engine, _) = world.engine(one.clone()).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, None, Some("night"))))]);
    let tasks = world.tasks(engine);
    world.report(engine, &[kept(&tasks[0])]);
    world.turn();
    let (job, attempt) = (tasks[0].task.job, tasks[0].task.attempt);
    let parts = tasks[0].task.partitions.iter().map(|partition| (partition, ResultPart::Kept(1 << 30))).collect();
    let held = HeldResult { job, session: welcome.session, attempt, parts };
    let (engine, _) = world.engine(Offer { results: vec![held], ..one }).unwrap();
    assert_eq!(world.run(engine, kept), 1);
    let (_, ends) = results(&world.said(driver));
    assert_eq!(ends.get(&1), Some(&true));
}
