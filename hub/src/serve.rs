//! The hub's loop: it hands messages to the state, and sends what the state decides.

use crate::carry::{Carrier, Rest, micros};
use crate::programs::Shelf;
use crate::state::{Hub, OrderOutcome, Setup, TICK};
use crate::{Authority, AuthorityError, Options, Sockets, Validity, open_gateway};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tryworks_base::time::Clock;
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::Answer;
use tryworks_transport::{
    Connection, Door, LinkError, PeerEvent, PeerId, Peers, PeersReceiver, PeersSender, Role, serve_data,
};

/// How many messages are taken in before the resulting messages are sent.
const BATCH: usize = 256;

/// How long the loop sleeps when the state wants no tick.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// How a hub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Its certificates were renewed: it restarts with them, and all peers connect again.
    Renewed,
}

/// A hub's state, and what serves it.
struct Served {
    hub: Hub,
    clock: Clock,
    carrier: Carrier,
    outcomes: UnboundedReceiver<OrderOutcome>,
    to_drivers: PeersSender,
    to_engines: PeersSender,
    stopping: bool,
    /// The client that asked for new certificates, and the number of its question.
    renew: Option<(PeerId, u64)>,
}

impl Served {
    /// Hands in all outcomes that have arrived.
    fn hear(&mut self) {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.hub.order_done(self.clock.now(), outcome);
        }
    }

    fn tick(&mut self) {
        if let Some(health) = self.carrier.health() {
            self.hub.order_done(self.clock.now(), health);
        }
        self.hub.tick(self.clock.now(), micros());
    }

    fn client(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Message { peer, bytes } => self.hub.hear_client(now, peer, &bytes),
            PeerEvent::Gone { peer } => self.hub.client_gone(now, peer),
            PeerEvent::CutOff { peer, waiting } => self.hub.client_cut_off(now, peer, waiting),
        }
    }

    fn engine(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Message { peer, bytes } => self.hub.hear_engine(now, peer, &bytes),
            PeerEvent::Gone { peer } => self.hub.engine_gone(now, peer, "its connection ended"),
            PeerEvent::CutOff { peer, waiting } => {
                let why = format!("it was cut off: it read nothing, and {waiting} bytes waited for it");
                self.hub.engine_gone(now, peer, &why);
            }
        }
    }

    /// Hands in an event and the others that are ready. Before each, it hands in the outcomes that have arrived.
    fn take(&mut self, first: PeerEvent, from: &mut PeersReceiver, mut give: impl FnMut(&mut Self, PeerEvent)) {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next else { return };
            self.hear();
            give(self, event);
            next = from.ready();
        }
        // An event taken from the receiver must not be lost.
        if let Some(event) = next {
            give(self, event);
        }
    }

    /// Carries out and sends everything that the state wants.
    fn send(&mut self) -> Result<()> {
        let gone = |error: LinkError| Error::cluster(error, "start the hub again");
        let out = self.hub.outgoing(self.clock.now());
        for order in out.orders {
            match self.carrier.carry_out(order) {
                Some(Rest::Stop) => self.stopping = true,
                Some(Rest::Renew(peer, number)) => self.renew = Some((peer, number)),
                None => {}
            }
        }
        out.to_clients.into_iter().try_for_each(|(peer, bytes)| self.to_drivers.send(&peer, bytes)).map_err(gone)?;
        out.to_engines.into_iter().try_for_each(|(peer, bytes)| self.to_engines.send(&peer, bytes)).map_err(gone)?;
        out.hang_up_clients.iter().try_for_each(|peer| self.to_drivers.close(peer)).map_err(gone)?;
        out.hang_up_engines.iter().try_for_each(|peer| self.to_engines.close(peer)).map_err(gone)
    }
}

/// Runs a hub until it is told to stop, gets SIGTERM, or has to restart with new certificates.
pub(crate) async fn serve(options: &Options) -> Result<Ended> {
    let directory = &options.directory;
    let failed = |error: LinkError| Error::cluster(error, "is a hub of this name running already?");
    let (carrier, recovered, outcomes) = Carrier::open(directory)?;
    let mut seed = [0; 32];
    let chance = |error: getrandom::Error| Error::storage("making secrets", "this process", &error.into());
    getrandom::fill(&mut seed).map_err(chance)?;
    let setup = Setup {
        cluster: options.cluster.clone(),
        limits: options.limits.clone(),
        pools: options.pools.clone(),
        host: tryworks_protocol::host::here(),
        programs: carrier.shelf.ids(),
        seed,
    };
    let clock = Clock::begin();
    let hub = Hub::new(setup, recovered, clock.now(), micros());
    let (to_drivers, mut drivers) =
        Peers::bind(directory.join("drivers.sock"), options.limits.backlog.clone()).await.map_err(failed)?;
    let (to_engines, mut engines) =
        Peers::bind(directory.join("engines.sock"), options.limits.backlog.clone()).await.map_err(failed)?;
    let broken = |error| Error::storage("listening for signals", "this process", &error);
    let mut end = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let doors = open_doors(options, carrier.shelf.clone()).await?;
    let mut served = Served { hub, clock, carrier, outcomes, to_drivers, to_engines, stopping: false, renew: None };
    served.hub.gives_at(doors.1.address().to_string());
    let mut beat = interval(TICK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = false;
    while !served.stopping && !renewed {
        let wake = served.hub.wake().map(|wake| wake.since(clock.now()));
        let wake = Instant::now() + wake.unwrap_or(FOR_EVER);
        tokio::select! {
            biased;
            event = drivers.recv() => served.take(event.map_err(failed)?, &mut drivers, Served::client),
            event = engines.recv() => served.take(event.map_err(failed)?, &mut engines, Served::engine),
            Some(first) = served.outcomes.recv() => {
                served.hub.order_done(clock.now(), first);
                served.hear();
            }
            _ = beat.tick() => served.tick(),
            () = sleep_until(wake) => served.tick(),
            _ = end.recv() => served.stopping = true,
            _ = interrupt.recv() => served.stopping = true,
        }
        if !served.carrier.lives() {
            // The supervisor restarts the hub. Without its journal, a hub would accept jobs and forget them at its end.
            return Err(Error::Bug("a thread of the hub that uses the journal has ended".into()));
        }
        served.send()?;
        if let Some((peer, number)) = served.renew.take() {
            let answer = match renew(directory) {
                Ok(()) => {
                    renewed = true;
                    let text = "the certificates are new: drivers and engines on other machines need the new \
                                connection files to connect again: driver.json and engine.json in the cluster's \
                                directory";
                    Answer::Done(text.into())
                }
                Err(error) => Answer::No(error.to_string()),
            };
            served.hub.order_done(clock.now(), OrderOutcome::Answer { peer, number, answer });
            served.send()?;
        }
    }
    if served.stopping {
        served.hub.say_goodbye(clock.now());
        served.send()?;
    }
    served.carrier.journal.give_back(served.hub.numbers());
    // What was sent has to be written before the sockets close.
    tokio::time::sleep(Duration::from_millis(20)).await;
    if renewed {
        return Ok(Ended::Renewed);
    }
    for name in ["drivers.sock", "engines.sock", "driver.json", "engine.json"] {
        let _ = fs::remove_file(directory.join(name));
    }
    Ok(Ended::Stopped)
}

/// Makes new certificates, which the hub uses after its restart.
fn renew(directory: &Path) -> std::result::Result<(), AuthorityError> {
    Authority::open(&directory.join("authority"), Validity::default())?.rotate()
}

/// Opens the gateway and the data port for other machines, and writes the connection files.
async fn open_doors(options: &Options, shelf: Shelf) -> Result<(Door, Door)> {
    let directory = &options.directory;
    let authority = Authority::open(&directory.join("authority"), Validity::default());
    let authority = authority.map_err(|error| Error::cluster(error, "move the directory away and start again"))?;
    let refused = |error: LinkError| Error::cluster(error, "choose another address with --listen");
    let credentials = authority.connection(Role::Hub).credentials().map_err(refused)?;
    let sockets = Sockets { drivers: directory.join("drivers.sock"), engines: directory.join("engines.sock") };
    // The hub takes its predecessor's ports if it can, so that peers find it there.
    let last = Connection::read(&directory.join("driver.json")).ok();
    let last = |of: fn(&Connection) -> &String| {
        let address = last.as_ref().and_then(|last| of(last).parse::<SocketAddr>().ok());
        address.filter(|last| last.ip() == options.listen)
    };
    let listen = SocketAddr::new(options.listen, options.port);
    let before = last(|connection| &connection.gateway).filter(|_| options.port == 0);
    // Both ports share these limits.
    let limits = &options.limits.doors;
    let gate = match before {
        Some(before) => open_gateway(before, &credentials, limits.clone(), sockets.clone()).await.ok(),
        None => None,
    };
    let gate = match gate {
        Some(gate) => gate,
        None => open_gateway(listen, &credentials, limits.clone(), sockets).await.map_err(refused)?,
    };
    let data = match last(|connection| &connection.data) {
        Some(before) => serve_data(before, &credentials, limits.clone(), shelf.clone()).await.ok(),
        None => None,
    };
    let any = SocketAddr::new(options.listen, 0);
    let data = match data {
        Some(data) => data,
        None => serve_data(any, &credentials, limits.clone(), shelf).await.map_err(refused)?,
    };
    for (role, name) in [(Role::Driver, "driver.json"), (Role::Engine, "engine.json")] {
        let mut connection = authority.connection(role);
        connection.cluster.clone_from(&options.cluster);
        connection.sockets.clone_from(directory);
        connection.gateway = gate.address().to_string();
        connection.data = data.address().to_string();
        let written = connection.write(&directory.join(name));
        written.map_err(|error| Error::cluster(error, "is that disk full?"))?;
    }
    Ok((gate, data))
}
