//! Drivers: the real state of each, and around it a simulated thread that talks to the hub.

use super::network::{End, said};
use super::programs::Job;
use super::promises::Promises;
use super::{Bug, Happening, MS, SECOND, World};
use crate::checkers::Violation;
use std::collections::BTreeMap;
use std::time::Duration;
use tryworks_base::Error;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::driver::{ToDriver, Welcome};
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, HostInfo, Opening, Purpose, decode, opening};
use tryworks_runtime::driver::state::{BEAT, Session, Unmet};
use tryworks_scheduler::Time;
use tryworks_transport::PeerId;

/// The id of the cluster, as connection files have it.
const CLUSTER: &str = "simulated";
/// How long a driver waits between two attempts to reach a hub that is gone.
const KNOCK: (u64, u64) = (50 * MS, 200 * MS);

pub(super) struct Driver {
    name: String,
    pub life: u32,
    pub peer: Option<PeerId>,
    welcome: bool,
    pub state: Session,
    pub promises: Promises,
    /// How long it waits for a hub.
    patience: Duration,
    /// Until this time its network leads nowhere.
    unreachable: Time,
    pub jobs: Vec<Job>,
    /// The detached jobs that this run of the program has collected. If a hub heard of it and died, the job is not here:
    /// that hub may not have noted it.
    pub collected: BTreeMap<JobId, String>,
    /// It will stay for a while after it has got all that it wanted.
    pub lingers: bool,
    /// It stays for that reason now.
    pub stays: bool,
    pub left: bool,
}

impl Driver {
    pub fn new(at: usize, patience: Duration, lingers: bool) -> Self {
        Driver {
            name: format!("driver-{at}"),
            life: 0,
            peer: None,
            welcome: false,
            state: Session::new(patience, Time(0)),
            promises: Promises::new(patience, Time(0)),
            patience,
            unreachable: Time(0),
            jobs: Vec::new(),
            collected: BTreeMap::new(),
            lingers,
            stays: false,
            left: false,
        }
    }

    pub fn lives(&self, life: u32, peer: PeerId) -> bool {
        self.life == life && self.peer == Some(peer)
    }

    /// Whether it has got all results that it wanted, and has left.
    pub fn is_through(&self) -> bool {
        self.left
    }

    /// Whether it has a connection, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.peer.is_some() && self.welcome
    }

    /// Its jobs that have not ended, for the error message.
    pub fn waits_for(&self) -> impl Iterator<Item = String> + '_ {
        let waiting = self.jobs.iter().filter(|job| !job.through);
        waiting.map(|job| format!("job {} of {} ({:?}, has {})", job.plan, self.name, job.number, job.got.len()))
    }
}

impl World {
    pub(super) fn dial_driver(&mut self, driver: usize, life: u32) -> Result<(), Violation> {
        let of = &self.drivers[driver];
        if of.life != life || of.peer.is_some() || of.left {
            return Ok(());
        }
        if self.hub.is_none() || self.now < of.unreachable {
            let refused = Error::cluster("the cluster cannot be reached", "is it running?");
            return self.meets_no_hub(driver, Unmet::ForNow(refused));
        }
        let peer = self.connect(End::Driver(driver, life));
        let of = &mut self.drivers[driver];
        (of.peer, of.welcome) = (Some(peer), false);
        let info = HostInfo { id: of.name.clone(), name: of.name.clone(), ..HostInfo::default() };
        let mut again = of.state.again(CLUSTER);
        if let (Some((_, secret)), Some(Bug::GiveUpEarly)) = (&mut again, self.options.bug) {
            self.outcome.planted += 1;
            secret[0] ^= 1;
        }
        let purpose = Purpose::Drive { again, program: Program::default() };
        let hello = Hello { version: "simulated".into(), host: info, purpose };
        let bytes = hello.to_bytes().unwrap_or_else(|error| panic!("a hello cannot be encoded: {error}"));
        self.send_to_hub(peer, bytes);
        Ok(())
    }

    /// A driver tried to reach a hub, and met none. If its patience is over, its program ends and is run again.
    fn meets_no_hub(&mut self, driver: usize, why: Unmet) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        (of.peer, of.welcome) = (None, false);
        let for_good = matches!(why, Unmet::ForGood(_));
        let ended = of.state.unmet(self.now, why).is_err();
        of.promises.looked(self.now, for_good, ended)?;
        if !ended {
            let life = of.life;
            self.soon(KNOCK.0, KNOCK.1, Happening::DialDriver(driver, life));
            return Ok(());
        }
        self.outcome.patience_ended += 1;
        self.take_results(driver)?;
        let back_after = self.rng.within(100, 3_000) * MS;
        self.run_again(driver, back_after);
        Ok(())
    }

    /// The connection ended, or a hello got no answer.
    pub(super) fn driver_without_hub(&mut self, driver: usize) -> Result<(), Violation> {
        // Some networks are away for longer than a hub waits.
        let long = !self.is_calm() && self.rng.chance(60);
        let away = if long { self.rng.within(4 * SECOND, 45 * SECOND) } else { 0 };
        let of = &mut self.drivers[driver];
        if of.left {
            of.peer = None;
            return Ok(());
        }
        of.unreachable = of.unreachable.max(Time(self.now.0 + away));
        if !of.welcome {
            let silent = Error::cluster("the hub does not answer", "is it running?");
            return self.meets_no_hub(driver, Unmet::ForNow(silent));
        }
        (of.peer, of.welcome) = (None, false);
        of.state.link_lost(self.now, "connection reset");
        of.promises.lost(self.now);
        let life = of.life;
        self.soon(0, 20 * MS, Happening::DialDriver(driver, life));
        Ok(())
    }

    pub(super) fn end_driver(&mut self, driver: usize, back_after: u64) {
        if !self.drivers[driver].left {
            self.outcome.drivers_ended += 1;
            self.run_again(driver, back_after);
        }
    }

    /// A driver's program ends in the middle, and is run again.
    fn run_again(&mut self, driver: usize, back_after: u64) {
        let begins = Time(self.now.0 + back_after);
        let of = &mut self.drivers[driver];
        of.life += 1;
        (of.welcome, of.stays) = (false, false);
        // With this planted bug, the state has only half of the patience that the checker expects.
        let bug = self.options.bug == Some(Bug::LosePatience);
        self.outcome.planted += u64::from(bug);
        of.state = Session::new(if bug { of.patience / 2 } else { of.patience }, begins);
        of.promises = Promises::new(of.patience, begins);
        of.jobs.iter_mut().filter(|job| !job.through).for_each(Job::start_over);
        of.collected.clear();
        let (peer, life) = (of.peer.take(), of.life);
        self.client_is_gone(peer);
        self.after(back_after, Happening::DialDriver(driver, life));
    }

    pub(super) fn driver_beats(&mut self, driver: usize) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        if of.left {
            return Ok(());
        }
        of.state.beat();
        self.driver_says(driver)
    }

    /// Sends what the state has to say, if there is a hub.
    pub(super) fn driver_says(&mut self, driver: usize) -> Result<(), Violation> {
        let bug = self.options.bug;
        let of = &mut self.drivers[driver];
        let Some(peer) = of.peer.filter(|_| of.welcome) else { return Ok(()) };
        let mut batch = of.state.messages();
        if of.promises.plant(bug, &mut batch) {
            self.outcome.planted += 1;
        }
        of.promises.says(&batch)?;
        if !batch.is_empty() {
            self.send_to_hub(peer, said(&batch));
        }
        Ok(())
    }

    pub(super) fn driver_hears(&mut self, driver: usize, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        if !self.drivers[driver].welcome {
            return match opening::<Welcome>(bytes) {
                Ok(Opening::Welcome(welcome)) => self.welcomed(driver, peer, &welcome),
                // For example, because the journal cannot be written.
                Ok(Opening::Refused(why)) => {
                    let refused = Error::cluster(format!("the hub refused: {why}"), "see above");
                    self.meets_no_hub(driver, Unmet::ForGood(refused))
                }
                Err(error) => Err(format!("{peer:?} was answered with what cannot be read: {error}")),
            };
        }
        let batch = decode::<ToDriver>(bytes).map_err(|error| format!("{peer:?} cannot read: {error}"))?;
        for message in batch {
            let of = &mut self.drivers[driver];
            if let ToDriver::Accepted { ticket, job: number } = message
                && let Some(job) = of.jobs.iter_mut().find(|job| job.ticket == Some(ticket))
            {
                self.checks.accepted(number, job)?;
                job.number = Some(number);
            }
            of.promises.hears(&message);
            of.state.hear(message);
        }
        self.take_results(driver)?;
        self.driver_says(driver)
    }

    fn welcomed(&mut self, driver: usize, peer: PeerId, welcome: &Welcome) -> Result<(), Violation> {
        let of = &mut self.drivers[driver];
        let before = of.state.id();
        of.state.welcomed(CLUSTER, welcome);
        of.welcome = true;
        let away = of.promises.met(self.now);
        if before == welcome.session {
            self.outcome.came_back += 1;
            let open = of.jobs.iter().filter_map(|job| job.ticket);
            self.outcome.resubmitted += of.promises.asks_again(open.filter(|ticket| of.state.is_open(*ticket)));
        } else if before != SessionId(0) {
            self.outcome.given_up += 1;
            self.checks.given_up(before, away)?;
            let detached = |job: &&mut Job| job.name.is_some();
            of.jobs.iter_mut().filter(|job| !detached(job)).for_each(|job| job.given_up = job.ticket.is_some());
            let open = of.jobs.iter().filter(|job| job.name.is_some()).filter_map(|job| job.ticket);
            of.promises.asks_again(open.filter(|ticket| of.state.is_open(*ticket)));
        }
        self.after(BEAT.as_nanos() as u64, Happening::Beat(peer));
        self.driver_says(driver)?;
        self.take_results(driver)?;
        for job in 0..self.drivers[driver].jobs.len() {
            self.submit_now(driver, job)?;
        }
        self.driver_says(driver)
    }
}
