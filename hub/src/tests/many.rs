//! A hub with many open jobs: neither handling a message nor ending a session walks over all of them.

use super::*;
use tryworks_base::ids::JobId;

/// Submits `jobs` jobs of one task in a driver's session.
fn submit(world: &mut World, driver: PeerId, session: SessionId, jobs: u64) {
    let all: Vec<_> = (1..=jobs).map(|ticket| job(ticket, session, 1, None, None)).collect();
    for some in all.chunks(1000) {
        world.drive(driver, &some.iter().map(|job| FromDriver::Submit(Box::new(job.clone()))).collect::<Vec<_>>());
        world.hub.settle();
    }
}

/// When a driver left with 40,000 jobs that it had not closed, the hub was silent for half a minute.
#[test]
fn ending_a_session_visits_each_of_its_open_jobs_once() {
    const OWN: u64 = 40_000;
    const OTHERS: u64 = 1_000;
    let mut world = World::new();
    let (other, theirs) = world.driver(None);
    submit(&mut world, other, theirs.session, OTHERS);
    let (driver, own) = world.driver(None);
    submit(&mut world, driver, own.session, OWN);
    assert_eq!(world.hub.jobs.len() as u64, OWN + OTHERS);
    assert_eq!(world.hub.jobs.walked.get(), 0, "submitting a job takes no walk");
    world.drive(driver, &[FromDriver::Leave]);
    world.hub.settle();
    assert_eq!(world.hub.jobs.len() as u64, OTHERS);
    // One walk cancels and closes each job. Another, over no jobs, checks whether one continues.
    assert_eq!(world.hub.jobs.walked.get(), OWN);
    assert!(!world.hub.sessions.all.contains_key(&own.session));
    world.drive(other, &[FromDriver::Leave]);
    world.hub.settle();
    assert!(world.hub.jobs.is_empty() && world.hub.known.codes.is_empty());
    assert_eq!(world.hub.jobs.walked.get(), OWN + OTHERS);
}

/// With 30,000 jobs in flight, the hub ran a third of the jobs a second that it ran without them.
#[test]
fn a_message_costs_the_same_however_many_jobs_are_open() {
    const OPEN: u64 = 5_000;
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, own) = world.driver(None);
    submit(&mut world, driver, own.session, OPEN);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let mut tasks = world.tasks(engine);
    let mut closed = 0;
    while closed < 500 {
        assert!(!tasks.is_empty());
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
        world.tick();
        let said = world.said::<ToDriver>(driver);
        let results_of = |message: &ToDriver| match message {
            ToDriver::Results { attempt, .. } => Some(*attempt),
            _ => None,
        };
        let attempts: Vec<_> = said.iter().filter_map(results_of).collect();
        let (_, ends) = results(&said);
        assert_eq!((attempts.len(), ends.len()), (tasks.len(), tasks.len()));
        closed += ends.len();
        let closing = ends.keys().map(|ticket| FromDriver::Close { ticket: *ticket });
        world.drive(driver, &[FromDriver::Received { attempts }].into_iter().chain(closing).collect::<Vec<_>>());
        // The engine may release the results that the driver has acknowledged, and gets the next task.
        let (mut freed, mut next) = (0, Vec::new());
        for message in world.said::<ToEngine>(engine) {
            match message {
                ToEngine::Received { attempts } => freed += attempts.len(),
                ToEngine::Launch { tasks } => next.extend(tasks),
                _ => {}
            }
        }
        assert_eq!(freed, tasks.len());
        tasks = next;
    }
    assert_eq!(world.hub.jobs.walked.get(), 0, "no message and no tick walks over all jobs");
}

/// A stranger acknowledges the results of another driver.
#[test]
fn only_the_driver_of_a_job_can_acknowledge_its_results() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, own) = world.driver(None);
    let (stranger, _) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    submit(&mut world, driver, own.session, 1);
    let tasks = world.tasks(engine);
    world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    world.turn();
    let attempts = vec![tasks[0].task.attempt];
    world.drive(stranger, &[FromDriver::Received { attempts: attempts.clone() }]);
    let received = |said: Vec<ToEngine>| said.iter().any(|message| matches!(message, ToEngine::Received { .. }));
    assert!(!received(world.said(engine)));
    assert_eq!(world.hub.jobs[&JobId(1)].delivered.len(), 1);
    world.drive(driver, &[FromDriver::Received { attempts }]);
    assert!(received(world.said(engine)));
    assert!(world.hub.jobs[&JobId(1)].delivered.is_empty());
}

/// There was one line for each job.
#[test]
fn a_thousand_jobs_cancelled_together_make_one_line() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, own) = world.driver(None);
    submit(&mut world, driver, own.session, 1_003);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let given = world.tasks(engine).len();
    world.said::<ToDriver>(driver);
    let cancels = |world: &mut World, jobs: std::ops::RangeInclusive<u64>| {
        let messages = jobs.map(|ticket| FromDriver::Cancel { ticket });
        world.drive(driver, &messages.collect::<Vec<_>>());
        let notice = |message| if let ToDriver::Notice(text) = message { Some(text) } else { None };
        world.said::<ToDriver>(driver).into_iter().filter_map(notice).collect::<Vec<_>>()
    };
    let told = cancels(&mut world, 1..=1_000);
    let with_engines = "were on engines and are stopped";
    let line = format!(
        "1000 jobs were cancelled: 0 partitions were done, {given} {with_engines}, {} had not been given out",
        1_000 - given
    );
    assert_eq!(told, [line]);
    // Jobs that are cancelled soon afterwards share the next line, which comes a second after the first.
    assert_eq!(cancels(&mut world, 1_001..=1_001), [""; 0]);
    assert_eq!(cancels(&mut world, 1_002..=1_002), [""; 0]);
    world.pass(Duration::from_secs(1), &[engine]);
    let told = cancels(&mut world, 1_003..=1_003);
    assert!(told.len() == 1 && told[0].starts_with("3 jobs were cancelled: 0 partitions were done"), "{told:?}");
}
