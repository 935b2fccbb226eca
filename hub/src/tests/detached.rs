//! Which drivers get a detached job. A driver that asks for another action is refused. Of several drivers that want to
//! begin the same save, one begins it.

use super::*;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::driver::Sought;

fn by_name() -> Sought {
    Sought::Name("night".into())
}

fn save(dir: &str) -> Action {
    Action { name: "save".into(), aspects: vec![Aspect::new("place", dir)] }
}

fn seek(ticket: u64, by: Sought, action: &Action) -> FromDriver {
    FromDriver::Seek { ticket, by, action: action.clone() }
}

/// A save under the name `night`.
fn saving(ticket: u64, session: SessionId, action: &Action, token: &str) -> FromDriver {
    let new = job(ticket, session, 2, None, Some("night"));
    FromDriver::Submit(Box::new(NewJob { action: action.clone(), token: token.into(), ..new }))
}

/// The tokens of the jobs that were found, and the reasons of the refusals, by ticket.
fn answers(said: &[ToDriver]) -> (Vec<(u64, Option<String>)>, BTreeMap<u64, String>) {
    let (mut found, mut refused) = (Vec::new(), BTreeMap::new());
    for message in said {
        match message {
            ToDriver::Found { ticket, token } => found.push((*ticket, token.clone())),
            ToDriver::Ended { ticket, end: Err(error) } => drop(refused.insert(*ticket, error.to_string())),
            _ => {}
        }
    }
    (found, refused)
}

fn told(world: &mut World, driver: PeerId) -> Vec<(u64, Option<String>)> {
    answers(&world.said(driver)).0
}

#[test]
fn one_driver_begins_a_save_and_the_others_who_ask_get_its_job() {
    let mut world = World::new();
    let [(first, one), (second, two), (third, _)] = [(); 3].map(|()| world.driver(None));
    let out = save("/out");
    world.drive(first, &[seek(1, by_name(), &out)]);
    assert_eq!(told(&mut world, first), [(1, None)]);
    // The driver was cut off, and asks again.
    world.drive(first, &[seek(1, by_name(), &out)]);
    assert_eq!(told(&mut world, first), [(1, None)]);
    world.drive(second, &[seek(1, by_name(), &out), seek(2, Sought::Name("day".into()), &out)]);
    world.drive(third, &[seek(1, by_name(), &out), seek(2, by_name(), &save("/other"))]);
    assert_eq!(told(&mut world, second), [(2, None)], "another name is free");
    assert!(told(&mut world, third).is_empty());
    // The first driver gives its question up.
    world.drive(first, &[FromDriver::Close { ticket: 1 }]);
    assert_eq!((told(&mut world, second), told(&mut world, third)), (vec![(1, None)], vec![]));
    world.drive(first, &[seek(3, by_name(), &out)]);
    world.drive(second, &[saving(3, two.session, &out, "7a")]);
    assert_eq!(told(&mut world, first), [(3, Some("7a".into()))]);
    let (found, refused) = answers(&world.said(third));
    assert_eq!(found, [(1, Some("7a".into()))]);
    assert!(refused[&2].contains("its place is `/out`, and `/other` is asked for"), "{refused:?}");
    // A driver that has prepared another directory in the meantime does not get this job.
    world.drive(first, &[saving(4, one.session, &out, "7b"), saving(5, one.session, &out, "7a")]);
    let said = world.said::<ToDriver>(first);
    assert!(answers(&said).1[&4].contains("while this program prepared to save"), "{said:?}");
    assert!(said.iter().any(|message| matches!(message, ToDriver::Accepted { ticket: 5, .. })));
    world.drive(second, &[FromDriver::Close { ticket: 2 }]);
    assert!(world.hub.names.is_empty());
}

/// The advice was that one `cancel` is enough.
#[test]
fn a_refused_driver_learns_what_frees_the_name() {
    let mut world = World::new();
    let (driver, own) = world.driver(None);
    world.drive(driver, &[saving(1, own.session, &save("/out"), "7a")]);
    world.said::<ToDriver>(driver);
    let advice = |world: &mut World, ticket| {
        world.drive(driver, &[seek(ticket, by_name(), &save("/other"))]);
        answers(&world.said(driver)).1.remove(&ticket).unwrap_or_default()
    };
    let cancel = |world: &mut World| {
        let answer = world.hub.answer(PeerId::from(99), 1, Question::Cancel { name: "night".into() });
        world.turn();
        match answer {
            Some(Answer::Done(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let told = advice(&mut world, 2);
    assert!(told.contains("stops that one, and once it has ended another `tryworks cancel night` frees"), "{told}");
    let said = cancel(&mut world);
    assert!(said.ends_with("once it has ended, `tryworks cancel night` frees its name"), "{said}");
    world.tick();
    let told = advice(&mut world, 3);
    assert!(told.contains("`tryworks cancel night` drops its results and frees the name"), "{told}");
    let said = cancel(&mut world);
    assert!(said.contains("the name `night` is free"), "{said}");
    world.drive(driver, &[seek(4, by_name(), &save("/other"))]);
    assert_eq!(self::told(&mut world, driver), [(4, None)]);
}

#[test]
fn a_name_is_released_with_its_session_or_when_its_driver_no_longer_asks() {
    let mut world = World::new();
    let [(first, _), (second, two), (third, _)] = [(); 3].map(|()| world.driver(None));
    let out = save("/out");
    for driver in [first, second, third] {
        world.drive(driver, &[seek(1, by_name(), &out)]);
    }
    assert_eq!(told(&mut world, first), [(1, None)]);
    world.drive(first, &[FromDriver::Leave]);
    assert_eq!((told(&mut world, second), told(&mut world, third)), (vec![(1, None)], vec![]));
    world.client_gone(second);
    assert!(told(&mut world, third).is_empty(), "the second driver may reconnect");
    let (second, _) = world.driver(Some((two.session, two.secret)));
    world.drive(second, &[FromDriver::Holds { tickets: vec![], outputs: vec![], caches: vec![] }]);
    assert_eq!(told(&mut world, third), [(1, None)]);
    world.drive(third, &[FromDriver::Leave]);
    assert!(world.hub.names.is_empty());
}

/// Only the name of the action was compared. A driver that collected with more partitions found results missing, and
/// removed what was saved.
#[test]
fn a_driver_that_asks_for_another_action_is_refused_even_after_a_restart() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, welcome) = world.driver(None);
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let out = save("/out");
    world.drive(driver, &[saving(1, welcome.session, &out, "7a")]);
    world.drive(driver, &[FromDriver::Submit(Box::new(job(2, welcome.session, 2, None, Some("bad"))))]);
    let mut tasks = world.tasks(engine);
    let number = tasks[0].task.job;
    for round in 0..4 {
        let end = |task: &Assignment| match task.task.job == number {
            true => done(task),
            false => FromEngine::Failed {
                attempt: task.task.attempt,
                failure: tryworks_scheduler::Failure::Final(tryworks_base::Error::Bug(format!("round {round}"))),
                span: (0, 0),
            },
        };
        world.report(engine, &tasks.iter().map(end).collect::<Vec<_>>());
        tasks = world.tasks(engine);
    }
    for again in [false, true] {
        if again {
            world = world.again();
        }
        let (driver, welcome) = world.driver(None);
        let more = Action { aspects: vec![Aspect::new("place", "/out"), Aspect::new("rows", 7)], ..out.clone() };
        let others = [save("/other"), more, Action { name: "count".into(), ..out.clone() }];
        for (ticket, other) in (10..).zip(&others) {
            let (by, action) = (Sought::Number(number), other.clone());
            let attach = FromDriver::Attach { ticket: ticket + 20, job: number, action, token: "7a".into() };
            world.drive(
                driver,
                &[
                    saving(ticket, welcome.session, other, "7a"),
                    seek(ticket + 10, by, other),
                    attach,
                    seek(ticket + 30, by_name(), other),
                ],
            );
        }
        let (found, refused) = answers(&world.said(driver));
        assert_eq!((found.len(), refused.len()), (0, 12));
        let all = |tickets: [u64; 4], text: &str| {
            tickets.iter().all(|ticket| refused[ticket].contains(text) && refused[ticket].contains("`night` (job "))
        };
        assert!(all([10, 20, 30, 40], "its place is `/out`, and `/other` is asked for"), "{refused:?}");
        assert!(all([11, 21, 31, 41], "it has no rows, and `7` is asked for"), "{refused:?}");
        assert!(all([12, 22, 32, 42], "it is `save`, and `count` is asked for"), "{refused:?}");
        world.drive(driver, &[seek(1, Sought::Number(number), &out), seek(2, by_name(), &out)]);
        world.drive(driver, &[saving(3, welcome.session, &out, "7a")]);
        let said = world.said::<ToDriver>(driver);
        let token = Some("7a".to_string());
        assert_eq!(answers(&said).0, [(1, token.clone()), (2, token)]);
        let (parts, ends) = results(&said);
        assert_eq!((parts.len(), ends.get(&3)), (2, Some(&true)));
        world.drive(driver, &[FromDriver::Detach { ticket: 3 }]);
        // A job that has failed can be collected, too: the driver gets its error.
        world.drive(driver, &[FromDriver::Submit(Box::new(job(4, welcome.session, 2, None, Some("bad"))))]);
        let said = world.said::<ToDriver>(driver);
        assert!(said.iter().any(|message| matches!(message, ToDriver::Accepted { ticket: 4, .. })), "{said:?}");
        assert_eq!(results(&said).1.get(&4), Some(&false));
        world.drive(driver, &[FromDriver::Detach { ticket: 4 }]);
    }
    let (driver, _) = world.driver(None);
    let by = Sought::Number(tryworks_base::ids::JobId(4_711));
    world.drive(driver, &[seek(1, by, &out)]);
    let refused = answers(&world.said(driver)).1;
    assert!(refused[&1].contains("there is no detached job with the number 4711"), "{refused:?}");
}

/// Another driver collected a job after the hub had restarted. The submitting driver's ticket stayed open, and its
/// question was never answered.
#[test]
fn a_driver_whose_job_was_collected_while_it_was_away_gets_an_answer() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (driver, owner) = world.driver(None);
    let out = save("/out");
    world.drive(driver, &[saving(1, owner.session, &out, "7a")]);
    world.drive(driver, &[FromDriver::Submit(Box::new(job(2, owner.session, 2, None, Some("count"))))]);
    world.turn();
    let mut world = world.again();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    for _ in 0..4 {
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    }
    let (other, welcome) = world.driver(None);
    let count = |ticket, session| job(ticket, session, 2, None, Some("count"));
    world.drive(other, &[saving(1, welcome.session, &out, "7a")]);
    world.drive(other, &[FromDriver::Submit(Box::new(count(2, welcome.session)))]);
    assert_eq!(results(&world.said(other)).1, BTreeMap::from([(1, true), (2, true)]));
    world.drive(other, &[FromDriver::Close { ticket: 1 }, FromDriver::Close { ticket: 2 }]);
    assert!(world.hub.jobs.is_empty());
    let (driver, _) = world.driver(Some((owner.session, owner.secret)));
    let again = |new: FromDriver, number| match new {
        FromDriver::Submit(new) => {
            FromDriver::Submit(Box::new(NewJob { job: Some(tryworks_base::ids::JobId(number)), ..*new }))
        }
        other => other,
    };
    world.drive(driver, &[again(saving(1, owner.session, &out, "7a"), 1)]);
    world.drive(driver, &[again(FromDriver::Submit(Box::new(count(2, owner.session))), 2)]);
    let (_, refused) = answers(&world.said(driver));
    assert!(refused[&1].contains("another driver has collected it"), "{refused:?}");
    for _ in 0..4 {
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
    }
    let (parts, ends) = results(&world.said(driver));
    assert_eq!((parts.len(), ends.get(&2)), (2, Some(&true)), "a job that saves nothing is recomputed");
}

/// A program was killed and run again. The hub still took its first run for connected when the second one had collected
/// the job. When it noticed the loss, the job and its name stayed until the session of the first run was given up.
#[test]
fn a_collected_job_is_let_go_of_when_the_last_other_driver_is_lost() {
    for others in 0..3 {
        let mut world = World::new();
        let directory = tempfile::tempdir().unwrap();
        let (engine, _) = world.engine(offer("one", &directory)).unwrap();
        let drivers: Vec<_> = (0..=others).map(|_| world.driver(None)).collect();
        for (driver, welcome) in &drivers {
            world.drive(*driver, &[saving(1, welcome.session, &save("/out"), "7a")]);
        }
        let tasks = world.tasks(engine);
        world.report(engine, &tasks.iter().map(done).collect::<Vec<_>>());
        let (last, _) = drivers[others];
        assert_eq!(results(&world.said(last)).1, BTreeMap::from([(1, true)]));
        world.drive(last, &[FromDriver::Close { ticket: 1 }]);
        for (driver, _) in &drivers[..others] {
            assert!(!world.hub.jobs.is_empty(), "a connected driver may be collecting the job");
            world.client_gone(*driver);
        }
        assert!(world.hub.jobs.is_empty(), "{others} other drivers");
    }
}
