//! Drivers whose connections are lost: which of them the hub gives up at once, which it waits for, and which other
//! drivers get a message.

use super::*;
use std::process::Command;
use tryworks_base::ids::JobId;
use tryworks_protocol::HostInfo;
use tryworks_protocol::admin::{Answer, Question, WhyRow};
use tryworks_protocol::host::{began, has_ended, here};
use tryworks_scheduler::Why;

impl World {
    /// Connects a driver with this machine and process.
    fn driver_of(&mut self, host: HostInfo) -> (PeerId, Welcome) {
        let peer = self.peer();
        let purpose = Purpose::Drive { again: None, program: Program::default() };
        let hello = Hello { version: "test".into(), host, purpose };
        self.client_says(peer, &hello.to_bytes().unwrap());
        let welcome = self.answer(peer).unwrap();
        (peer, welcome)
    }

    fn why(&mut self, peer: PeerId, job: JobId) -> Vec<WhyRow> {
        match self.hub.answer(peer, 1, Question::Why { name: job.0.to_string() }) {
            Some(Answer::Why(rows)) => rows,
            other => panic!("{other:?}"),
        }
    }
}

fn notices(said: &[ToDriver]) -> Vec<String> {
    let text = |message: &ToDriver| match message {
        ToDriver::Notice(text) => Some(text.clone()),
        _ => None,
    };
    said.iter().filter_map(text).collect()
}

/// A process that the test can end.
fn child() -> (std::process::Child, HostInfo) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let host = HostInfo { pid: child.id(), began: began(child.id()).unwrap(), ..here() };
    assert_eq!(has_ended(&host), Some(false));
    (child, host)
}

#[test]
fn the_hub_gives_up_a_lost_driver_once_its_process_on_this_machine_has_ended() {
    let mut world = World::new();
    let (mut child, host) = child();
    let (driver, welcome) = world.driver_of(host);
    // The driver is cut off, and its process is alive: it may reconnect.
    world.client_gone(driver);
    world.tick();
    assert!(world.hub.sessions.all.contains_key(&welcome.session));
    child.kill().unwrap();
    while world.hub.sessions.all.contains_key(&welcome.session) {
        world.tick();
        world.turn();
    }
    child.wait().unwrap();
    assert!(world.hub.sessions.all.is_empty());
}

/// Its slots stayed taken until the next tick, and drivers that wanted them got the message that they wait for it.
#[test]
fn a_driver_whose_process_has_ended_is_given_up_as_soon_as_its_connection_ends() {
    let mut world = World::new();
    let (mut child, host) = child();
    let (driver, _) = world.driver_of(host.clone());
    child.kill().unwrap();
    while has_ended(&host) != Some(true) {
        std::thread::yield_now();
    }
    world.client_gone(driver);
    world.turn();
    assert!(world.hub.sessions.all.is_empty());
    child.wait().unwrap();
}

#[test]
fn the_hub_waits_for_lost_drivers_whose_processes_it_cannot_see() {
    let mut world = World::new();
    let elsewhere = HostInfo { id: "elsewhere".into(), pid: u32::MAX, ..here() };
    // A driver in a container has a process number that may mean another process here, or none.
    let contained = HostInfo { began: 1, ..here() };
    for host in [elsewhere, contained, here()] {
        let (driver, welcome) = world.driver_of(host);
        world.client_gone(driver);
        world.tick();
        assert!(world.hub.sessions.all[&welcome.session].lost.is_some());
        world.pass(Duration::from_secs(29), &[]);
        assert_eq!(world.hub.sessions.all.len(), 1);
        world.pass(Duration::from_secs(1), &[]);
        assert!(world.hub.sessions.all.is_empty(), "the grace period is over");
    }
}

/// The lost driver may just have ended, or the job may begin in a moment.
#[test]
fn a_driver_gets_no_message_of_a_short_wait() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let elsewhere = HostInfo { id: "elsewhere".into(), ..here() };
    let (lost, theirs) = world.driver_of(elsewhere);
    world.drive(lost, &[FromDriver::Submit(Box::new(job(1, theirs.session, 50, None, None)))]);
    assert!(!world.tasks(engine).is_empty());
    let waits = |world: &mut World| {
        let (driver, own) = world.driver(None);
        world.drive(driver, &[FromDriver::Submit(Box::new(job(1, own.session, 1, None, None)))]);
        driver
    };
    let told = |world: &mut World, driver| notices(&world.said(driver)).len();
    let early = waits(&mut world);
    world.pass(Duration::from_secs(2), &[engine]);
    world.client_gone(lost);
    world.tick();
    assert_eq!(told(&mut world, early), 0, "the driver was lost a moment ago");
    world.pass(Duration::from_secs(2), &[engine]);
    assert_eq!(told(&mut world, early), 1);
    let late = waits(&mut world);
    world.turn();
    world.tick();
    world.tick();
    assert_eq!(told(&mut world, late), 0, "the job was submitted a moment ago");
    world.pass(Duration::from_secs(2), &[engine]);
    assert_eq!(told(&mut world, late), 1);
}

#[test]
fn a_driver_that_waits_for_slots_of_a_lost_driver_gets_one_message() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let elsewhere = HostInfo { id: "elsewhere".into(), name: "afar".into(), pid: 4711, ..here() };
    let (first, theirs) = world.driver_of(elsewhere);
    world.drive(first, &[FromDriver::Submit(Box::new(job(1, theirs.session, 50, None, None)))]);
    let out = world.tasks(engine).len();
    assert!(out > 0);
    let (second, own) = world.driver(None);
    world.drive(second, &[FromDriver::Submit(Box::new(job(1, own.session, 1, None, None)))]);
    world.turn();
    world.tick();
    let [row] = &world.why(second, JobId(2))[..] else { panic!("one reason") };
    assert!(row.why == Why::Queue && row.waits_for.is_empty(), "the first driver is connected: {row:?}");
    assert!(notices(&world.said(second)).is_empty());

    world.client_gone(first);
    world.tick();
    world.tick();
    assert!(notices(&world.said(second)).is_empty(), "the first driver may reconnect soon");
    world.pass(Duration::from_secs(2), &[engine]);
    let told = notices(&world.said(second));
    assert_eq!(told.len(), 1, "{told:?}");
    // The message and `tryworks why` both say how long the wait may last.
    let says = |text: &str| {
        let parts =
            ["process 4711 on afar was cut off ", &format!(" and has {out} tasks on engines; they end if it is not")];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    assert!(told[0].starts_with("job 2 waits for slots: "));
    says(&told[0]);
    let [row] = &world.why(second, JobId(2))[..] else { panic!("one reason") };
    let (Why::Queue, [words]) = (row.why, &row.waits_for[..]) else { panic!("{row:?}") };
    says(words);

    // The lost driver is given up, and its slots are free.
    for _ in 0..30 {
        world.pass(Duration::from_secs(1), &[engine]);
        world.drive(second, &[FromDriver::Beat]);
    }
    let told = world.said::<ToEngine>(engine);
    let killed = told.iter().filter_map(|message| match message {
        ToEngine::Kill { attempt } => Some(*attempt),
        _ => None,
    });
    let failure = tryworks_scheduler::Failure::Killed;
    let ended = killed.map(|attempt| FromEngine::Failed { attempt, failure: failure.clone(), span: (0, 0) });
    let ended: Vec<_> = ended.collect();
    assert_eq!(ended.len(), out);
    world.report(engine, &ended);
    assert_eq!(world.tasks(engine).len(), 1);
    assert!(world.hub.waits_for().is_empty());
}
