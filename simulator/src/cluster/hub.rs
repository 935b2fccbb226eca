//! The real hub of the simulated cluster: how it starts and dies, and which messages reach it and leave it.

use super::network::{End, said};
use super::{Bug, CLOCK, Happening, MS, SECOND, World};
use crate::checkers::Violation;
use crate::workload::POOLS;
use tryworks_base::Error;
use tryworks_hub::Pool;
use tryworks_hub::journal::{Counter, Numbers};
use tryworks_hub::state::{Hub, Order, Setup, TICK};
use tryworks_protocol::admin::Question;
use tryworks_protocol::driver::{FromDriver, ToDriver};
use tryworks_protocol::engine::ToEngine;
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, HostInfo, Purpose, decode};
use tryworks_scheduler::{PoolSpec, Time};
use tryworks_transport::PeerId;

impl World {
    /// The hub's own time.
    pub(super) fn hub_time(&self) -> Time {
        Time(self.now.0 - self.began.0)
    }

    pub(super) fn start_hub(&mut self) -> Result<(), Violation> {
        if self.hub.is_some() {
            return Ok(());
        }
        let mut found = self.recover()?;
        if self.options.bug == Some(Bug::RestartCount) && self.generation > 0 {
            found.numbers = Numbers::after([0; 4]);
            self.outcome.planted += 1;
        }
        if self.options.bug == Some(Bug::ForgetJobs) {
            self.outcome.planted += (found.unfinished.len() + found.uncollected.len()) as u64;
            found.unfinished.clear();
            found.uncollected.clear();
        }
        // Some hubs start with nearly all reserved numbers used.
        let mut reserves = Vec::new();
        for counter in Counter::ALL {
            if self.rng.chance(300) && self.options.bug != Some(Bug::RestartCount) {
                let last = found.numbers.reserved(counter) - self.rng.within(0, 3);
                let end = found.numbers.claim(counter, last);
                reserves.extend(end.map(|end| Order::Reserve { counter, end }));
            }
        }
        let pool = |name: &&str| Pool { name: (*name).into(), spec: PoolSpec::default() };
        let setup = Setup {
            cluster: "simulated".into(),
            limits: Default::default(),
            pools: POOLS.iter().filter(|name| !name.is_empty()).map(pool).collect(),
            host: HostInfo { id: "hub".into(), name: "hub".into(), ..HostInfo::default() },
            programs: [Program::default().id].into(),
            seed: [self.generation as u8; 32],
        };
        self.began = self.now;
        self.hub = Some(Hub::new(setup, found, Time(0), CLOCK + self.now.0 / 1000));
        reserves.into_iter().for_each(|order| self.carry_out(order));
        self.after(TICK.as_nanos() as u64, Happening::Tick(self.generation));
        Ok(())
    }

    pub(super) fn kill_hub(&mut self) {
        if self.hub.take().is_none() {
            return;
        }
        self.outcome.hubs_killed += 1;
        let Self { drivers, checks, .. } = self;
        drivers.iter_mut().for_each(|of| of.collected.retain(|job, _| !checks.heard_collected(*job)));
        self.checks.hub_dies();
        self.lose_pending();
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            if self.links[&peer].generation == self.generation {
                self.soon(0, 300 * MS, Happening::ClientNotices(peer));
            }
        }
        self.generation += 1;
        let long = self.rng.chance(100);
        let (low, high) = if long { (3 * SECOND, 8 * SECOND) } else { (10 * MS, SECOND) };
        self.soon(low, high, Happening::HubStarts);
    }

    pub(super) fn tick(&mut self) {
        let now = self.hub_time();
        let health = self.disk.health();
        if let Some(hub) = &mut self.hub {
            health.into_iter().for_each(|health| hub.order_done(now, health));
            hub.tick(now, CLOCK + self.now.0 / 1000);
        }
    }

    pub(super) fn arrives_at_hub(&mut self, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.hub_time();
        let Some(link) = self.links.get(&peer) else { return Ok(()) };
        let (end, late) = (link.end, link.given_up);
        let Some(hub) = self.hub.as_mut().filter(|_| !link.cut && link.generation == self.generation) else {
            self.outcome.messages_lost += 1;
            return Ok(());
        };
        self.outcome.heard += 1;
        match end {
            End::Host(..) => {
                self.outcome.heard_late += u64::from(late);
                hub.hear_engine(now, peer, bytes);
                if !late {
                    let (blocks, results) = self.checks.engine_said(peer, bytes);
                    self.outcome.blocks_offered += blocks;
                    self.outcome.results_offered += results;
                }
            }
            End::Driver(..) => {
                hub.hear_client(now, peer, bytes);
                if !late {
                    self.checks.driver_said(peer, bytes);
                }
            }
        }
        Ok(())
    }

    pub(super) fn arrives_at_client(&mut self, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        if !self.leads(peer) {
            self.outcome.messages_lost += 1;
            return Ok(());
        }
        let Some(link) = self.links.get(&peer) else { return Ok(()) };
        match link.end {
            End::Host(host, _) => {
                self.engine_hears(host, peer, bytes);
                Ok(())
            }
            End::Driver(driver, _) => self.driver_hears(driver, peer, bytes),
        }
    }

    /// Closes the connections of all drivers that want to leave.
    pub(super) fn leave(&mut self) -> Result<(), Violation> {
        let now = self.hub_time();
        let Some(hub) = &mut self.hub else { return Ok(()) };
        let out = hub.outgoing(now);
        out.orders.into_iter().for_each(|order| self.carry_out(order));
        for (peer, bytes) in out.to_clients {
            let bytes = self.leaves_for_driver(peer, bytes.to_vec())?;
            bytes.into_iter().for_each(|bytes| self.send_to_client(peer, bytes));
        }
        for (peer, bytes) in out.to_engines {
            let bytes = self.leaves_for_engine(peer, bytes.to_vec())?;
            bytes.into_iter().for_each(|bytes| self.send_to_client(peer, bytes));
        }
        for peer in out.hang_up_clients.into_iter().chain(out.hang_up_engines) {
            if let Some(link) = self.links.get_mut(&peer) {
                link.given_up = true;
                self.soon(3 * MS, 400 * MS, Happening::ClientNotices(peer));
            }
        }
        Ok(())
    }

    fn leaves_for_driver(&mut self, peer: PeerId, bytes: Vec<u8>) -> Result<Option<Vec<u8>>, Violation> {
        let Some(link) = self.links.get_mut(&peer).filter(|link| !link.given_up) else { return Ok(None) };
        if !std::mem::replace(&mut link.greeted, true) {
            self.checks.driver_is_greeted(peer, &bytes, &self.disk)?;
            return Ok(Some(bytes));
        }
        let batch = decode::<ToDriver>(&bytes)
            .map_err(|error| format!("the hub sent a message that cannot be read: {error}"))?;
        let mut planted = batch.clone();
        match self.options.bug {
            Some(Bug::LoseResult) => planted
                .retain(|message| !matches!(message, ToDriver::Results { attempt, .. } if attempt.sequence() % 2 == 0)),
            Some(Bug::TellOfGivenUp) => {
                for message in &mut planted {
                    if let ToDriver::Results { attempt, .. } = message {
                        attempt.0 += 1 << 40;
                    }
                }
            }
            Some(Bug::SayLost) => {
                let ends = planted.iter_mut().filter_map(|message| match message {
                    ToDriver::Ended { end, .. } if end.is_ok() => Some(end),
                    _ => None,
                });
                ends.for_each(|end| {
                    *end = Err(Error::Lost { what: "results are lost".into(), details: String::new() })
                });
            }
            Some(Bug::TellAgain) => planted.extend(self.checks.told_before(peer)),
            _ => {}
        }
        self.outcome.planted += u64::from(planted != batch);
        for message in &planted {
            self.checks.driver_is_told(peer, message, &self.disk)?;
            if let ToDriver::Ended { ticket, end: Err(Error::Lost { .. }) } = message {
                let lives = |peer| {
                    let link = self.links.get(&peer);
                    link.is_some_and(|link| link.generation == self.generation && !link.given_up)
                };
                self.checks.says_lost(peer, *ticket, lives)?;
            }
        }
        Ok(Some(said(&planted)))
    }

    fn leaves_for_engine(&mut self, peer: PeerId, bytes: Vec<u8>) -> Result<Option<Vec<u8>>, Violation> {
        let Some(link) = self.links.get_mut(&peer).filter(|link| !link.given_up) else { return Ok(None) };
        if !std::mem::replace(&mut link.greeted, true) {
            self.checks.engine_is_greeted(&bytes, &self.disk)?;
            return Ok(Some(bytes));
        }
        let mut batch = decode::<ToEngine>(&bytes)
            .map_err(|error| format!("the hub sent a message that cannot be read: {error}"))?;
        for message in &batch {
            self.checks.engine_is_told(peer, message, &self.disk)?;
            if let ToEngine::Launch { tasks } = message {
                self.outcome.launched += tasks.len() as u64;
            }
        }
        if self.options.bug == Some(Bug::LoseLaunch) {
            let before = batch.len();
            batch.retain(
                |message| !matches!(message, ToEngine::Launch { tasks } if tasks[0].task.attempt.sequence() % 5 == 0),
            );
            self.outcome.planted += (before - batch.len()) as u64;
        }
        Ok(Some(said(&batch)))
    }

    pub(super) fn waits_for(&self) -> String {
        self.drivers.iter().flat_map(|driver| driver.waits_for()).collect::<Vec<_>>().join(", ")
    }

    /// Checks, after all jobs have ended and all drivers have left, that the engines and the hub hold nothing for them.
    pub(super) fn nothing_is_left(&mut self) -> Result<(), Violation> {
        let to_collect = self.checks.to_collect(&self.disk)?;
        if let Some(left) = self.hosts.iter().find_map(|host| host.left(&to_collect)) {
            return Err(format!("all jobs are over, but {left}"));
        }
        let now = self.hub_time();
        let Some(hub) = &mut self.hub else { return Err("there is no hub at the end".into()) };
        let peer = PeerId::from(1);
        let hello = Hello { version: "simulated".into(), host: HostInfo::default(), purpose: Purpose::Administer };
        let hello = hello.to_bytes().map_err(|error| error.to_string())?;
        hub.hear_client(now, peer, &hello);
        hub.hear_client(now, peer, &said(&[FromDriver::Ask { number: 1, question: Question::Status }]));
        let orders = hub.outgoing(now).orders.into_iter();
        let status =
            orders.filter_map(|order| if let Order::Status { status, .. } = order { Some(status) } else { None });
        let Some(status) = status.last() else { return Err("the hub does not answer with its status".into()) };
        let running: u32 = status.engines.iter().map(|engine| engine.running).sum();
        match (running, &status.running[..], status.drivers) {
            (0, [], 0) => Ok(()),
            _ => Err(format!("all jobs are over, but the hub has {status:?}")),
        }
    }
}
