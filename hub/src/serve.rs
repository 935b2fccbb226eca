//! The hub's loop: messages in, the state asked, messages out.

use crate::hub::Hub;
use crate::{Authority, Options, Sockets, Validity, open_gateway};
use bytes::Bytes;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tryworks_core::{Error, Result};
use tryworks_transport::{Door, LinkError, PeerEvent, Peers, PeersReceiver, Role};

/// How many messages are taken in before what they led to is sent.
const BATCH: usize = 256;

/// Runs a hub until it is told to stop, or gets SIGTERM.
pub(crate) async fn serve(options: Options) -> Result<()> {
    let directory = &options.directory;
    let failed = |error: tryworks_transport::LinkError| Error::cluster(error, "is a hub of this name running already?");
    let (to_drivers, mut drivers) = Peers::bind(directory.join("drivers.sock")).await.map_err(failed)?;
    let (to_engines, mut engines) = Peers::bind(directory.join("engines.sock")).await.map_err(failed)?;
    let broken = |error| Error::storage("listening for signals", "this process", &error);
    let mut end = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut hub = Hub::new(options.cluster.clone(), options.limits.clone());
    let _gate = open_gate(&options).await?;
    let mut beat = interval(Duration::from_millis(200));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !hub.stopping {
        let wake = hub.wake.map(|wake| wake.0.saturating_sub(hub.now().0));
        let wake = Instant::now() + Duration::from_nanos(wake.unwrap_or(u64::MAX >> 4));
        tokio::select! {
            biased;
            event = drivers.recv() => take(&mut hub, event.map_err(failed)?, &mut drivers, |hub, event| match event {
                PeerEvent::Message { peer, bytes } => hub.from_client(peer, &bytes),
                PeerEvent::Gone { peer } => hub.client_gone(peer),
            }),
            event = engines.recv() => take(&mut hub, event.map_err(failed)?, &mut engines, |hub, event| match event {
                PeerEvent::Message { peer, bytes } => hub.from_engine(peer, &bytes),
                PeerEvent::Gone { peer } => hub.engine_gone(peer),
            }),
            _ = beat.tick() => hub.tick(),
            () = sleep_until(wake) => hub.tick(),
            _ = end.recv() => hub.stopping = true,
            _ = interrupt.recv() => hub.stopping = true,
        }
        hub.settle();
        if hub.stopping {
            hub.say_goodbye();
        }
        let (clients, others) = hub.outgoing();
        for (peer, bytes) in clients {
            let _ = to_drivers.send(&peer, Bytes::from(bytes));
        }
        for (peer, bytes) in others {
            let _ = to_engines.send(&peer, Bytes::from(bytes));
        }
        for peer in std::mem::take(&mut hub.hang_up_clients) {
            let _ = to_drivers.close(&peer);
        }
        for peer in std::mem::take(&mut hub.hang_up) {
            let _ = to_engines.close(&peer);
        }
    }
    // What was sent is written before the sockets go.
    tokio::time::sleep(Duration::from_millis(20)).await;
    for name in ["drivers.sock", "engines.sock", "driver.json", "engine.json"] {
        let _ = fs::remove_file(directory.join(name));
    }
    Ok(())
}

/// Opens the way for other machines, and writes down how the hub is reached.
async fn open_gate(options: &Options) -> Result<Door> {
    let directory = &options.directory;
    let authority = Authority::open(&directory.join("authority"), Validity::default());
    let authority = authority.map_err(|error| Error::cluster(error, "move the directory away, and start again"))?;
    let refused = |error: LinkError| Error::cluster(error, "choose another address with --listen");
    let credentials = authority.connection(Role::Hub).credentials().map_err(refused)?;
    let sockets = Sockets { drivers: directory.join("drivers.sock"), engines: directory.join("engines.sock") };
    let listen = SocketAddr::new(options.listen, options.port);
    let gate = open_gateway(listen, &credentials, Default::default(), sockets).await.map_err(refused)?;
    for (role, name) in [(Role::Driver, "driver.json"), (Role::Engine, "engine.json")] {
        let mut connection = authority.connection(role);
        connection.cluster.clone_from(&options.cluster);
        connection.sockets.clone_from(directory);
        connection.gateway = gate.address().to_string();
        let written = connection.write(&directory.join(name));
        written.map_err(|error| Error::cluster(error, "is there room on that disk?"))?;
    }
    Ok(gate)
}

/// Takes in an event, and others that are there already.
fn take(hub: &mut Hub, first: PeerEvent, from: &mut PeersReceiver, mut give: impl FnMut(&mut Hub, PeerEvent)) {
    give(hub, first);
    for _ in 1..BATCH {
        let Some(event) = from.ready() else { return };
        give(hub, event);
    }
}
