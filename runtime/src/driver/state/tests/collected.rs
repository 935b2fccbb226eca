//! A detached job is collected by a driver that has got all its results, and the hub hears of it.

use super::*;

#[test]
fn a_detached_job_is_collected_only_by_a_program_that_got_all_its_results() {
    let mut session = met();
    let (seen, unseen, bound) =
        (submit(&mut session, Some("a")), submit(&mut session, Some("b")), submit(&mut session, None));
    let attached = session.attach("collect", JobId(3), action(), String::new(), (0..1).into()).unwrap();
    for ticket in [seen, unseen] {
        results(&mut session, ticket, ticket, &[0, 1, 2]);
        session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    }
    had(&mut session, seen);
    session.messages();
    [seen, unseen, bound, attached, 99].into_iter().for_each(|ticket| session.close(ticket));
    let said = session.messages();
    let expected = [
        FromDriver::Close { ticket: seen },
        FromDriver::Detach { ticket: unseen },
        FromDriver::Close { ticket: bound },
        FromDriver::Detach { ticket: attached },
    ];
    assert_eq!(said, expected);
}

/// The hub had restarted after the end of the job and did not know the ticket. So the results stayed, and the name was
/// still taken.
#[test]
fn a_detached_job_that_ended_before_a_restart_is_collected_from_the_next_hub() {
    for (session_then, epoch) in [(1, 2), (2, 1)] {
        let mut session = met();
        let ticket = submit(&mut session, Some("by name"));
        session.hear(ToDriver::Accepted { ticket, job: JobId(41) });
        results(&mut session, ticket, 7, &[0, 1, 2]);
        session.hear(ToDriver::Ended { ticket, end: Ok(()) });
        lose(&mut session, NOW);
        session.welcomed(CLUSTER, &welcome(session_then, epoch));
        assert_eq!((had(&mut session, ticket).len(), session.next(ticket)), (3, Ok(Next::End)));
        session.messages();
        session.close(ticket);
        let attach = FromDriver::Attach { ticket, job: JobId(41), action: action(), token: String::new() };
        assert_eq!(session.messages(), [attach, FromDriver::Close { ticket }]);
    }
}

/// The message was lost with the connection. So the results stayed, and the name was still taken.
#[test]
fn a_detached_job_that_is_collected_while_there_is_no_hub_is_let_go_of_by_the_next_one() {
    let attach = |ticket| FromDriver::Attach { ticket, job: JobId(41), action: action(), token: String::new() };
    for (session_then, epoch) in [(1, 1), (1, 2), (2, 1)] {
        let mut session = met();
        let ticket = submit(&mut session, Some("by name"));
        session.hear(ToDriver::Accepted { ticket, job: JobId(41) });
        results(&mut session, ticket, 7, &[0, 1, 2]);
        session.hear(ToDriver::Ended { ticket, end: Ok(()) });
        assert_eq!((had(&mut session, ticket).len(), session.next(ticket)), (3, Ok(Next::End)));
        session.messages();
        session.close(ticket);
        assert_eq!(session.messages(), [FromDriver::Close { ticket }]);
        // What is said now may be lost, however often the hub is lost.
        for _ in 0..2 {
            lose(&mut session, NOW);
            session.welcomed(CLUSTER, &welcome(session_then, epoch));
            let said = session.messages();
            let expected: Vec<_> = (session_then != 1 || epoch != 1).then(|| attach(ticket)).into_iter().collect();
            let at = said.iter().position(|one| *one == FromDriver::Close { ticket }).expect("the hub is told again");
            assert_eq!(said[..at], expected);
            assert!(matches!(said.get(at + 1), None | Some(FromDriver::Holds { .. })), "{said:?}");
        }
        // What the hub accepts later it has heard later.
        let next = submit(&mut session, None);
        session.hear(ToDriver::Accepted { ticket: next, job: JobId(42) });
        session.messages();
        lose(&mut session, NOW);
        session.welcomed(CLUSTER, &welcome(session_then, epoch));
        assert!(!session.messages().contains(&FromDriver::Close { ticket }));
    }
}
