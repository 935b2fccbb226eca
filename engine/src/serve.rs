//! The engine's loop: it takes events from the hub, the workers and the clock in turn.

use super::Options;
use super::files::Files;
use super::give::Giver;
use super::io::Io;
use super::join::{KNOCK, knock, open_port, renewed};
use super::obey::stock_of;
use super::prefetch::Prefetcher;
use super::state::{Engine, Setup, TICK};
use super::workers::{Happened, Outputs, memory_of, own_number};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tryworks_base::private::private_dir;
use tryworks_base::time::Clock;
use tryworks_base::{Error, Result};
use tryworks_protocol as protocol;
use tryworks_protocol::engine::{FromEngine, HeldBlock, StorePlace, ToEngine};
use tryworks_protocol::worker::{FromWorker, ToWorker};
use tryworks_protocol::{Hello, Purpose};
use tryworks_scheduler::Move;
use tryworks_store::blocks::BlockStore;
use tryworks_store::programs::Programs;
use tryworks_store::running;
use tryworks_transport::{Backlog, Connection, PeerEvent, PeerId, Peers, PeersReceiver};

/// How many messages are taken in before the resulting messages are sent.
const BATCH: usize = 256;

/// The directory of programs within the engine's directory.
const PROGRAMS: &str = "programs";

/// An event in an engine.
enum Event {
    Hub(Result<Bytes, String>),
    Peer(PeerEvent),
    Worker(Happened),
    /// An answer to a worker's question.
    Answered(PeerId, ToWorker),
    TookOver(Move, Option<HeldBlock>),
    Beat,
    End,
}

pub(super) async fn serve(options: Options) -> Result<()> {
    let directory = options.directory.clone();
    private_dir(&directory).map_err(|error| Error::cluster(error, "choose another directory with --directory"))?;
    let connection = Connection::read(&options.connect);
    let connection = connection.map_err(|error| Error::cluster(error, "copy it from the cluster's directory"))?;
    let store = BlockStore::open(&directory.join("blocks"), options.quota)?;
    let socket = directory.join("engine.sock");
    let unusable = |error: tryworks_transport::LinkError| Error::cluster(error, "choose another --directory");
    let (to_peers, mut peers) = Peers::bind(&socket, Backlog::default()).await.map_err(unusable)?;
    let giver = Giver(store.clone());
    let (mut door, data) = open_port(&connection, &options, giver.clone()).await?;
    let here = tryworks_protocol::host::here();
    let place = StorePlace {
        host: here.id.clone(),
        directory: store.dir().display().to_string(),
        address: door.as_ref().map(|door| door.address().to_string()),
        socket: socket.display().to_string(),
        key: store.key().clone(),
    };
    let prefetcher = Arc::new(Prefetcher::new(giver.clone(), here.id, data));
    let own_programs = directory.join(PROGRAMS);
    let clock = Clock::begin();
    let setup = Setup {
        name: options.name.clone(),
        machine: here.name,
        slots: options.slots,
        memory: options.memory,
        directory: directory.clone(),
        store: place,
        patience: options.patience,
    };
    let mut engine = Engine::new(setup, stock_of(&store), clock.now());
    let mut io = Io {
        clock,
        connection,
        to_peers,
        peers: HashMap::new(),
        prefetcher,
        neighbours: HashSet::new(),
        workers: HashMap::new(),
        happened: mpsc::unbounded_channel(),
        programs: Arc::new(Programs::new(options.programs.clone().unwrap_or_else(|| own_programs.clone()))),
        files: Arc::new(Files::new(&directory, store.clone(), options.patience)),
        answered: mpsc::unbounded_channel(),
        moved: mpsc::unbounded_channel(),
        hub: None,
        store,
        socket,
        options,
    };
    let broken = |error| Error::storage("listening for signals", "this process", &error);
    let mut end = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut beat = interval(TICK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut why_alone = String::new();
    while !engine.is_leaving() {
        if io.hub.is_none() {
            if let Some(renewed) = renewed(&io.connection, &io.options) {
                let (new, data) = open_port(&renewed, &io.options, giver.clone()).await?;
                engine.listens_at(new.as_ref().map(|door| door.address().to_string()));
                io.prefetcher = Arc::new(Prefetcher::new(giver.clone(), io.prefetcher.host.clone(), data));
                (io.connection, door) = (renewed, new);
            }
            match knock(&io.connection, engine.offer()).await? {
                Ok((hub, welcome)) => {
                    (io.hub, why_alone) = (Some(hub), String::new());
                    engine.joined(clock.now(), &welcome);
                }
                Err(why) => {
                    engine.without_hub(clock.now(), &why)?;
                    if why != why_alone {
                        tracing::warn!("the hub cannot be reached, and the engine tries again: {why}");
                        why_alone = why;
                    }
                }
            }
        }
        let event = io.next(&mut peers, &mut beat, &mut end, &mut interrupt).await;
        engine.stocked(stock_of(&io.store));
        match event {
            Event::Hub(Ok(bytes)) => io.hear_hub(&mut engine, bytes),
            Event::Hub(Err(_)) => io.lose_hub(&mut engine),
            Event::Peer(event) => {
                io.hear_peer(&mut engine, event);
                for _ in 1..BATCH {
                    let due = engine.beat_is_due(clock.now());
                    let Some(event) = (!due).then(|| peers.ready()).flatten() else { break };
                    io.hear_peer(&mut engine, event);
                }
            }
            Event::Worker(happened) => io.hear_worker(&mut engine, happened),
            Event::Answered(peer, answer) => io.tell(&mut engine, &peer, &[answer]),
            Event::TookOver(what, held) => engine.took_over(what, held),
            Event::Beat => {
                for (number, worker) in &io.workers {
                    if let Some((resident, peak)) = memory_of(worker.pid) {
                        engine.measured(*number, resident, peak);
                    }
                }
                engine.tick(clock.now());
            }
            Event::End => engine.leave(),
        }
        io.flush(&mut engine);
    }
    // Workers end when their handles are dropped. The engine tells the hub that it leaves.
    if let Some(hub) = &io.hub {
        // If the hub is gone, it does not need this message.
        if hub.to.send(protocol::encode(&[FromEngine::Leaving])?.into()).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for worker in io.workers.values_mut() {
        worker.kill = None;
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while engine.has_workers()
        && Instant::now() < deadline
        && let Ok(Some(happened)) = tokio::time::timeout(Duration::from_millis(500), io.happened.1.recv()).await
    {
        io.hear_worker(&mut engine, happened);
    }
    drop((engine, io, door));
    let _ = std::fs::remove_file(directory.join("engine.sock"));
    let _ = std::fs::remove_dir_all(own_programs);
    let _ = std::fs::remove_dir_all(directory.join("files"));
    Ok(())
}

impl Io {
    async fn next(
        &mut self,
        peers: &mut PeersReceiver,
        beat: &mut tokio::time::Interval,
        end: &mut tokio::signal::unix::Signal,
        interrupt: &mut tokio::signal::unix::Signal,
    ) -> Event {
        let hub = async {
            match &mut self.hub {
                Some(hub) => hub.from.recv().await.map_err(|error| error.to_string()),
                None => {
                    tokio::time::sleep(KNOCK).await;
                    Err(String::new())
                }
            }
        };
        tokio::select! {
            biased;
            // The hub gets its beats in time, however many messages there are.
            _ = beat.tick() => Event::Beat,
            _ = end.recv() => Event::End,
            _ = interrupt.recv() => Event::End,
            message = hub => Event::Hub(message),
            event = peers.recv() => event.map_or(Event::End, Event::Peer),
            Some(happened) = self.happened.1.recv() => Event::Worker(happened),
            Some((peer, answer)) = self.answered.1.recv() => Event::Answered(peer, answer),
            Some((what, held)) = self.moved.1.recv() => Event::TookOver(what, held),
        }
    }

    /// Sends messages to a worker. Returns an error if one of them is too large.
    fn send(&self, peer: &PeerId, batch: &[ToWorker]) -> Result<()> {
        let mut unsaid = Ok(());
        let messages = protocol::messages(batch, &mut |_, error| unsaid = Err(error));
        for bytes in messages {
            let sent = self.to_peers.send(peer, bytes);
            sent.map_err(|error| Error::cluster(error, "the engine's own socket is gone: start it again"))?;
        }
        unsaid
    }

    /// Sends messages to a worker. If that fails, the worker's tasks fail.
    pub(super) fn tell(&self, engine: &mut Engine, peer: &PeerId, batch: &[ToWorker]) {
        if let Err(error) = self.send(peer, batch) {
            tracing::error!("a message to a worker could not be sent: {error}");
            if let Some(worker) = self.peers.get(peer) {
                engine.cannot_tell(*worker, &error);
            }
        }
    }

    /// Sends messages to the hub, if there is one.
    pub(super) fn tell_hub(&self, engine: &mut Engine, batch: &[FromEngine]) {
        let Some(hub) = self.hub.as_ref().filter(|_| !batch.is_empty()) else { return };
        for message in batch {
            if let FromEngine::CannotWork { session, error } = message {
                tracing::warn!("the program of {session} does not start here: {error}");
            }
        }
        let messages = protocol::messages(batch, &mut |what, error| {
            tracing::error!("a message to the hub could not be encoded: {error}");
            engine.unsaid(what, error);
        });
        // The loop reads from the hub, so it notices by itself when the hub is gone.
        if let Err(error) = messages.into_iter().try_for_each(|bytes| hub.to.send(bytes)) {
            tracing::debug!("the connection to the hub has ended: {error}");
        }
    }

    fn lose_hub(&mut self, engine: &mut Engine) {
        self.hub = None;
        engine.hub_lost(self.clock.now());
    }

    fn hear_hub(&mut self, engine: &mut Engine, first: Bytes) {
        let mut next = Some(first);
        // After the last turn nothing more leaves the receiver, so no message is lost.
        for more in (0..=BATCH).rev() {
            let Some(bytes) = next else { return };
            match protocol::decode::<ToEngine>(&bytes) {
                Ok(batch) => batch.into_iter().for_each(|message| {
                    engine.hub_says(self.clock.now(), message);
                    self.obey(engine);
                }),
                Err(error) => {
                    tracing::error!("the hub sent a message that cannot be read: {error}");
                    return self.lose_hub(engine);
                }
            }
            next = self.hub.as_mut().filter(|_| more > 0).and_then(|hub| hub.from.ready());
        }
    }

    /// The first message of a connection is a hello. It shows whether the peer is a worker or another engine.
    fn hear_peer(&mut self, engine: &mut Engine, event: PeerEvent) {
        let (peer, bytes) = match event {
            PeerEvent::Message { peer, bytes } => (peer, bytes),
            PeerEvent::Gone { peer } | PeerEvent::CutOff { peer, .. } => {
                if let PeerEvent::CutOff { waiting, .. } = event {
                    tracing::warn!("{peer:?} was cut off: it read nothing, and {waiting} bytes waited for it");
                }
                self.neighbours.remove(&peer);
                if let Some(worker) = self.peers.remove(&peer) {
                    engine.worker_cut(self.clock.now(), worker);
                }
                return;
            }
        };
        let worker = self.peers.get(&peer).copied();
        if worker.is_some() || self.neighbours.contains(&peer) {
            match (protocol::decode::<FromWorker>(&bytes), worker) {
                (Ok(batch), Some(worker)) => {
                    self.hear_out(engine, worker);
                    batch.into_iter().for_each(|message| {
                        engine.worker_says(self.clock.now(), worker, message);
                        self.obey(engine);
                    });
                }
                (Ok(batch), None) => batch.into_iter().for_each(|message| self.hear_neighbour(&peer, message)),
                (Err(error), _) => {
                    tracing::error!("a worker sent a message that cannot be read: {error}");
                    self.hang_up(&peer);
                }
            }
            return;
        }
        let answer = match Hello::from_bytes(&bytes, env!("CARGO_PKG_VERSION")).map(|hello| hello.purpose) {
            Ok(Purpose::Work { worker, .. }) => match engine.greet(self.clock.now(), worker) {
                Some(welcome) => {
                    self.peers.insert(peer, worker);
                    self.workers.entry(worker).and_modify(|worker| worker.peer = Some(peer));
                    protocol::welcome(&welcome)
                }
                None => Ok(protocol::refusal("this engine has not started this worker, or has given it up")),
            },
            Ok(Purpose::Fetch) => {
                self.neighbours.insert(peer);
                protocol::welcome(&())
            }
            Ok(_) => Ok(protocol::refusal("this is the socket of an engine's workers")),
            Err(why) => Ok(protocol::refusal(&why)),
        };
        let answered = answer
            .map_err(|error| error.to_string())
            .and_then(|answer| self.to_peers.send(&peer, answer.into()).map_err(|error| error.to_string()));
        if let Err(error) = answered {
            tracing::error!("a worker could not be greeted: {error}");
            self.hang_up(&peer);
        }
    }

    fn hang_up(&self, peer: &PeerId) {
        if let Err(error) = self.to_peers.close(peer) {
            tracing::error!("a connection could not be closed: {error}");
        }
    }

    fn hear_neighbour(&self, peer: &PeerId, message: FromWorker) {
        let FromWorker::Fetch { number, wanted } = message else { return };
        let own = self.prefetcher.own.clone();
        if let Some(pieces) = own.at_once(&wanted) {
            // An engine that gets no answer asks elsewhere.
            if let Err(error) = self.send(peer, &[ToWorker::Fetched { number, answer: Ok(pieces) }]) {
                tracing::warn!("an engine of this machine gets no answer: {error}");
            }
            return;
        }
        let (peer, to) = (*peer, self.answered.0.clone());
        tokio::task::spawn_blocking(move || {
            let pieces = wanted.iter().map(|wanted| own.give(wanted.block, wanted.part)).collect();
            let _ = to.send((peer, ToWorker::Fetched { number, answer: Ok(pieces) }));
        });
    }

    /// Takes in the output that a worker wrote before its latest message. So the output of a task comes before the end
    /// of the task.
    fn hear_out(&mut self, engine: &mut Engine, worker: u64) {
        let mut ended = Vec::new();
        while let Ok(happened) = self.happened.1.try_recv() {
            match happened {
                // Its last messages are taken in before its end.
                Happened::Ended { .. } => ended.push(happened),
                other => self.hear_worker(engine, other),
            }
        }
        for happened in ended {
            drop(self.happened.0.send(happened));
        }
        let outputs = self.workers.get(&worker).and_then(|worker| worker.outputs.as_ref());
        let written = outputs.map(Outputs::written).unwrap_or_default();
        for piece in written {
            engine.wrote(worker, piece);
        }
    }

    fn hear_worker(&mut self, engine: &mut Engine, happened: Happened) {
        match happened {
            Happened::Started { worker, pid, kill, outputs } => {
                if let Some(tended) = self.workers.get_mut(&worker) {
                    (tended.pid, tended.kill, tended.outputs) = (pid, Some(kill), Some(outputs));
                }
                engine.started(worker, pid, own_number());
            }
            Happened::Wrote { worker, piece } => engine.wrote(worker, piece),
            Happened::Ended { worker, mut death } => {
                death.ran = running::take(&running::path_of(&self.options.directory, worker));
                let tended = self.workers.remove(&worker);
                if let Some(peer) = tended.as_ref().and_then(|tended| tended.peer) {
                    self.peers.remove(&peer);
                }
                let rest = tended.and_then(|tended| tended.outputs).map(|outputs| outputs.rest()).unwrap_or_default();
                for piece in rest {
                    engine.wrote(worker, piece);
                }
                engine.worker_ended(self.clock.now(), worker, &death);
            }
        }
        self.obey(engine);
    }
}
