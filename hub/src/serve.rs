//! The hub's loop: messages in, the state asked, messages out.

use crate::history::{self, Told};
use crate::hub::{Hub, Memory};
use crate::journal::{Journal, Recovered};
use crate::programs::Shelf;
use crate::{Authority, AuthorityError, Options, Sockets, Validity, open_gateway};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::Answer;
use tryworks_scheduler::Event;
use tryworks_transport::{Connection, Door, LinkError, PeerEvent, Peers, PeersReceiver, Role, serve_data};

/// How many messages are taken in before what they led to is sent.
const BATCH: usize = 256;

/// How a hub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// Its certificates were renewed: it begins again with them, and everybody connects again.
    Renewed,
}

/// Runs a hub until it is told to stop, or gets SIGTERM, or is to begin again.
pub(crate) async fn serve(options: &Options) -> Result<Ended> {
    let directory = &options.directory;
    let failed = |error: tryworks_transport::LinkError| Error::cluster(error, "is a hub of this name running already?");
    let (memory, recovered, mut told, reader) = remember(directory)?;
    let shelf = Shelf::open(directory.join("programs"));
    let shelf = shelf.map_err(|error| Error::storage("looking for programs", directory.join("programs"), &error))?;
    let mut hub = Hub::new(options.cluster.clone(), options.limits.clone(), memory, shelf.clone(), recovered);
    let (to_drivers, mut drivers) =
        Peers::bind(directory.join("drivers.sock"), options.limits.backlog.clone()).await.map_err(failed)?;
    let (to_engines, mut engines) =
        Peers::bind(directory.join("engines.sock"), options.limits.backlog.clone()).await.map_err(failed)?;
    let broken = |error| Error::storage("listening for signals", "this process", &error);
    let mut end = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    for pool in &options.pools {
        hub.events.push(Event::PoolDefined { pool: pool.name.clone(), spec: pool.spec });
    }
    let doors = open_doors(options, shelf).await?;
    hub.data_address = Some(doors.1.address().to_string());
    let mut beat = interval(Duration::from_millis(200));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = false;
    while !hub.stopping && !renewed {
        let wake = hub.wake.map(|wake| wake.0.saturating_sub(hub.now().0));
        let wake = Instant::now() + Duration::from_nanos(wake.unwrap_or(u64::MAX >> 4));
        tokio::select! {
            biased;
            event = drivers.recv() => take(&mut hub, event.map_err(failed)?, &mut drivers, |hub, event| match event {
                PeerEvent::Message { peer, bytes } => hub.hear_client(peer, &bytes),
                PeerEvent::Gone { peer } => hub.client_gone(peer),
                PeerEvent::CutOff { peer, waiting } => {
                    tracing::warn!("{} was cut off: it read nothing, and {waiting} bytes waited for it", hub.client_name(peer));
                    hub.client_gone(peer);
                }
            }),
            event = engines.recv() => take(&mut hub, event.map_err(failed)?, &mut engines, |hub, event| match event {
                PeerEvent::Message { peer, bytes } => hub.hear_engine(peer, &bytes),
                PeerEvent::Gone { peer } => hub.engine_gone(peer, "its connection ended"),
                PeerEvent::CutOff { peer, waiting } => {
                    let why = format!("it was cut off: it read nothing, and {waiting} bytes waited for it");
                    hub.engine_gone(peer, &why);
                }
            }),
            Some(first) = told.recv() => {
                hub.hear(first);
                while let Ok(next) = told.try_recv() {
                    hub.hear(next);
                }
            }
            _ = beat.tick() => hub.tick(),
            () = sleep_until(wake) => hub.tick(),
            _ = end.recv() => hub.stopping = true,
            _ = interrupt.recv() => hub.stopping = true,
        }
        if reader.is_finished() || !hub.memory.journal.lives() {
            // Whoever started the hub starts it again: better than one that forgets what it is told.
            return Err(Error::Bug("a thread of the hub that uses the journal has ended".into()));
        }
        hub.settle();
        if hub.stopping {
            hub.say_goodbye();
        }
        if let Some((peer, number)) = hub.renew.take() {
            let answer = match renew(directory) {
                Ok(()) => {
                    renewed = true;
                    let text = "the certificates are new: those who are not on this machine need the new connection \
                                files, driver.json and engine.json in the cluster's directory, to connect again";
                    Answer::Done(text.into())
                }
                Err(error) => Answer::No(error.to_string()),
            };
            hub.tell_answer(peer, number, answer);
        }
        let (clients, others) = hub.outgoing();
        let gone = |error: LinkError| Error::cluster(error, "start the hub again");
        clients.into_iter().try_for_each(|(peer, bytes)| to_drivers.send(&peer, bytes)).map_err(gone)?;
        others.into_iter().try_for_each(|(peer, bytes)| to_engines.send(&peer, bytes)).map_err(gone)?;
        let hang_up = std::mem::take(&mut hub.hang_up_clients);
        hang_up.iter().try_for_each(|peer| to_drivers.close(peer)).map_err(gone)?;
        let hang_up = std::mem::take(&mut hub.hang_up_engines);
        hang_up.iter().try_for_each(|peer| to_engines.close(peer)).map_err(gone)?;
    }
    // What was sent is written before the sockets go.
    tokio::time::sleep(Duration::from_millis(20)).await;
    if renewed {
        return Ok(Ended::Renewed);
    }
    for name in ["drivers.sock", "engines.sock", "driver.json", "engine.json"] {
        let _ = fs::remove_file(directory.join(name));
    }
    Ok(Ended::Stopped)
}

/// Opens the journal, and starts the thread that asks it.
fn remember(directory: &Path) -> Result<(Memory, Recovered, UnboundedReceiver<Told>, JoinHandle<()>)> {
    let (journal, recovered) = Journal::open(directory.join("journal.sqlite"))?;
    let reader = journal.reader()?;
    let (desk, lookups) = std::sync::mpsc::channel();
    let (told, hears) = unbounded_channel();
    let answers = told.clone();
    let thread = std::thread::Builder::new().name("history".into());
    let thread = thread.spawn(move || history::answer(&reader, &lookups, &answers));
    let thread = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
    Ok((Memory { journal, desk, told }, recovered, hears, thread))
}

/// Makes new certificates, for this hub once it has begun again.
fn renew(directory: &Path) -> std::result::Result<(), AuthorityError> {
    Authority::open(&directory.join("authority"), Validity::default())?.rotate()
}

/// Opens the ways for other machines, the gateway and the data port, and writes down how the hub is reached.
async fn open_doors(options: &Options, shelf: Shelf) -> Result<(Door, Door)> {
    let directory = &options.directory;
    let authority = Authority::open(&directory.join("authority"), Validity::default());
    let authority = authority.map_err(|error| Error::cluster(error, "move the directory away, and start again"))?;
    let refused = |error: LinkError| Error::cluster(error, "choose another address with --listen");
    let credentials = authority.connection(Role::Hub).credentials().map_err(refused)?;
    let sockets = Sockets { drivers: directory.join("drivers.sock"), engines: directory.join("engines.sock") };
    // Who was told of the ports of the hub before this one finds this one there.
    let last = Connection::read(&directory.join("driver.json")).ok();
    let last = |of: fn(&Connection) -> &String| {
        let address = last.as_ref().and_then(|last| of(last).parse::<SocketAddr>().ok());
        address.filter(|last| last.ip() == options.listen)
    };
    let listen = SocketAddr::new(options.listen, options.port);
    let before = last(|connection| &connection.gateway).filter(|_| options.port == 0);
    // Both ports take from the same room.
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
        written.map_err(|error| Error::cluster(error, "is there room on that disk?"))?;
    }
    Ok((gate, data))
}

/// Takes in an event, and others that are there already.
fn take(hub: &mut Hub, first: PeerEvent, from: &mut PeersReceiver, mut give: impl FnMut(&mut Hub, PeerEvent)) {
    give(hub, first);
    for _ in 1..BATCH {
        let Some(event) = from.ready() else { return };
        give(hub, event);
    }
}
