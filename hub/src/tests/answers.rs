//! Nondeterministic code: the hub detects different answers, even across restarts.

use super::*;
use crate::journal::Remembered;
use tryworks_base::ids::ExchangeId;
use tryworks_protocol::engine::HeldBlock;
use tryworks_scheduler::{BlockLocation, Failure, FetchFailure};

/// Two shuffles of two partitions each, one after the other, and two results.
fn two_shuffles(session: SessionId) -> NewJob {
    let mut new = job(1, session, 2, Some(5), None);
    let mut second = new.spec.stages[0].clone();
    (second.output, second.parents) = (Some(session.output(ExchangeId(6))), vec![0]);
    new.spec.stages.insert(1, second);
    new.spec.stages[2].parents = vec![1];
    new.codes.push((2, CodeBytes::Here(vec![2])));
    new
}

/// The report of a task whose partitions have this checksum.
fn came_to(task: &Assignment, checksum: u64) -> FromEngine {
    let mut said = done(task);
    let FromEngine::Done { report, .. } = &mut said else { panic!("it is done") };
    report.partitions.iter_mut().for_each(|made| made.checksum = checksum);
    said
}

fn notices(said: &[ToDriver]) -> Vec<String> {
    let notice = |message: &ToDriver| if let ToDriver::Notice(text) = message { Some(text.clone()) } else { None };
    said.iter().filter_map(notice).filter(|text| text.contains("not deterministic")).collect()
}

/// The stages and partitions of these tasks.
fn places(tasks: &[Assignment]) -> Vec<(u32, u32)> {
    let mut places: Vec<_> = tasks.iter().map(|task| (task.task.stage, task.task.partitions.first())).collect();
    places.sort_unstable();
    places
}

#[test]
fn a_different_answer_is_detected_even_after_restarts() {
    for restarts in [0, 1, 2] {
        let mut world = World::new();
        let directory = tempfile::tempdir().unwrap();
        let (mut driver, welcome) = world.driver(None);
        let session = welcome.session;
        let [first, second] = [5, 6].map(|own| session.output(ExchangeId(own)));
        let new = two_shuffles(session);
        let (mut engine, id) = world.engine(offer("one", &directory)).unwrap();
        world.drive(driver, &[FromDriver::Submit(Box::new(new.clone()))]);
        let maps = world.tasks(engine);
        assert_eq!(places(&maps), [(0, 0), (0, 1)]);
        world.report(engine, &maps.iter().map(|task| came_to(task, 8)).collect::<Vec<_>>());
        // Half of the second shuffle is computed from the first answer.
        let readers = world.tasks(engine);
        assert_eq!(places(&readers), [(1, 0), (1, 1)]);
        let FromEngine::Done { attempt, report, .. } = came_to(&readers[0], 3) else { panic!("it is done") };
        world.report(engine, &[came_to(&readers[0], 3)]);
        world.turn();

        // Then all blocks of the first shuffle are lost.
        if restarts == 0 {
            let lost = |task: &Assignment| FetchFailure {
                output: first,
                partition: task.task.partitions.first(),
                at: Some(BlockLocation { made_by: task.task.attempt, engine: id }),
            };
            let failure = Failure::Fetch(maps.iter().map(lost).collect());
            world.report(engine, &[FromEngine::Failed { attempt: readers[1].task.attempt, failure, span: (0, 0) }]);
        }
        for _ in 0..restarts {
            world = world.again();
            driver = world.driver(Some((session, welcome.secret))).0;
            let holds = FromDriver::Holds { tickets: vec![1], outputs: vec![first, second], caches: vec![] };
            world.drive(driver, &[holds, FromDriver::Submit(Box::new(new.clone()))]);
            let partitions = readers[0].task.partitions.clone();
            let block = HeldBlock { output: second, attempt, partitions, report: report.clone() };
            let brings = Offer { held: vec![block], sessions: vec![session], ..offer("one", &directory) };
            engine = world.engine(brings).unwrap().0;
        }
        let (mut ran, mut said) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let tasks = world.tasks(engine);
            world.report(engine, &tasks.iter().map(|task| came_to(task, 7)).collect::<Vec<_>>());
            ran.extend(places(&tasks));
            said.extend(world.said::<ToDriver>(driver));
        }
        let told = notices(&said);
        assert!(!told.is_empty() && told[0].contains("stage 0 is not deterministic"), "{restarts}: {said:?}");
        assert!(ran.contains(&(1, 0)), "what was made from the first answer is recomputed: {ran:?}");
        assert_eq!(results(&said).1.get(&1), Some(&true));
        // From now on the latest answer counts.
        let mut world = world.again();
        let remembered = |world: &World, output| world.hub.known.offered.outputs[&output].remembered.clone();
        let changed = remembered(&world, first);
        assert_eq!((changed.made.as_slice(), changed.changed.is_some()), (&[(0, 7), (1, 7)][..], true));
        assert_eq!(remembered(&world, second), Remembered { made: vec![(0, 7), (1, 7)], changed: None });
        world.pass(Duration::from_secs(60), &[]);
        assert!(world.hub.sessions.all.is_empty());
        let world = world.again();
        assert!(world.hub.known.offered.outputs.is_empty(), "it is forgotten with its session");
    }
}

#[test]
fn a_job_whose_input_is_lost_too_often_says_why_its_blocks_could_not_be_read() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let output = welcome.session.output(ExchangeId(5));
    let (engine, id) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, Some(5), None)))]);
    let mut made_by = BTreeMap::new();
    let error = (0..100)
        .find_map(|_| {
            let reports = world.tasks(engine).into_iter().map(|task| {
                let (attempt, partition) = (task.task.attempt, task.task.partitions.first());
                if task.task.stage == 0 {
                    made_by.insert(partition, attempt);
                    return done(&task);
                }
                let lost = |(partition, made_by)| FetchFailure {
                    output,
                    partition,
                    at: Some(BlockLocation { made_by, engine: id }),
                };
                let failure = Failure::Fetch(made_by.clone().into_iter().map(lost).collect());
                FromEngine::Failed { attempt, failure, span: (0, 0) }
            });
            let why = FromEngine::Unreadable { output, why: "its disk gives wrong bytes".into() };
            let reports: Vec<_> = [why].into_iter().chain(reports).collect();
            world.report(engine, &reports);
            world.said::<ToDriver>(driver).into_iter().find_map(|message| match message {
                ToDriver::Ended { end: Err(error), .. } => Some(error.to_string()),
                _ => None,
            })
        })
        .expect("the job fails");
    assert!(error.contains("began again") && error.contains("its disk gives wrong bytes"), "{error}");
}

#[test]
fn an_output_that_no_driver_holds_is_forgotten_when_no_job_needs_it() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let output = welcome.session.output(ExchangeId(5));
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, Some(5), None)))]);
    let maps = world.tasks(engine);
    world.report(engine, &maps.iter().map(done).collect::<Vec<_>>());
    world.drive(driver, &[FromDriver::Release { outputs: vec![output], caches: vec![] }]);
    let results = world.tasks(engine);
    let mut world = {
        let other = world.again();
        assert_eq!(other.hub.known.offered.outputs.len(), 1, "the job still reads it");
        other
    };
    let (driver, _) = world.driver(Some((welcome.session, welcome.secret)));
    assert!(!results.is_empty());
    // The driver says that it holds nothing: it has released the job, too.
    world.drive(driver, &[FromDriver::Holds { tickets: vec![], outputs: vec![], caches: vec![] }]);
    world.turn();
    assert!(world.hub.known.offered.outputs.is_empty());
    assert!(world.again().hub.known.offered.outputs.is_empty());
}
