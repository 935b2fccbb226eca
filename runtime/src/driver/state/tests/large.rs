//! Large results, which the driver fetches from the engines that have them.

use super::*;
use tryworks_base::ids::OutputId;
use tryworks_protocol::engine::{BlockPlace, StorePlace};
use tryworks_store::blocks::BlockKey;

/// A large result of this launch.
fn large(attempt: u64) -> Part {
    let key = BlockKey::new([7; 32]);
    let (host, directory, socket) = ("afar".to_string(), String::new(), String::new());
    let store = StorePlace { host, directory, socket, address: None, key };
    Part::At {
        place: BlockPlace { store, output: OutputId(1), partition: 0, attempt: AttemptId(attempt) },
        len: 1 << 30,
    }
}

fn received(attempt: u64) -> FromDriver {
    FromDriver::Received { attempts: vec![AttemptId(attempt)] }
}

#[test]
fn results_that_cannot_be_fetched_are_made_again_and_the_others_are_not() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.messages();
    results(&mut session, ticket, 7, &[1, 2]);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8))] });
    assert_eq!(session.messages(), [received(7)]);
    assert_eq!(had(&mut session, ticket), [1, 2, 0]);
    assert_eq!(session.unfetched(ticket, AttemptId(8), 0, gone()), Ok(()));
    assert_eq!(session.messages(), [received(8)], "its engine need not hold it");
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert_eq!(session.next(ticket), Ok(Next::Replan((0..1).into())));
    let new = submit(&mut session, None);
    session.replaced(ticket, new);
    session.messages();
    session.hear(ToDriver::Results { ticket: new, attempt: AttemptId(9), parts: vec![(0, large(9))] });
    assert_eq!(had(&mut session, new), [0]);
    session.fetched(new, AttemptId(9), 0);
    assert_eq!(session.messages(), [received(9)]);
}

/// A detached job that lost an engine while it ran failed at the driver that was fetching a result from there.
#[test]
fn a_result_of_a_detached_job_that_cannot_be_fetched_is_waited_for_until_the_job_has_ended() {
    let mut session = met();
    let ticket = submit(&mut session, Some("by name"));
    let told = |session: &mut Session, attempt| {
        session.hear(ToDriver::Results { ticket, attempt: AttemptId(attempt), parts: vec![(0, large(attempt))] });
    };
    results(&mut session, ticket, 7, &[1, 2]);
    told(&mut session, 8);
    assert_eq!(had(&mut session, ticket), [1, 2, 0]);
    assert_eq!(session.unfetched(ticket, AttemptId(8), 0, gone()), Ok(()));
    assert_eq!(session.next(ticket), Ok(Next::Wait));
    // The hub has it made again. Another engine is lost, and this time the hub notices that before the driver does.
    told(&mut session, 9);
    assert_eq!(had(&mut session, ticket), [0]);
    told(&mut session, 10);
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert_eq!(session.unfetched(ticket, AttemptId(9), 0, gone()), Ok(()));
    let part = session.next(ticket);
    assert_eq!(part, Ok(Next::Part { attempt: AttemptId(10), partition: 0, part: large(10) }));
    // Nothing comes after the end of the job. It can be collected by who reaches the engine.
    assert_eq!(session.unfetched(ticket, AttemptId(10), 0, gone()), Err(gone()));
    session.messages();
    session.close(ticket);
    assert_eq!(session.messages(), [FromDriver::Detach { ticket }]);
}

#[test]
fn a_result_that_does_not_come_again_before_the_end_is_told_of_by_why_it_could_not_be_fetched() {
    let mut session = met();
    let ticket = submit(&mut session, Some("by name"));
    results(&mut session, ticket, 7, &[1, 2]);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8))] });
    had(&mut session, ticket);
    assert_eq!(session.unfetched(ticket, AttemptId(8), 0, gone()), Ok(()));
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert_eq!(session.next(ticket), Err(gone()));
    session.messages();
    session.close(ticket);
    assert_eq!(session.messages(), [FromDriver::Detach { ticket }]);
}

/// It had failed for what this driver had long had.
#[test]
fn results_that_are_lost_after_they_came_are_no_error() {
    let mut session = met();
    let lost = || Error::Lost { what: "results are lost".into(), details: String::new() };
    let [whole, part] = ["by name", "by another"].map(|name| submit(&mut session, Some(name)));
    results(&mut session, whole, 7, &[0, 1, 2]);
    results(&mut session, part, 8, &[0, 1]);
    for ticket in [whole, part] {
        session.hear(ToDriver::Ended { ticket, end: Err(lost()) });
    }
    assert_eq!((had(&mut session, whole).len(), session.next(part)), (3, Err(lost())));
    assert_eq!(session.next(whole), Ok(Next::End));
}

/// The first of them was acknowledged, and the engine deleted the others before they were fetched.
#[test]
fn a_launch_with_several_large_results_is_acknowledged_when_the_last_of_them_was_fetched() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.messages();
    let told = || ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8)), (1, large(8))] };
    session.hear(told());
    assert_eq!(had(&mut session, ticket), [0, 1]);
    session.fetched(ticket, AttemptId(8), 0);
    assert_eq!(session.messages(), []);
    session.fetched(ticket, AttemptId(8), 1);
    assert_eq!(session.messages(), [received(8)]);
    // A hub that missed that tells of them again, and hears it again.
    session.hear(told());
    assert_eq!(session.messages(), [received(8)]);
    assert_eq!(session.next(ticket), Ok(Next::Wait));
}

/// Another hub had the engine delete what no driver asked it for.
#[test]
fn a_large_result_is_asked_for_again_until_it_was_fetched() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8)), (1, large(8))] });
    had(&mut session, ticket);
    session.fetched(ticket, AttemptId(8), 1);
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &welcome(1, 2));
    let again = submitted(session.messages());
    assert_eq!((&again[0].spec.wanted, again[0].spec.delivered), (&[0, 2].into_iter().collect(), 1));
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8)), (1, large(8))] });
    session.fetched(ticket, AttemptId(8), 0);
    assert_eq!(session.messages(), [received(8)]);
}

/// An engine that came late to another hub was told to delete the first, and the driver of a detached job got an error.
#[test]
fn a_large_result_that_was_made_again_is_fetched_from_where_it_was_made_last() {
    let mut session = met();
    let ticket = submit(&mut session, Some("by name"));
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8))] });
    results(&mut session, ticket, 7, &[1]);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(9), parts: vec![(0, large(9))] });
    let next = session.next(ticket).unwrap();
    assert_eq!(next, Next::Part { attempt: AttemptId(9), partition: 0, part: large(9) });
    // What was given out is not given out again.
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(10), parts: vec![(0, large(10))] });
    assert_eq!(had(&mut session, ticket), [1]);
}
