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
fn only_results_that_cannot_be_fetched_are_recomputed() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.messages();
    results(&mut session, ticket, 7, &[1, 2]);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8))] });
    assert_eq!(session.messages(), [received(7)]);
    assert_eq!(had(&mut session, ticket), [1, 2, 0]);
    assert_eq!(session.unfetched(ticket, AttemptId(8), 0, gone()), Ok(()));
    assert_eq!(session.messages(), [received(8)], "its engine may release it");
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

/// A detached job lost an engine while it ran. The job failed at a driver that was fetching a result from that engine.
#[test]
fn a_result_that_cannot_be_fetched_may_come_again_until_its_detached_job_ends() {
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
    // The hub has it recomputed. Then another engine is lost, and this time the hub notices that before the driver
    // does.
    told(&mut session, 9);
    assert_eq!(had(&mut session, ticket), [0]);
    told(&mut session, 10);
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert_eq!(session.unfetched(ticket, AttemptId(9), 0, gone()), Ok(()));
    let part = session.next(ticket);
    assert_eq!(part, Ok(Next::Part { attempt: AttemptId(10), partition: 0, part: large(10) }));
    // Nothing comes after the end of the job. A program that reaches the engine can still collect it.
    assert_eq!(session.unfetched(ticket, AttemptId(10), 0, gone()), Err(gone()));
    session.messages();
    session.close(ticket);
    assert_eq!(session.messages(), [FromDriver::Detach { ticket }]);
}

#[test]
fn a_result_that_does_not_come_again_fails_the_job_with_the_reason_of_its_fetch() {
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

/// The job failed because of results that this driver already had.
#[test]
fn results_lost_after_they_arrived_are_no_error() {
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

/// The launch was acknowledged after its first result. So the engine deleted the others before they were fetched.
#[test]
fn a_launch_with_several_large_results_is_acknowledged_after_the_last_fetch() {
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
    // A hub that missed the acknowledgement sends the results again, and the driver acknowledges them again.
    session.hear(told());
    assert_eq!(session.messages(), [received(8)]);
    assert_eq!(session.next(ticket), Ok(Next::Wait));
}

/// The next hub had the engine delete the result, because no driver asked for it.
#[test]
fn a_large_result_is_asked_for_again_until_it_is_fetched() {
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

/// An engine reached a restarted hub too late and had to delete the first result. The driver of the detached job got an
/// error.
#[test]
fn a_recomputed_large_result_is_fetched_from_its_new_place() {
    let mut session = met();
    let ticket = submit(&mut session, Some("by name"));
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(8), parts: vec![(0, large(8))] });
    results(&mut session, ticket, 7, &[1]);
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(9), parts: vec![(0, large(9))] });
    let next = session.next(ticket).unwrap();
    assert_eq!(next, Next::Part { attempt: AttemptId(9), partition: 0, part: large(9) });
    // A result that was given out is not given out again.
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(10), parts: vec![(0, large(10))] });
    assert_eq!(had(&mut session, ticket), [1]);
}
