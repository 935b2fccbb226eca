//! Sessions: what they may name, what they leave behind, and what the next hub continues.

use super::*;
use tryworks_base::ids::ExchangeId;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::engine::{HeldBlock, HeldResult};

#[test]
fn a_driver_that_names_another_sessions_outputs_is_refused() {
    let mut world = World::new();
    let (_, other) = world.driver(None);
    let (driver, own) = world.driver(None);
    let mut new = job(1, own.session, 2, Some(3), None);
    new.spec.stages[0].output = Some(other.session.output(ExchangeId(3)));
    world.drive(driver, &[FromDriver::Submit(Box::new(new))]);
    let (_, ends) = results(&world.said(driver));
    assert_eq!(ends.get(&1), Some(&false));
    assert!(world.hub.jobs.is_empty() && world.hub.known.codes.is_empty());
    // Nor can it release outputs of another session.
    world.drive(driver, &[FromDriver::Release { outputs: vec![other.session.output(ExchangeId(3))], caches: vec![] }]);
    assert!(world.hub.events.is_empty());
    // Only the secret of a session gives access to it.
    let (_, stolen) = world.driver(Some((other.session, own.secret)));
    assert!(stolen.session > own.session);
}

#[test]
fn ten_thousand_ended_sessions_leave_nothing_behind() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (engine, id) = world.engine(offer("one", &directory)).unwrap();
    for number in 0..10_000u64 {
        let (peer, hello) = world.hello(Purpose::Drive { again: None, program: Program::default() });
        world.client_says(peer, &hello);
        let session = *world.hub.sessions.all.keys().next().unwrap();
        // Some drivers leave in the middle of a job, and some are refused.
        let with_job = number % 50 == 0;
        if with_job {
            world.drive(peer, &[FromDriver::Submit(Box::new(job(1, session, 2, Some(1), None)))]);
            let tasks = world.tasks(engine);
            world.report(engine, &tasks[..1].iter().map(done).collect::<Vec<_>>());
        }
        if number % 50 == 1 {
            world.client_says(peer, b"nothing that can be read");
            world.pass(Duration::from_secs(30), &[engine]);
        } else {
            world.drive(peer, &[FromDriver::Leave]);
        }
        let out = world.hub.outgoing(world.now);
        assert!(out.hang_up_clients.contains(&peer));
        assert!(out.orders.into_iter().all(|order| world.carrier.carry_out(order).is_none()));
        if number % 50 == 0 {
            world.turn();
            let launched: Vec<_> = world.hub.launches.out.keys().copied().collect();
            let failed = |attempt: AttemptId| FromEngine::Failed {
                attempt,
                failure: tryworks_scheduler::Failure::Killed,
                span: (0, 0),
            };
            world.report(engine, &launched.into_iter().map(failed).collect::<Vec<_>>());
        }
        world.sent.clear();
        world.closed.clear();
    }
    world.turn();
    let hub = &world.hub;
    assert!(
        hub.sessions.all.is_empty()
            && hub.sessions.clients.is_empty()
            && hub.jobs.is_empty()
            && hub.known.codes.is_empty()
    );
    assert!(
        hub.launches.out.is_empty()
            && hub.launches.reported.is_empty()
            && hub.launches.made.is_empty()
            && hub.known.moves.is_empty()
            && hub.known.caches.is_empty()
    );
    assert!(
        hub.known.offered.outputs.is_empty() && hub.known.offered.results.is_empty() && hub.out.for_drivers.is_empty()
    );
    let engine = &hub.engines.all[&id];
    assert!(engine.sessions.is_empty() && engine.codes.is_empty() && engine.places.is_empty());
}

#[test]
fn a_reconnected_driver_gets_what_it_missed_and_the_hub_forgets_what_it_released() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let (kept, closed) = (job(1, session, 2, None, None), job(2, session, 2, Some(5), None));
    world.drive(driver, &[FromDriver::Submit(Box::new(kept.clone())), FromDriver::Submit(Box::new(closed))]);
    world.client_gone(driver);
    for _ in 0..8 {
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    }
    world.turn();
    assert!(world.hub.jobs.values().all(|job| job.end.is_some()));
    let (driver, again) = world.driver(Some((session, welcome.secret)));
    assert_eq!((again.session, again.epoch), (session, welcome.epoch));
    let holds = FromDriver::Holds { tickets: vec![1], outputs: vec![], caches: vec![] };
    world.drive(driver, &[holds, FromDriver::Submit(Box::new(kept))]);
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&1), ends.get(&2)), (2, Some(&true), None));
    assert_eq!(world.hub.jobs.len(), 1, "the other one was closed");
    assert!(world.hub.known.codes.is_empty());
    assert!(world.hub.sessions.all[&session].lost.is_none());
    // The hub closes the connection of a silent driver, and gives the driver up later.
    world.pass(Duration::from_secs(11), &[engine]);
    assert!(world.hub.sessions.all[&session].lost.is_some());
    world.pass(Duration::from_secs(30), &[engine]);
    assert!(world.hub.sessions.all.is_empty());
    // The new session's number tells the driver that its old session is over.
    let (_, late) = world.driver(Some((session, welcome.secret)));
    assert!(late.session > session);
}

#[test]
fn the_next_hub_runs_only_what_had_not_finished() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    let brings = offer("one", &directory);
    let (engine, first_engine) = world.engine(brings.clone()).unwrap();
    let new = job(1, session, 4, Some(5), None);
    world.drive(driver, &[FromDriver::Submit(Box::new(new.clone()))]);
    let mut maps = Vec::new();
    while maps.len() < 3 {
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().take(3 - maps.len()).map(done).collect::<Vec<_>>());
        maps.extend(tasks.into_iter().take(3 - maps.len()));
    }
    world.turn();
    let last = maps.iter().map(|task| task.task.attempt.sequence()).max().unwrap();
    let number = *world.hub.jobs.keys().next().unwrap();

    let mut world = world.again();
    assert!(world.hub.epoch == 2 && world.hub.engines.awaited.contains("one"));
    // The driver is back first. Its job waits for the engine.
    let (driver, again) = world.driver(Some((session, welcome.secret)));
    assert_eq!((again.session, again.epoch), (session, 2));
    let output = session.output(ExchangeId(5));
    let holds = FromDriver::Holds { tickets: vec![1], outputs: vec![output], caches: vec![] };
    // The message that the job was accepted was lost.
    world.drive(driver, &[holds, FromDriver::Submit(Box::new(new))]);
    world.turn();
    assert_eq!(world.hub.jobs.keys().copied().collect::<Vec<_>>(), [number]);
    let held = |task: &Assignment| {
        let FromEngine::Done { report, .. } = done(task) else { panic!("it was done") };
        let partitions = task.task.partitions.clone();
        HeldBlock { output, attempt: task.task.attempt, partitions, report }
    };
    let gone = SessionId(77);
    let offered = Offer { held: maps.iter().map(held).collect(), sessions: vec![session, gone], ..brings };
    let (engine, second_engine) = world.engine(offered).unwrap();
    assert!(second_engine > first_engine);
    let said = world.said::<ToEngine>(engine);
    assert!(said.iter().any(|message| matches!(message, ToEngine::EndSession { session } if *session == gone)));
    let tasks: Vec<_> = said
        .into_iter()
        .flat_map(|message| if let ToEngine::Launch { tasks } = message { tasks } else { Vec::new() })
        .collect();
    assert_eq!(tasks.len(), 1, "one map task had not finished");
    assert!(tasks[0].task.attempt.sequence() > last, "no launch is numbered twice");
    world.report(engine, &[done(&tasks[0])]);
    let tasks = world.tasks(engine);
    // One result reaches the driver, another one only the engine.
    world.report(engine, &[done(&tasks[0])]);
    let (parts, _) = results(&world.said(driver));
    assert_eq!(parts.len(), 1);

    let mut world = world.again();
    let results_of = |task: &Assignment| {
        let FromEngine::Done { results, .. } = done(task) else { panic!("it was done") };
        HeldResult { job: number, session, attempt: task.task.attempt, parts: results }
    };
    let blocks = Offer { held: maps.iter().map(held).collect(), sessions: vec![session], ..offer("two", &directory) };
    let offered = Offer { name: "one".into(), results: tasks.iter().take(2).map(results_of).collect(), ..blocks };
    let (engine, _) = world.engine(offered).unwrap();
    let (driver, _) = world.driver(Some((session, welcome.secret)));
    let mut rest = job(1, session, 4, Some(5), None);
    rest.spec.wanted = (0..4).filter(|partition| !parts.contains_key(partition)).collect();
    rest.job = Some(number);
    let holds = FromDriver::Holds { tickets: vec![1], outputs: vec![output], caches: vec![] };
    world.drive(driver, &[holds, FromDriver::Submit(Box::new(rest))]);
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.len()), (1, 0), "what the engine held was delivered");
    let mut ran = Vec::new();
    for _ in 0..4 {
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
        ran.extend(tasks);
    }
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&1)), (2, Some(&true)));
    assert!(ran.iter().all(|task| !parts.is_empty() && task.task.job == number));
}

/// An engine reconnects after its jobs continued without it. Its results are recomputed, and each counts once.
#[test]
fn results_of_an_engine_that_reconnects_too_late_are_recomputed() {
    for detached in [None, Some("night")] {
        let mut world = World::new();
        let directory = tempfile::tempdir().unwrap();
        let (driver, welcome) = world.driver(None);
        let session = welcome.session;
        let (engine, _) = world.engine(offer("late", &directory)).unwrap();
        let mut new = job(1, session, 4, None, detached);
        world.drive(driver, &[FromDriver::Submit(Box::new(new.clone()))]);
        let tasks = world.tasks(engine);
        // A large result stays with the engine. The hub dies before the driver has fetched it.
        let FromEngine::Done { attempt, report, kept, span, .. } = done(&tasks[0]) else { panic!("it was done") };
        let partition = tasks[0].task.partitions.first();
        let parts = vec![(partition, ResultPart::Kept(3 << 20))];
        world.report(engine, &[FromEngine::Done { attempt, report, results: parts.clone(), kept, span }]);
        world.turn();
        let number = *world.hub.jobs.keys().next().unwrap();

        let mut world = world.again();
        let (driver, _) = world.driver(Some((session, welcome.secret)));
        new.job = Some(number);
        world.drive(driver, &[FromDriver::Submit(Box::new(new.clone()))]);
        world.pass(Duration::from_secs(6), &[]);
        let (other, _) = world.engine(offer("other", &directory)).unwrap();
        let mut ran = world.tasks(other);
        let held = HeldResult { job: number, session, attempt, parts };
        let brings = Offer { results: vec![held], sessions: vec![session], ..offer("late", &directory) };
        let (late, _) = world.engine(brings).unwrap();
        let said = world.said::<ToEngine>(late);
        let received =
            |message: &ToEngine| matches!(message, ToEngine::Received { attempts } if *attempts == [attempt]);
        assert!(said.iter().any(received), "the late engine may release it");
        // The late engine may have got a task at once.
        let given =
            said.into_iter().flat_map(|said| if let ToEngine::Launch { tasks } = said { tasks } else { vec![] });
        let mut given: Vec<_> = given.map(|task| (late, task)).chain(ran.drain(..).map(|task| (other, task))).collect();
        for _ in 0..4 {
            let tasks: Vec<_> = [late, other]
                .into_iter()
                .flat_map(|engine| {
                    let tasks = world.tasks(engine);
                    tasks.into_iter().map(move |task| (engine, task)).collect::<Vec<_>>()
                })
                .chain(given.drain(..))
                .collect();
            tasks.iter().for_each(|(engine, task)| world.report(*engine, &[done(task)]));
        }
        let (parts, ends) = results(&world.said(driver));
        assert_eq!((parts.len(), ends.get(&1)), (4, Some(&true)), "{detached:?}");
        assert!(parts[&partition] != attempt, "it was recomputed");
    }
}

/// The end of a job arrived on the new connection before results that were lost with the old one.
#[test]
fn a_reconnected_driver_gets_no_message_about_a_job_until_it_asks_for_it() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (old, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let new = job(1, welcome.session, 2, None, None);
    world.drive(old, &[FromDriver::Submit(Box::new(new.clone()))]);
    let tasks = world.tasks(engine);
    world.report(engine, &[done(&tasks[0])]);
    world.turn();
    let (driver, _) = world.driver(Some((welcome.session, welcome.secret)));
    world.report(engine, &tasks[1..].iter().map(done).collect::<Vec<_>>());
    let (parts, ends) = results(&world.said(driver));
    assert!(parts.is_empty() && ends.is_empty(), "{parts:?} {ends:?}");
    world.drive(driver, &[FromDriver::Submit(Box::new(new))]);
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&1)), (2, Some(&true)));
}

/// A driver that was away for too long got its session back empty. The code that it had sent was missing.
#[test]
fn a_session_that_was_given_up_after_a_restart_cannot_be_continued() {
    let mut world = World::new();
    let (_, welcome) = world.driver(None);
    let mut world = world.again();
    world.pass(Duration::from_secs(31), &[]);
    assert!(world.hub.sessions.all.is_empty());
    let (_, late) = world.driver(Some((welcome.session, welcome.secret)));
    assert!(late.session > welcome.session);
}

#[test]
fn a_job_from_before_a_restart_ends_if_its_driver_does_not_ask_for_it() {
    let mut world = World::new();
    let (driver, welcome) = world.driver(None);
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, None, None)))]);
    world.turn();
    let number = *world.hub.jobs.keys().next().unwrap();
    let mut world = world.again();
    world.pass(Duration::from_secs(30), &[]);
    world.turn();
    assert!(world.hub.sessions.all.is_empty());
    let reader = world.carrier.journal.reader().unwrap();
    assert_eq!(reader.end(number).unwrap(), Some(Err(tryworks_base::Error::Cancelled)));
}

#[test]
fn a_detached_job_is_accepted_when_it_is_written_and_collected_once() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let new = |ticket, session| FromDriver::Submit(Box::new(job(ticket, session, 3, None, Some("night"))));
    world.drive(driver, &[new(1, welcome.session)]);
    // The journal has not yet reported that it has the job.
    let early = world.hub.out.for_drivers.values().flatten().count();
    assert_eq!(early, 0, "not accepted yet");
    let mut tasks = world.tasks(engine);
    tasks.truncate(1);
    assert!(world.said::<ToDriver>(driver).iter().any(|message| matches!(message, ToDriver::Accepted { .. })));
    world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    let said = world.said::<ToEngine>(engine);
    let received = said.iter().filter(|message| matches!(message, ToEngine::Received { .. })).count();
    assert_eq!(received, tasks.len(), "the journal has them");
    world.drive(driver, &[FromDriver::Leave]);
    world.turn();
    assert_eq!(world.hub.sessions.all.len(), 1, "its session stays for the workers");

    let mut world = world.again();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let rest = world.tasks(engine);
    assert_eq!(rest.len() + tasks.len(), 3);
    world.report(engine, &rest.iter().map(done).collect::<Vec<_>>());
    world.turn();

    let mut world = world.again();
    let (driver, welcome) = world.driver(None);
    world.drive(driver, &[new(4, welcome.session)]);
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&4)), (3, Some(&true)));
    world.hub.answer(driver, 1, Question::Job { name: "night".into() });
    let said = world.said::<ToDriver>(driver);
    let Some(ToDriver::Answer { answer, .. }) = said.first() else { panic!("{said:?}") };
    let Answer::Job(detail) = &**answer else { panic!("{answer:?}") };
    assert_eq!((detail.job.state.as_str(), detail.tasks.len()), ("done", 3));
    world.drive(driver, &[FromDriver::Close { ticket: 4 }]);
    world.turn();
    assert!(world.hub.jobs.is_empty());
    let world = world.again();
    assert!(world.hub.jobs.is_empty(), "it was collected");
}

/// The first attempt to write the results failed, and the hub was told of that. They were written later, but the engine
/// held them until the end of their session.
#[test]
fn an_engine_releases_results_that_the_journal_wrote_at_its_second_attempt() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, welcome.session, 2, None, Some("night"))))]);
    let tasks = world.tasks(engine);
    world.turn();

    let other = rusqlite::Connection::open(world.directory.path().join("journal.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    let out = world.hub.outgoing(world.now);
    assert!(out.orders.iter().any(|order| matches!(order, Order::NoteResult { .. })));
    out.orders.into_iter().for_each(|order| assert_eq!(world.carrier.carry_out(order), None));
    let error = world.carrier.journal.sync().unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert!(world.hub.outgoing(world.now).to_engines.is_empty(), "only the engine has the results");

    other.execute_batch("ROLLBACK").unwrap();
    // The current attempt may still find the file locked.
    while world.carrier.journal.sync().is_err() {}
    let received = |message| if let ToEngine::Received { attempts } = message { attempts } else { Vec::new() };
    let received: Vec<_> = world.said::<ToEngine>(engine).into_iter().flat_map(received).collect();
    assert_eq!(received, tasks.iter().map(|task| task.task.attempt).collect::<Vec<_>>());
}

/// The released results and blocks stayed with the engine until the end of the session.
#[test]
fn an_engine_that_reconnects_learns_what_was_released_meanwhile() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let session = welcome.session;
    world.drive(driver, &[FromDriver::Submit(Box::new(job(1, session, 1, Some(5), None)))]);
    let said = world.said::<ToDriver>(driver);
    let number = said.iter().find_map(|one| if let ToDriver::Accepted { job, .. } = one { Some(*job) } else { None });
    let (output, released) = (session.output(ExchangeId(6)), session.output(ExchangeId(5)));
    let held = |output, attempt| HeldBlock {
        output,
        attempt: AttemptId(attempt),
        partitions: (0..1).into(),
        report: Report { partitions: vec![PartitionReport { bytes: 1, rows: 1, checksum: 1 }], bucket_bytes: vec![1] },
    };
    let parts = vec![(0, ResultPart::Here(vec![0]))];
    let result = HeldResult { job: number.unwrap(), session, attempt: AttemptId(9), parts };
    let back = |name, held| Offer { held, results: vec![result.clone()], ..offer(name, &directory) };
    // The driver says that it holds both exchanges.
    let outputs = vec![output, released];
    world.drive(driver, &[FromDriver::Holds { tickets: vec![1], outputs, caches: Vec::new() }]);
    let (engine, _) = world.engine(back("one", vec![held(output, 7), held(released, 8)])).unwrap();
    let deletes = |one: &ToEngine| matches!(one, ToEngine::DeleteOutput { .. });
    assert!(!world.said::<ToEngine>(engine).iter().any(deletes));
    // It releases the job and one exchange while another engine is away.
    let release = FromDriver::Release { outputs: vec![released], caches: Vec::new() };
    world.drive(driver, &[FromDriver::Close { ticket: 1 }, release]);
    world.turn();
    let (engine, _) = world.engine(back("two", vec![held(output, 17), held(released, 18)])).unwrap();
    let said = world.said::<ToEngine>(engine);
    let deleted: Vec<_> = said
        .iter()
        .filter_map(|one| if let ToEngine::DeleteOutput { output } = one { Some(*output) } else { None })
        .collect();
    assert_eq!(deleted, [released]);
    assert!(said.contains(&ToEngine::Received { attempts: vec![AttemptId(9)] }), "{said:?}");
}

/// A job came with the code of an exchange, and attached to the job that already had its name. So the code was dropped.
/// The driver's next job, which read the same exchange, was refused.
#[test]
fn the_codes_of_a_job_whose_name_exists_are_kept() {
    let mut world = World::new();
    let (first, welcome) = world.driver(None);
    let night = |session| FromDriver::Submit(Box::new(job(1, session, 1, Some(5), Some("night"))));
    world.drive(first, &[night(welcome.session)]);
    world.turn();
    let (second, welcome) = world.driver(None);
    let mut new = job(2, welcome.session, 1, Some(5), None);
    new.codes.retain(|(stage, _)| *stage == 1);
    world.drive(second, &[night(welcome.session), FromDriver::Submit(Box::new(new))]);
    let said = world.said::<ToDriver>(second);
    let accepted = said.iter().filter(|one| matches!(one, ToDriver::Accepted { .. })).count();
    assert_eq!(accepted, 2, "{said:?}");
}

#[test]
fn a_new_job_of_a_continued_session_waits_for_the_engines_with_its_blocks() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (_, welcome) = world.driver(None);
    let session = welcome.session;
    world.engine(offer("one", &directory)).unwrap();
    world.engine(offer("two", &directory)).unwrap();
    let mut world = world.again();
    let (old, _) = world.driver(Some((session, welcome.secret)));
    let (new, fresh) = world.driver(None);
    let (first, _) = world.engine(Offer { sessions: vec![session], ..offer("one", &directory) }).unwrap();
    world.drive(old, &[FromDriver::Submit(Box::new(job(1, session, 1, None, None)))]);
    assert!(world.tasks(first).is_empty(), "the other engine may have what it needs");
    world.drive(new, &[FromDriver::Submit(Box::new(job(1, fresh.session, 1, None, None)))]);
    let tasks = world.tasks(first);
    assert!(tasks.len() == 1 && tasks[0].session == fresh.session, "a new session has nothing to wait for");
    world.engine(Offer { sessions: vec![session], ..offer("two", &directory) }).unwrap();
    world.turn();
    let mut out: Vec<_> = world.hub.launches.out.values().map(|launched| launched.session).collect();
    out.sort_unstable();
    assert_eq!(out, [session, fresh.session]);
}
