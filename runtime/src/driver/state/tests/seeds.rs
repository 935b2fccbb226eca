//! The state in a small random world: connections break and lose messages, hubs restart or give the session up, and
//! results are lost or come twice. A seed determines the whole run.

use super::*;
use std::collections::VecDeque;
use tryworks_protocol::driver::ToDriver as Down;
use tryworks_testing::{Random, run_seeds};

const SEEDS: u64 = 300;
const STEPS: usize = 300;

/// A job, as a hub knows it.
#[derive(Clone)]
struct AtHub {
    number: u64,
    /// The partitions that are wanted and were not acknowledged.
    wanted: BTreeSet<u32>,
    detached: bool,
    sent_end: bool,
}

/// A hub that runs each job at once, and sends what it has at random times.
#[derive(Default)]
struct Hub {
    epoch: u64,
    session: u32,
    jobs: BTreeMap<u64, AtHub>,
    /// The numbers of jobs that the driver has closed.
    closed: BTreeSet<u64>,
    codes: BTreeSet<ExchangeId>,
    numbers: u64,
    attempts: u64,
    /// The job and the partition that each attempt sent.
    sent: BTreeMap<u64, (u64, u32)>,
}

/// The world around the state, and what the test expects.
struct Simulation {
    rng: Random,
    session: Session,
    now: Time,
    hub: Hub,
    linked: bool,
    up: VecDeque<FromDriver>,
    down: VecDeque<Down>,
    /// Open handles, each with the partitions that were given out.
    handles: BTreeMap<u64, BTreeSet<u32>>,
    given_up: BTreeSet<u64>,
    /// How often each event happened that a run must include.
    seen: BTreeMap<&'static str, u64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let hub = Hub { epoch: 1, session: 1, ..Hub::default() };
        let mut simulation = Simulation {
            rng: Random(seed),
            session: Session::new(PATIENCE, NOW),
            now: NOW,
            hub,
            linked: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            handles: BTreeMap::new(),
            given_up: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        simulation.link();
        simulation
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0 if self.rng.below(100) < 20 => self.abandon_job(),
            0 => self.begin_job(),
            1..=3 => self.hub_hears(),
            4 | 5 => self.hub_sends(),
            6 | 7 => self.driver_hears(),
            8 | 9 => self.take_results(),
            10 if self.rng.below(100) < 40 => self.break_link(),
            _ => self.link(),
        }
        self.up.extend(if self.linked { self.session.messages() } else { Vec::new() });
    }

    fn begin_job(&mut self) {
        if self.handles.len() < 4 {
            let name = (self.rng.below(100) < 25).then_some("by name");
            let ticket = submit(&mut self.session, name);
            self.handles.insert(ticket, BTreeSet::new());
        }
    }

    fn abandon_job(&mut self) {
        if let Some((ticket, _)) = self.handles.pop_first() {
            self.session.cancel(ticket);
            self.session.close(ticket);
            self.given_up.remove(&ticket);
            self.see("job abandoned");
        }
    }

    /// The connection breaks and loses what is on its way. Sometimes the hub dies too, or gives the session up.
    fn break_link(&mut self) {
        if !std::mem::replace(&mut self.linked, false) {
            return;
        }
        self.see("link lost");
        // Some of the messages on their way still arrive.
        for _ in 0..self.rng.below(4) {
            self.hub_hears();
        }
        self.up.clear();
        self.down.clear();
        self.session.link_lost(self.now, "connection reset");
        match self.rng.below(6) {
            0 | 1 => {
                self.see("hub restarted");
                self.hub.epoch += 1;
                self.hub.codes.clear();
                self.hub.sent.clear();
                self.hub.jobs.retain(|_, job| job.detached);
            }
            2 => {
                self.see("session given up");
                self.hub.session += 1;
                self.hub.codes.clear();
                self.hub.sent.clear();
                self.hub.jobs.retain(|_, job| job.detached);
            }
            _ => {}
        }
    }

    fn link(&mut self) {
        if self.linked {
            return;
        }
        self.now = self.now + SECOND;
        if self.rng.below(100) < 30 {
            let refused = Unmet::ForNow(Error::Bug("refused".into()));
            return assert!(self.session.unmet(self.now, refused).is_ok(), "patience ended too soon");
        }
        let before = self.session.id();
        self.linked = true;
        self.session.welcomed(CLUSTER, &welcome(self.hub.session, self.hub.epoch));
        if before != SessionId(0) && before != self.session.id() {
            self.given_up.extend(self.handles.keys().filter(|ticket| !self.session.is_open(**ticket)));
        }
    }

    fn hub_hears(&mut self) {
        match self.up.pop_front() {
            Some(FromDriver::Submit(job)) => {
                assert!(
                    job.codes.iter().any(|(at, _)| *at == 0) || self.hub.codes.contains(&EXCHANGE),
                    "a code is missing that this hub does not have"
                );
                self.hub.codes.insert(EXCHANGE);
                if let Some(known) = self.hub.jobs.get_mut(&job.ticket) {
                    // The job continues, with the partitions that are missing.
                    known.wanted = job.spec.wanted.iter().collect();
                    known.sent_end = false;
                    let accepted = Down::Accepted { ticket: job.ticket, job: JobId(known.number) };
                    return self.down.push_back(accepted);
                }
                self.hub.numbers += 1;
                let number = job.job.map_or(self.hub.numbers, |job| job.0);
                let (wanted, detached) = (job.spec.wanted.iter().collect(), job.detached.is_some());
                self.hub.jobs.insert(job.ticket, AtHub { number, wanted, detached, sent_end: false });
                self.down.push_back(Down::Accepted { ticket: job.ticket, job: JobId(number) });
            }
            Some(FromDriver::Attach { ticket, job, .. }) => {
                let Some(known) = self.hub.jobs.get_mut(&ticket) else {
                    // The driver may say again that it has collected a job.
                    assert!(
                        self.hub.closed.contains(&job.0),
                        "the driver attaches to {job}, which the hub does not know"
                    );
                    let gone = Error::Bug("there is no such job".into());
                    return self.down.push_back(Down::Ended { ticket, end: Err(gone) });
                };
                assert_eq!((known.number, known.detached), (job.0, true));
                known.sent_end = false;
                self.down.push_back(Down::Accepted { ticket, job });
            }
            Some(FromDriver::Received { attempts }) => {
                for attempt in attempts {
                    let Some((ticket, partition)) = self.hub.sent.remove(&attempt.0) else { continue };
                    if let Some(job) = self.hub.jobs.get_mut(&ticket) {
                        job.wanted.remove(&partition);
                    }
                }
            }
            // Releases that the driver sent while disconnected were lost.
            Some(FromDriver::Holds { tickets, .. }) => self.hub.jobs.retain(|ticket, _| tickets.contains(ticket)),
            Some(FromDriver::Close { ticket }) => {
                let closed = self.hub.jobs.remove(&ticket);
                self.hub.closed.extend(closed.map(|job| job.number));
            }
            Some(FromDriver::Detach { ticket }) => drop(self.hub.jobs.remove(&ticket)),
            _ => {}
        }
    }

    /// The hub sends a result that was not acknowledged, perhaps once more; or the end, when all were acknowledged.
    fn hub_sends(&mut self) {
        if !self.linked {
            return;
        }
        let tickets: Vec<u64> = self.hub.jobs.keys().copied().collect();
        if tickets.is_empty() {
            return;
        }
        let ticket = tickets[self.rng.below(tickets.len() as u64) as usize];
        let Some(job) = self.hub.jobs.get_mut(&ticket) else { return };
        let wanted: Vec<u32> = job.wanted.iter().copied().collect();
        if wanted.is_empty() {
            if !std::mem::replace(&mut job.sent_end, true) {
                self.down.push_back(Down::Ended { ticket, end: Ok(()) });
            }
            return;
        }
        let partition = wanted[self.rng.below(wanted.len() as u64) as usize];
        self.hub.attempts += 1;
        if self.hub.sent.values().any(|sent| *sent == (ticket, partition)) {
            self.see("sent twice");
        }
        let attempt = self.hub.attempts;
        self.hub.sent.insert(attempt, (ticket, partition));
        let parts = vec![(partition, Part::Here(vec![partition as u8]))];
        self.down.push_back(Down::Results { ticket, attempt: AttemptId(attempt), parts });
    }

    fn driver_hears(&mut self) {
        if let Some(message) = self.down.pop_front() {
            self.session.hear(message);
        }
    }

    fn take_results(&mut self) {
        let tickets: Vec<u64> = self.handles.keys().copied().collect();
        for ticket in tickets {
            match self.session.next(ticket) {
                Ok(Next::Part { partition, part, .. }) => {
                    assert_eq!(part, Part::Here(vec![partition as u8]));
                    let new = self.handles.get_mut(&ticket).is_some_and(|had| had.insert(partition));
                    assert!(new, "partition {partition} of job {ticket} came twice");
                }
                Ok(Next::End) => {
                    let had = self.handles.remove(&ticket).unwrap_or_default();
                    assert_eq!(had, (0..3).collect(), "job {ticket}");
                    self.session.close(ticket);
                    self.see("job done");
                }
                Ok(Next::Wait) => {}
                Ok(Next::Replan(missing)) => panic!("nothing of job {ticket} was lost, and {missing:?} are missing"),
                Err(error) => {
                    assert!(self.given_up.remove(&ticket), "job {ticket}: {error}");
                    self.handles.remove(&ticket);
                    self.session.close(ticket);
                    self.see("job given up");
                }
            }
        }
    }

    /// From here on nothing goes wrong, so every job must end.
    fn finish(mut self) -> BTreeMap<&'static str, u64> {
        for _ in 0..10_000 {
            self.link();
            self.up.extend(if self.linked { self.session.messages() } else { Vec::new() });
            self.hub_hears();
            self.hub_sends();
            self.driver_hears();
            self.take_results();
            if self.handles.is_empty() {
                assert_eq!(self.session.active().count(), 0);
                return self.seen;
            }
        }
        panic!("{:?} did not end", self.handles)
    }
}

#[test]
fn every_job_ends_with_each_result_once_unless_its_session_was_given_up() {
    let run = |seed| {
        let mut simulation = Simulation::new(seed);
        (0..STEPS).for_each(|_| simulation.step());
        simulation.finish()
    };
    let often =
        ["link lost", "hub restarted", "session given up", "sent twice", "job done", "job given up", "job abandoned"];
    run_seeds(SEEDS, run, &often);
}
