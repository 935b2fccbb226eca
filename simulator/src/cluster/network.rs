//! Connections: whole messages in order, until they are cut.

use super::{Happening, MS, SECOND, World};
use crate::checkers::Violation;
use tryworks_protocol::decode;
use tryworks_protocol::driver::{FromDriver, ToDriver};
use tryworks_protocol::engine::{FromEngine, ToEngine};
use tryworks_runtime::driver::state::BEAT;
use tryworks_scheduler::Time;
use tryworks_transport::PeerId;

/// The process at the other end of a hub's connection. A process that is run again begins another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Host(usize, u32),
    Driver(usize, u32),
}

#[derive(Debug)]
pub(super) struct Link {
    pub end: End,
    /// The generation of the hub at the other end.
    pub generation: u32,
    /// When the last message in either direction arrives.
    to_hub: Time,
    to_client: Time,
    /// No message gets through any more.
    pub cut: bool,
    /// The hub has given it up.
    pub given_up: bool,
    /// The first message from the hub has come.
    pub greeted: bool,
}

impl World {
    pub(super) fn connect(&mut self, end: End) -> PeerId {
        self.peers += 1;
        let peer = PeerId::from(self.peers << 96);
        let (generation, now) = (self.generation, self.now);
        let link = Link { end, generation, to_hub: now, to_client: now, cut: false, given_up: false, greeted: false };
        self.links.insert(peer, link);
        peer
    }

    fn delay(&mut self) -> u64 {
        match self.rng.below(20) {
            0 if !self.is_calm() => self.rng.within(MS, 300 * MS),
            _ => self.rng.within(MS / 10, 3 * MS),
        }
    }

    pub(super) fn send_to_hub(&mut self, peer: PeerId, bytes: Vec<u8>) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.to_hub = link.to_hub.max(Time(self.now.0 + delay));
        let wait = link.to_hub.0 - self.now.0;
        self.after(wait, Happening::ToHub(peer, bytes));
    }

    pub(super) fn send_to_client(&mut self, peer: PeerId, bytes: Vec<u8>) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.to_client = link.to_client.max(Time(self.now.0 + delay));
        let wait = link.to_client.0 - self.now.0;
        self.after(wait, Happening::FromHub(peer, bytes));
    }

    /// Whether a connection still connects two living processes.
    pub(super) fn leads(&self, peer: PeerId) -> bool {
        self.links.get(&peer).is_some_and(|link| {
            let lives = match link.end {
                End::Host(host, life) => self.hosts[host].lives(life, peer),
                End::Driver(driver, life) => self.drivers[driver].lives(life, peer),
            };
            !link.cut && lives && self.hub.is_some() && link.generation == self.generation
        })
    }

    /// Cuts a connection. Its ends may notice soon, or only because nothing arrives any more.
    pub(super) fn cut(&mut self, peer: PeerId) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| !link.cut) else { return };
        link.cut = true;
        self.outcome.cuts += 1;
        if self.rng.chance(600) {
            self.soon(0, 500 * MS, Happening::HubNotices(peer));
        }
        let late = if self.rng.chance(700) { 500 * MS } else { 12 * SECOND };
        self.soon(0, late, Happening::ClientNotices(peer));
    }

    /// Delays an engine's messages from now on for longer than the hub waits.
    pub(super) fn stall(&mut self, host: usize) {
        let late = Time(self.now.0 + self.rng.within(8 * SECOND, 14 * SECOND));
        if let Some(link) = self.hosts[host].peer.and_then(|peer| self.links.get_mut(&peer)) {
            link.to_hub = link.to_hub.max(late);
        }
    }

    /// The process at the client's end is gone. Its machine reports that to the hub, unless the network loses the
    /// report.
    pub(super) fn client_is_gone(&mut self, peer: Option<PeerId>) {
        let Some(peer) = peer else { return };
        if let Some(link) = self.links.get_mut(&peer) {
            link.cut = true;
        }
        if self.rng.chance(700) {
            self.soon(0, 100 * MS, Happening::HubNotices(peer));
        }
    }

    pub(super) fn hub_notices(&mut self, peer: PeerId) {
        let now = self.hub_time();
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.generation != self.generation || std::mem::replace(&mut link.given_up, true) {
            return;
        }
        if let Some(hub) = &mut self.hub {
            match link.end {
                End::Host(..) => hub.engine_gone(now, peer, "its connection ended"),
                End::Driver(..) => hub.client_gone(now, peer),
            }
        }
    }

    pub(super) fn client_notices(&mut self, peer: PeerId) -> Result<(), Violation> {
        match self.links.get(&peer).map(|link| link.end) {
            Some(End::Host(host, life)) if self.hosts[host].lives(life, peer) => self.engine_without_hub(host),
            Some(End::Driver(driver, life)) if self.drivers[driver].lives(life, peer) => {
                return self.driver_without_hub(driver);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn beat(&mut self, peer: PeerId) -> Result<(), Violation> {
        match self.links.get(&peer).map(|link| link.end) {
            Some(End::Driver(driver, life)) if self.drivers[driver].lives(life, peer) => {
                self.after(BEAT.as_nanos() as u64, Happening::Beat(peer));
                self.driver_beats(driver)
            }
            _ => Ok(()),
        }
    }
}

/// A message, encoded as for sending.
pub(super) fn said<M: serde::Serialize>(batch: &[M]) -> Vec<u8> {
    tryworks_protocol::encode(batch).unwrap_or_else(|error| panic!("a message cannot be encoded: {error}"))
}

pub(super) fn readable(bytes: &[u8], to_hub: bool) -> String {
    let either = |one: Option<String>, other: Option<String>| one.or(other).unwrap_or_else(|| "hello".into());
    let text = |batch: &dyn std::fmt::Debug| Some(format!("{batch:?}"));
    if to_hub {
        let engine = decode::<FromEngine>(bytes).ok().and_then(|batch| text(&batch));
        return either(decode::<FromDriver>(bytes).ok().and_then(|batch| text(&batch)), engine);
    }
    let engine = decode::<ToEngine>(bytes).ok().and_then(|batch| text(&batch));
    either(decode::<ToDriver>(bytes).ok().and_then(|batch| text(&batch)), engine)
}
