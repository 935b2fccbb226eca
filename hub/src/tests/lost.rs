//! Drivers whose connections are lost: which ones the hub gives up at once, which ones it waits for, and which other
//! drivers it tells.

use super::*;
use std::process::Command;
use tryworks_base::ids::JobId;
use tryworks_protocol::HostInfo;
use tryworks_protocol::admin::{Answer, Question, WhyRow};
use tryworks_protocol::host::{began, has_ended, here};
use tryworks_scheduler::Why;

impl World {
    /// A driver in this process.
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
fn a_program_of_this_machine_that_has_ended_is_not_waited_for() {
    let mut world = World::new();
    let (mut child, host) = child();
    let (driver, welcome) = world.driver_of(host);
    // The driver is cut off but alive: it may come back.
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

/// Its slots stayed taken until the hub looked round, and who asked for them was told to wait for it.
#[test]
fn a_program_that_ended_with_its_connection_is_gone_at_once_also_if_nobody_waits_for_its_process() {
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
fn who_cannot_be_looked_at_is_waited_for() {
    let mut world = World::new();
    let elsewhere = HostInfo { id: "elsewhere".into(), pid: u32::MAX, ..here() };
    // In a container of its own, a driver may have a number that means another process here, or none.
    let contained = HostInfo { began: 1, ..here() };
    for host in [elsewhere, contained, here()] {
        let (driver, welcome) = world.driver_of(host);
        world.client_gone(driver);
        world.tick();
        assert!(world.hub.sessions.all[&welcome.session].lost.is_some());
        world.pass(Duration::from_secs(29), &[]);
        assert_eq!(world.hub.sessions.all.len(), 1);
        world.pass(Duration::from_secs(1), &[]);
        assert!(world.hub.sessions.all.is_empty(), "but not for ever");
    }
}

#[test]
fn who_waits_for_the_slots_of_somebody_who_is_missed_is_told_so_once() {
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
    assert!(row.why == Why::Queue && row.waits_for.is_empty(), "they are at work: {row:?}");
    assert!(notices(&world.said(second)).is_empty());

    world.client_gone(first);
    world.tick();
    world.tick();
    assert!(notices(&world.said(second)).is_empty(), "it may be back in a moment");
    world.pass(Duration::from_secs(2), &[engine]);
    let told = notices(&world.said(second));
    assert_eq!(told.len(), 1, "{told:?}");
    // Both messages say for how long, too.
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

    // The driver is given up, and the slots are free.
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
