//! The state alone, with hubs that return or are replaced by others. Time moves only when a test says so.

mod collected;
mod large;
mod seeds;

use super::*;
use tryworks_protocol::driver::{Part, Sought, Welcome};
use tryworks_protocol::engine::CodeBytes;
use tryworks_protocol::output::Written;
use tryworks_scheduler::{JobSpec, Limits, Packing, StageSpec};

const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const CLUSTER: &str = "the cluster";
const EXCHANGE: ExchangeId = ExchangeId(5);
const CACHE: CacheId = CacheId(6);
const NOW: Time = Time(1_000_000_000);

fn welcome(session: u32, epoch: u64) -> Welcome {
    Welcome {
        session: SessionId(session),
        secret: [session as u8; 16],
        epoch,
        send_program: false,
        host: "here".into(),
        cluster: "default".into(),
        engines: 1,
        slots: 2,
        warning: None,
    }
}

/// A session that has met a hub.
fn met() -> Session {
    let mut session = Session::new(PATIENCE, NOW);
    session.welcomed(CLUSTER, &welcome(1, 1));
    assert!(session.messages().is_empty());
    session
}

fn action() -> Action {
    Action { name: "collect".into(), aspects: Vec::new() }
}

/// A job of one exchange and three results.
fn work(session: &Session, detached: Option<&str>) -> Work {
    let stage = |output, partitions, buckets, parents| StageSpec {
        output,
        partitions,
        buckets,
        parents,
        deterministic: true,
        pack: Packing::Fixed(1),
        local_to: Vec::new(),
    };
    let output = session.id().output(EXCHANGE);
    let spec = JobSpec {
        label: "collect at main.rs:7".into(),
        stages: vec![stage(Some(output), 2, 3, vec![]), stage(None, 3, 0, vec![0])],
        wanted: (0..3).into(),
        limits: Limits::default(),
        pool: String::new(),
        program: 0,
        delivered: 0,
    };
    let code = |at, exchange| StageCode { at, exchange, bytes: CodeBytes::Here(vec![at as u8]) };
    let codes = vec![code(0, Some(EXCHANGE)), code(1, None)];
    let (detached, caches) = (detached.map(String::from), vec![(0, session.id().cache(CACHE))]);
    Work { detached, action: action(), token: String::new(), spec, codes, caches }
}

fn submit(session: &mut Session, detached: Option<&str>) -> u64 {
    let work = work(session, detached);
    session.submit(work).unwrap()
}

/// The jobs that these messages submit.
fn submitted(messages: Vec<FromDriver>) -> Vec<NewJob> {
    messages.into_iter().filter_map(|one| if let FromDriver::Submit(job) = one { Some(*job) } else { None }).collect()
}

fn results(session: &mut Session, ticket: u64, attempt: u64, partitions: &[u32]) {
    let parts = partitions.iter().map(|partition| (*partition, Part::Here(vec![*partition as u8]))).collect();
    session.hear(ToDriver::Results { ticket, attempt: AttemptId(attempt), parts });
}

/// The partitions that the session can give out now.
fn had(session: &mut Session, ticket: u64) -> Vec<u32> {
    let mut all = Vec::new();
    while let Next::Part { partition, .. } = session.next(ticket).unwrap() {
        all.push(partition);
    }
    all
}

fn lose(session: &mut Session, now: Time) {
    session.link_lost(now, "connection reset");
    assert!(session.unmet(now, Unmet::ForNow(Error::Bug("refused".into()))).is_ok());
}

#[test]
fn results_that_are_sent_twice_are_given_out_once() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.messages();
    results(&mut session, ticket, 7, &[0, 1]);
    results(&mut session, ticket, 7, &[0, 1]);
    results(&mut session, ticket, 8, &[1, 2]);
    assert_eq!(had(&mut session, ticket), [0, 1, 2]);
    results(&mut session, ticket, 8, &[1, 2]);
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert_eq!(session.next(ticket), Ok(Next::End));
    // The driver acknowledges each delivery: the hub may have missed the earlier acknowledgement.
    let attempts = [7, 7, 8, 8].map(AttemptId).to_vec();
    assert_eq!(session.messages(), [FromDriver::Received { attempts }]);
}

#[test]
fn a_reconnected_driver_asks_for_what_is_missing_and_says_what_it_holds() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    let stopped = submit(&mut session, None);
    session.cancel(stopped);
    session.hear(ToDriver::Accepted { ticket, job: JobId(40) });
    results(&mut session, ticket, 7, &[1]);
    session.messages();
    // This acknowledgement is sent on a connection that is lost.
    results(&mut session, ticket, 8, &[2]);
    lose(&mut session, NOW);
    assert_eq!(session.again(CLUSTER), Some((SessionId(1), [1; 16])));
    session.welcomed(CLUSTER, &welcome(1, 1));
    let messages = session.messages();
    let outputs = vec![session.id().output(EXCHANGE)];
    let caches = vec![session.id().cache(CACHE)];
    assert_eq!(messages[0], FromDriver::Holds { tickets: vec![1, 2], outputs, caches });
    assert_eq!(messages.last(), Some(&FromDriver::Cancel { ticket: stopped }));
    assert_eq!(messages.len(), 4, "what was sent on the lost connection is not sent again: {messages:?}");
    let [first, second] = &submitted(messages)[..] else { panic!() };
    assert_eq!((first.job, &first.spec.wanted, first.spec.delivered), (Some(JobId(40)), &(0..1).into(), 2));
    assert_eq!((second.job, &second.spec.wanted, second.spec.delivered), (None, &(0..3).into(), 0));
    assert_eq!((first.codes.len(), second.codes.len()), (2, 2), "it may have to be recomputed from the start");
    // The results that the session has stay.
    results(&mut session, ticket, 9, &[0, 1, 2]);
    assert_eq!(had(&mut session, ticket), [1, 2, 0]);
}

#[test]
fn a_restarted_hub_has_no_codes_and_no_caches() {
    let mut session = met();
    let ended = submit(&mut session, None);
    session.hear(ToDriver::Accepted { ticket: ended, job: JobId(40) });
    session.hear(ToDriver::Cached { cache: session.id().cache(CACHE), partitions: 2 });
    session.hear(ToDriver::Ended { ticket: ended, end: Ok(()) });
    session.give(GivenFile { id: [3; 32], path: "/file".into(), bytes: 1 });
    assert!(session.is_made(EXCHANGE) && session.is_sent(EXCHANGE) && session.kept(CACHE) == Some(2));
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &Welcome { send_program: true, ..welcome(1, 2) });
    let messages = session.messages();
    let [FromDriver::ProgramSent, FromDriver::Holds { tickets, outputs, caches }, FromDriver::Give(_)] = &messages[..]
    else {
        panic!("a job that has ended is not submitted again: {messages:?}")
    };
    let (exchange, cache) = (session.id().output(EXCHANGE), session.id().cache(CACHE));
    assert_eq!((&tickets[..], &outputs[..], &caches[..]), (&[ended][..], &[exchange][..], &[cache][..]));
    assert!(session.is_made(EXCHANGE), "engines still have the blocks");
    assert!(!session.is_sent(EXCHANGE) && session.kept(CACHE).is_none());
    submit(&mut session, None);
    assert_eq!(submitted(session.messages())[0].codes.len(), 2);
}

#[test]
fn a_hub_that_gave_the_session_up_has_ended_its_jobs_except_detached_ones() {
    let mut session = met();
    let bound = submit(&mut session, None);
    let named = submit(&mut session, Some("by name"));
    let unheard = submit(&mut session, Some("by another"));
    session.hear(ToDriver::Accepted { ticket: named, job: JobId(41) });
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &welcome(2, 1));
    assert_eq!(session.id(), SessionId(2));
    let error = session.next(bound).unwrap_err().to_string();
    assert!(error.contains("heard nothing from this program for too long"), "{error}");
    let said = session.messages();
    let attach = FromDriver::Attach { ticket: named, job: JobId(41), action: action(), token: String::new() };
    assert!(said.contains(&attach), "it names exchanges of the earlier session: {said:?}");
    // The hub may not know this job, and refuses jobs that name another session's exchanges.
    let [again] = &submitted(said)[..] else { panic!() };
    let output = session.id().output(EXCHANGE);
    assert_eq!((again.ticket, again.job, again.spec.stages[0].output), (unheard, None, Some(output)));
    assert_eq!(again.caches, [(0, session.id().cache(CACHE))]);
    results(&mut session, named, 7, &[0, 1, 2]);
    session.hear(ToDriver::Ended { ticket: named, end: Ok(()) });
    assert_eq!(had(&mut session, named), [0, 1, 2]);
}

/// The next job that read the exchange was refused, because the hub did not have its code.
#[test]
fn a_detached_job_of_an_earlier_session_brings_no_codes_to_this_one() {
    let mut session = met();
    let named = submit(&mut session, Some("by name"));
    session.hear(ToDriver::Accepted { ticket: named, job: JobId(41) });
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &welcome(2, 1));
    session.messages();
    submit(&mut session, None);
    assert_eq!(submitted(session.messages())[0].codes.len(), 2);
}

#[test]
fn another_cluster_is_not_asked_to_continue_the_session_and_knows_no_job() {
    let mut session = met();
    let tickets = [submit(&mut session, None), submit(&mut session, Some("by name"))];
    lose(&mut session, NOW);
    assert_eq!(session.again("another cluster"), None);
    // The other cluster may give the same number.
    session.welcomed("another cluster", &welcome(1, 1));
    assert_eq!(session.messages(), []);
    for ticket in tickets {
        let error = session.next(ticket).unwrap_err().to_string();
        assert!(error.contains("the cluster was started again"), "{error}");
    }
    assert!(!session.is_sent(EXCHANGE));
    submit(&mut session, None);
    assert_eq!(submitted(session.messages())[0].codes.len(), 2);
}

#[test]
fn every_job_fails_when_patience_with_a_lost_hub_ends() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    let refused = || Error::Bug("refused".into());
    lose(&mut session, NOW);
    // The hub returns in time and is lost once more: patience starts from the beginning.
    assert!(session.unmet(NOW + PATIENCE, Unmet::ForGood(refused())).is_ok());
    session.welcomed(CLUSTER, &welcome(1, 1));
    let lost = NOW + PATIENCE + SECOND;
    lose(&mut session, lost);
    session.link_lost(lost + PATIENCE, "seen twice");
    assert!(session.unmet(lost + PATIENCE, Unmet::ForNow(refused())).is_ok());
    assert_eq!(session.next(ticket), Ok(Next::Wait));
    assert!(session.unmet(lost + PATIENCE + SECOND, Unmet::ForNow(refused())).is_err());
    let error = session.next(ticket).unwrap_err();
    assert!(error.to_string().contains("the hub was lost (connection reset) and did not come back"), "{error}");
    let work = work(&session, None);
    assert_eq!(session.submit(work), Err(error));
}

#[test]
fn a_hub_that_was_never_met_is_awaited_unless_its_answer_would_stay_the_same() {
    let down = || Error::Bug("refused".into());
    let mut session = Session::new(PATIENCE, NOW);
    assert!(session.unmet(NOW + (PATIENCE - SECOND), Unmet::ForNow(down())).is_ok());
    assert_eq!(session.unmet(NOW + PATIENCE, Unmet::ForNow(down())), Err(down()));
    let mut session = Session::new(PATIENCE, NOW);
    assert_eq!(session.unmet(NOW, Unmet::ForGood(down())), Err(down()));
}

#[test]
fn codes_are_sent_once_unless_the_job_that_sent_them_was_refused() {
    let mut session = met();
    let refused = submit(&mut session, None);
    let second = submit(&mut session, None);
    let brought: Vec<_> = submitted(session.messages()).iter().map(|job| job.codes.len()).collect();
    assert_eq!(brought, [2, 1], "each job has its own last stage");
    session.hear(ToDriver::Ended { ticket: refused, end: Err(Error::Bug("no space".into())) });
    session.hear(ToDriver::Accepted { ticket: second, job: JobId(1) });
    submit(&mut session, None);
    // The journal needs everything that belongs to a detached job.
    submit(&mut session, Some("by name"));
    let brought: Vec<_> = submitted(session.messages()).iter().map(|job| job.codes.len()).collect();
    assert_eq!(brought, [2, 2]);
    // A job that is too large for a message was refused, too.
    let mut session = met();
    submit(&mut session, None);
    let error = Error::Bug("too large".into());
    let message = session.messages().remove(0);
    assert!(session.unsaid(&message, &error) && !session.unsaid(&FromDriver::Beat, &error));
    assert_eq!(session.next(1), Err(error));
    submit(&mut session, None);
    assert_eq!(submitted(session.messages())[0].codes.len(), 2);
}

#[test]
fn a_job_whose_plan_relied_on_lost_blocks_is_planned_again_a_few_times() {
    let mut session = met();
    let mut ticket = submit(&mut session, None);
    results(&mut session, ticket, 7, &[1]);
    let lost = Error::Fetch { exchange: ExchangeId(99), map: 0, message: "its engine is gone".into() };
    for _ in 0..job::PLANS {
        session.hear(ToDriver::Ended { ticket, end: Err(lost.clone()) });
        let Ok(Next::Replan(missing)) = session.next(ticket) else { panic!() };
        assert_eq!(missing, [0, 2].into_iter().collect());
        let mut work = work(&session, None);
        work.spec.wanted = missing;
        let new = session.submit(work).unwrap();
        session.messages();
        session.replaced(ticket, new);
        assert_eq!(session.messages(), [FromDriver::Close { ticket }]);
        ticket = new;
    }
    session.hear(ToDriver::Ended { ticket, end: Err(lost.clone()) });
    assert_eq!(session.next(ticket), Err(lost));
}

#[test]
fn output_is_acknowledged_as_far_as_it_arrived() {
    let mut session = met();
    let mut wrote = |run, stderr, offset, bytes: &[u8]| {
        let (engine, name, worker, attempt, bytes) = (EngineId(1), "one".into(), 7, None, bytes.to_vec());
        session.hear(ToDriver::Output(Written { engine, name, run, worker, stderr, offset, attempt, bytes }));
    };
    wrote(1, false, 0, b"call me");
    wrote(1, false, 7, b" Ishmael");
    wrote(1, false, 0, b"call");
    wrote(1, true, 0, b"!");
    wrote(2, false, 5, b"..");
    let heard = |run, stderr, offset| Heard { engine: EngineId(1), run, stderr, offset };
    let all = vec![heard(1, false, 15), heard(1, true, 1), heard(2, false, 7)];
    assert_eq!(session.messages(), [FromDriver::Heard(all)]);
    assert!(session.messages().is_empty());
}

#[test]
fn exchanges_and_caches_are_released_once_and_only_if_the_hub_knows_them() {
    let mut session = met();
    assert!(!session.release_exchange(EXCHANGE) && !session.release_cache(CACHE));
    let ticket = submit(&mut session, None);
    session.hear(ToDriver::Cached { cache: session.id().cache(CACHE), partitions: 2 });
    session.messages();
    assert!(session.release_exchange(EXCHANGE) && session.release_cache(CACHE));
    assert!(!session.release_exchange(EXCHANGE) && !session.release_cache(CACHE));
    assert_eq!(session.messages().len(), 2);
    // The job that makes the exchange ends later.
    session.hear(ToDriver::Ended { ticket, end: Ok(()) });
    assert!(!session.is_made(EXCHANGE));
}

/// A restarted hub has no code and no job for these exchanges and caches, but engines have their blocks and partitions.
/// These stayed until the end of the session.
#[test]
fn exchanges_and_caches_from_before_a_restart_are_released_at_the_next_hub() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.hear(ToDriver::Accepted { ticket, job: JobId(40) });
    session.cancel(ticket);
    session.hear(ToDriver::Ended { ticket, end: Err(Error::Cancelled) });
    session.close(ticket);
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &welcome(1, 2));
    let (output, cache) = (session.id().output(EXCHANGE), session.id().cache(CACHE));
    let holds = FromDriver::Holds { tickets: vec![], outputs: vec![output], caches: vec![cache] };
    assert_eq!(session.messages(), [holds]);
    assert!(session.release_exchange(EXCHANGE) && session.release_cache(CACHE));
    let outputs = FromDriver::Release { outputs: vec![output], caches: vec![] };
    let caches = FromDriver::Release { outputs: vec![], caches: vec![cache] };
    assert_eq!(session.messages(), [outputs, caches.clone()]);
    // An engine reconnects later, and has a partition of the cache.
    session.hear(ToDriver::Cached { cache, partitions: 1 });
    assert_eq!((session.kept(CACHE), session.messages()), (None, vec![caches]));
}

#[test]
fn the_exchanges_of_a_refused_job_are_released() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.messages();
    session.hear(ToDriver::Ended { ticket, end: Err(Error::Bug("the disk is full".into())) });
    session.close(ticket);
    assert!(session.release_exchange(EXCHANGE), "the hub keeps the code that came with the job");
}

#[test]
fn the_last_message_of_a_stopped_session_says_that_it_leaves() {
    let mut session = met();
    let ticket = submit(&mut session, None);
    session.stop();
    assert_eq!(session.next(ticket), Err(Error::Stopped));
    assert!(matches!(session.messages()[..], [FromDriver::Submit(_), FromDriver::Leave]));
    assert_eq!(session.usable(), Err(Error::Stopped));
}

fn gone() -> Error {
    Error::Bug("its engine is gone".into())
}

fn by_name() -> Sought {
    Sought::Name("night".into())
}

#[test]
fn a_question_is_repeated_until_its_answer_and_holds_the_name_until_it_is_closed() {
    let mut session = met();
    let [known, own, refused] = [(); 3].map(|()| session.seek(by_name(), action()).unwrap());
    let asked = |ticket| FromDriver::Seek { ticket, by: by_name(), action: action() };
    assert_eq!(session.messages(), [known, own, refused].map(asked));
    assert_eq!(session.found(known), None);
    session.hear(ToDriver::Found { ticket: known, token: Some("7a".into()) });
    session.hear(ToDriver::Found { ticket: own, token: None });
    session.hear(ToDriver::Ended { ticket: refused, end: Err(gone()) });
    assert_eq!(session.found(known), Some(Ok(Found { token: "7a".into(), is_known: true })));
    assert_eq!(session.found(refused), Some(Err(gone())));
    let Some(Ok(Found { token, is_known: false })) = session.found(own) else { panic!("this driver begins it") };
    // The next hub has to know that the name is held.
    lose(&mut session, NOW);
    session.welcomed(CLUSTER, &welcome(1, 2));
    let tickets = vec![known, own, refused];
    let holds = FromDriver::Holds { tickets, outputs: vec![], caches: vec![] };
    assert_eq!(session.messages(), [holds, asked(own)]);
    session.hear(ToDriver::Found { ticket: own, token: Some("of another one".into()) });
    assert_eq!(
        session.found(own),
        Some(Ok(Found { token: token.clone(), is_known: false })),
        "the first answer counts"
    );
    session.close(own);
    assert_eq!(session.messages(), [FromDriver::Close { ticket: own }]);
    // No two jobs have the same token, not even of hubs that count sessions from 1.
    let mut tokens = BTreeSet::from([token]);
    for (cluster, welcome) in [(CLUSTER, welcome(2, 1)), ("another", welcome(3, 1))] {
        let mut session = Session::new(PATIENCE, NOW);
        session.welcomed(cluster, &welcome);
        for _ in 0..3 {
            let ticket = session.seek(by_name(), action()).unwrap();
            session.hear(ToDriver::Found { ticket, token: None });
            assert!(tokens.insert(session.found(ticket).unwrap().unwrap().token));
        }
    }
    let late = session.seek(by_name(), action()).unwrap();
    session.welcomed("another", &welcome(1, 1));
    assert!(session.found(late).unwrap().unwrap_err().to_string().contains("does not know this job"));
}

#[test]
fn a_job_is_refused_accepted_or_not_answered_yet() {
    let mut session = met();
    let [taken, refused] = [(); 2].map(|()| submit(&mut session, Some("night")));
    assert_eq!((session.accepted(taken), session.accepted(refused)), (None, None));
    session.hear(ToDriver::Accepted { ticket: taken, job: JobId(4) });
    session.hear(ToDriver::Ended { ticket: refused, end: Err(gone()) });
    assert_eq!((session.accepted(taken), session.accepted(refused)), (Some(Ok(())), Some(Err(gone()))));
    // The job was accepted, although it failed later.
    session.hear(ToDriver::Ended { ticket: taken, end: Err(Error::Cancelled) });
    assert_eq!(session.accepted(taken), Some(Ok(())));
    assert!(session.has_failed(taken));
    // This program could not use the results: the job stays at the hub, where another program can collect it.
    assert_eq!(session.next(taken), Err(Error::Cancelled));
    session.keep(taken);
    session.messages();
    [taken, refused].into_iter().for_each(|ticket| session.close(ticket));
    assert_eq!(session.messages(), [FromDriver::Detach { ticket: taken }, FromDriver::Close { ticket: refused }]);
    let stopped = submit(&mut session, Some("night"));
    session.hear(ToDriver::Accepted { ticket: stopped, job: JobId(5) });
    session.hear(ToDriver::Ended { ticket: stopped, end: Err(Error::cluster("the cluster was stopped", "start it")) });
    assert!(!session.has_failed(stopped), "a restarted hub continues it");
}
