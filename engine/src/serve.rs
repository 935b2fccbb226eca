//! The engine's loop: the hub, the workers and the clock, each in turn.

use super::Options;
use super::bring::Bringer;
use super::fetch::fetch;
use super::files::Files;
use super::give::Giver;
use super::join::{Hub, KNOCK, knock, open_port, renewed};
use super::state::{Engine, Order};
use super::workers::{Happened, Outputs, memory_of, tend};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tryworks_base::private::private_dir;
use tryworks_base::{Error, Result};
use tryworks_protocol as protocol;
use tryworks_protocol::driver::Program;
use tryworks_protocol::engine::{FromEngine, HeldBlock, StorePlace, ToEngine};
use tryworks_protocol::worker::{FromWorker, ToWorker};
use tryworks_protocol::{Hello, Purpose};
use tryworks_scheduler::Move;
use tryworks_store::blocks::BlockStore;
use tryworks_store::programs::Programs;
use tryworks_store::running;
use tryworks_transport::{Backlog, Connection, PeerEvent, PeerId, Peers, PeersReceiver, PeersSender};

/// How often it looks at what depends on time.
const TICK: Duration = Duration::from_millis(100);
/// How many messages are taken in before what they led to is sent.
const BATCH: usize = 256;

/// The directory of programs in that of the engine.
const PROGRAMS: &str = "programs";

/// What happens in an engine.
enum Event {
    Hub(Result<Bytes, String>),
    Peer(PeerEvent),
    Worker(Happened),
    /// An answer to what a worker asked for.
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
    let bringer = Arc::new(Bringer::new(giver.clone(), here.id, data));
    let own_programs = directory.join(PROGRAMS);
    let programs = options.programs.clone().unwrap_or_else(|| own_programs.clone());
    let mut engine = Engine::new(options, store, place);
    let mut io = Io {
        connection,
        to_peers,
        bringer,
        neighbours: HashSet::new(),
        kills: HashMap::new(),
        outputs: HashMap::new(),
        happened: mpsc::unbounded_channel(),
        programs: Arc::new(Programs::new(programs)),
        files: Arc::new(Files::new(&directory, giver.0.clone(), engine.options.patience)),
        answered: mpsc::unbounded_channel(),
        moved: mpsc::unbounded_channel(),
        hub: None,
    };
    let broken = |error| Error::storage("listening for signals", "this process", &error);
    let mut end = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut beat = interval(TICK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alone_since = Instant::now();
    let mut why_alone = String::new();
    let mut last_beat = Instant::now();
    while !engine.leaving {
        if io.hub.is_none() {
            if let Some(renewed) = renewed(&io.connection, &engine.options) {
                let (new, data) = open_port(&renewed, &engine.options, giver.clone()).await?;
                engine.place.address = new.as_ref().map(|door| door.address().to_string());
                io.bringer = Arc::new(Bringer::new(giver.clone(), engine.place.host.clone(), data));
                (io.connection, door) = (renewed, new);
            }
            match knock(&io.connection, &mut engine).await? {
                Ok(hub) => (io.hub, alone_since, why_alone) = (Some(hub), Instant::now(), String::new()),
                Err(why) if alone_since.elapsed() > engine.options.patience => {
                    let waited = engine.options.patience;
                    let what = format!("there was no hub for {waited:?}: {why}");
                    return Err(Error::cluster(what, "start the cluster again"));
                }
                Err(why) if why != why_alone => {
                    tracing::warn!("the hub is not to be had, and will be tried again: {why}");
                    why_alone = why;
                }
                Err(_) => {}
            }
        }
        let event = io.next(&mut peers, &mut beat, &mut end, &mut interrupt).await;
        match event {
            Event::Hub(Ok(bytes)) => io.hear_hub(&mut engine, bytes),
            Event::Hub(Err(_)) => {
                io.hub = None;
                alone_since = Instant::now();
            }
            Event::Peer(event) => {
                io.hear_peer(&mut engine, event);
                for _ in 1..BATCH {
                    let due = last_beat.elapsed() >= engine.beat_every;
                    let Some(event) = (!due).then(|| peers.ready()).flatten() else { break };
                    io.hear_peer(&mut engine, event);
                }
            }
            Event::Worker(happened) => io.hear_worker(&mut engine, happened),
            Event::Answered(peer, answer) => io.tell(&mut engine, &peer, &[answer]),
            Event::TookOver(what, held) => engine.took_over(what, held),
            Event::Beat => {
                for worker in engine.workers.values_mut() {
                    if let Some((resident, peak)) = memory_of(worker.pid) {
                        (worker.resident, worker.peak) = (resident, peak);
                    }
                }
                engine.tick();
                if last_beat.elapsed() + TICK > engine.beat_every {
                    last_beat = Instant::now();
                    let beat = engine.beat();
                    engine.for_hub.push(beat);
                }
            }
            Event::End => engine.leaving = true,
        }
        io.flush(&mut engine);
    }
    // Workers end with their processes' handles; the hub is told.
    if let Some(hub) = &io.hub {
        // A hub that is gone does not miss it.
        if hub.to.send(protocol::encode(&[FromEngine::Leaving])?.into()).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    io.kills.clear();
    let deadline = Instant::now() + Duration::from_secs(2);
    while !engine.workers.is_empty()
        && Instant::now() < deadline
        && let Ok(Some(happened)) = tokio::time::timeout(Duration::from_millis(500), io.happened.1.recv()).await
    {
        io.hear_worker(&mut engine, happened);
    }
    drop((engine, door));
    let _ = std::fs::remove_file(directory.join("engine.sock"));
    let _ = std::fs::remove_dir_all(own_programs);
    let _ = std::fs::remove_dir_all(directory.join("files"));
    Ok(())
}

struct Io {
    connection: Connection,
    to_peers: PeersSender,
    bringer: Arc<Bringer>,
    /// Engines of this machine that fetch small blocks of ours.
    neighbours: HashSet<PeerId>,
    kills: HashMap<u64, oneshot::Sender<()>>,
    /// What workers write to.
    outputs: HashMap<u64, Outputs>,
    happened: (mpsc::UnboundedSender<Happened>, mpsc::UnboundedReceiver<Happened>),
    programs: Arc<Programs>,
    files: Arc<Files>,
    answered: (mpsc::UnboundedSender<(PeerId, ToWorker)>, mpsc::UnboundedReceiver<(PeerId, ToWorker)>),
    moved: (mpsc::UnboundedSender<(Move, Option<HeldBlock>)>, mpsc::UnboundedReceiver<(Move, Option<HeldBlock>)>),
    hub: Option<Hub>,
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
            // However much there is to hear, the hub hears in time that this engine is there.
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

    /// Says something to a worker. Gives why it cannot, if there is something that fits into no message.
    fn send(&self, peer: &PeerId, batch: &[ToWorker]) -> Result<()> {
        let mut unsaid = Ok(());
        let messages = protocol::messages(batch, &mut |_, error| unsaid = Err(error));
        for bytes in messages {
            let sent = self.to_peers.send(peer, bytes);
            sent.map_err(|error| Error::cluster(error, "the engine's own socket is gone: start it again"))?;
        }
        unsaid
    }

    /// Says something to a worker, whose tasks fail if it cannot be said.
    fn tell(&self, engine: &mut Engine, peer: &PeerId, batch: &[ToWorker]) {
        if let Err(error) = self.send(peer, batch) {
            tracing::error!("a worker could not be told something: {error}");
            engine.cannot_tell(peer, &error);
        }
    }

    fn hear_hub(&mut self, engine: &mut Engine, first: Bytes) {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(bytes) = next else { return };
            match protocol::decode::<ToEngine>(&bytes) {
                Ok(batch) => batch.into_iter().for_each(|message| engine.hub_says(message)),
                Err(error) => {
                    tracing::error!("the hub sent what cannot be read: {error}");
                    self.hub = None;
                    return;
                }
            }
            next = self.hub.as_mut().and_then(|hub| hub.from.ready());
        }
        if let Some(bytes) = next
            && let Ok(batch) = protocol::decode::<ToEngine>(&bytes)
        {
            batch.into_iter().for_each(|message| engine.hub_says(message));
        }
    }

    fn hear_peer(&mut self, engine: &mut Engine, event: PeerEvent) {
        let (peer, bytes) = match event {
            PeerEvent::Message { peer, bytes } => (peer, bytes),
            PeerEvent::Gone { peer } | PeerEvent::CutOff { peer, .. } => {
                if let PeerEvent::CutOff { waiting, .. } = event {
                    tracing::warn!("{peer:?} was cut off: it read nothing, and {waiting} bytes waited for it");
                }
                self.neighbours.remove(&peer);
                engine.worker_cut(&peer);
                return;
            }
        };
        if engine.peers.contains_key(&peer) || self.neighbours.contains(&peer) {
            match protocol::decode::<FromWorker>(&bytes) {
                Ok(batch) if engine.peers.contains_key(&peer) => {
                    self.hear_out(engine, &peer);
                    batch.into_iter().for_each(|message| engine.worker_says(peer, message));
                }
                Ok(batch) => batch.into_iter().for_each(|message| self.hear_neighbour(&peer, message)),
                Err(error) => {
                    tracing::error!("a worker sent what cannot be read: {error}");
                    self.hang_up(&peer);
                }
            }
            return;
        }
        let answer = match Hello::from_bytes(&bytes, env!("CARGO_PKG_VERSION")).map(|hello| hello.purpose) {
            Ok(Purpose::Work { worker, .. }) => match engine.greet(worker, peer) {
                Some(welcome) => protocol::welcome(&welcome),
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
        let own = self.bringer.own.clone();
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

    /// Takes in all that a worker wrote before the message that it sent now, so that the output of a task comes before
    /// its end.
    fn hear_out(&mut self, engine: &mut Engine, peer: &PeerId) {
        let mut ended = Vec::new();
        while let Ok(happened) = self.happened.1.try_recv() {
            match happened {
                // What it said last is heard first.
                Happened::Ended { .. } => ended.push(happened),
                other => self.hear_worker(engine, other),
            }
        }
        ended.into_iter().for_each(|happened| drop(self.happened.0.send(happened)));
        let Some(worker) = engine.peers.get(peer) else { return };
        let written = self.outputs.get(worker).map(Outputs::written).unwrap_or_default();
        let worker = *worker;
        written.into_iter().for_each(|piece| engine.wrote(worker, piece));
    }

    fn hear_worker(&mut self, engine: &mut Engine, happened: Happened) {
        match happened {
            // One that is not wanted any more ends when `kill` is dropped.
            Happened::Started { worker, pid, kill, outputs } => {
                if engine.started(worker, pid) {
                    self.kills.insert(worker, kill);
                    self.outputs.insert(worker, outputs);
                }
            }
            Happened::Wrote { worker, piece } => engine.wrote(worker, piece),
            Happened::Ended { worker, mut death } => {
                death.ran = running::take(&running::path_of(&engine.options.directory, worker));
                self.kills.remove(&worker);
                let rest = self.outputs.remove(&worker).map(|outputs| outputs.rest()).unwrap_or_default();
                rest.into_iter().for_each(|piece| engine.wrote(worker, piece));
                engine.worker_ended(worker, &death);
            }
        }
    }

    /// Carries out what the state asks for, and sends what it has to say.
    fn flush(&mut self, engine: &mut Engine) {
        for order in std::mem::take(&mut engine.orders) {
            match order {
                Order::Start { worker, program, host, address } => {
                    self.start(engine, worker, *program, host, address);
                }
                // Dropping what it waits for is the sign.
                Order::Kill { worker } => drop(self.kills.remove(&worker)),
                Order::Bring { peer, number, wanted } => {
                    let (bringer, stores, to) = (self.bringer.clone(), engine.stores.clone(), self.answered.0.clone());
                    let here = engine.id;
                    tokio::spawn(async move {
                        let pieces = bringer.bring(here, &stores, &wanted).await;
                        let _ = to.send((peer, ToWorker::Fetched { number, answer: Ok(pieces) }));
                    });
                }
                Order::GetFile { peer, number, session, shipment, address } => {
                    let (files, to) = (self.files.clone(), self.answered.0.clone());
                    let data = self.bringer.data.clone();
                    tokio::spawn(async move {
                        let path = files.get(session, &shipment, data.as_ref(), address.as_deref()).await;
                        let path = path.map(|path| path.display().to_string());
                        let _ = to.send((peer, ToWorker::File { number, path }));
                    });
                }
                Order::DropFiles { session } => {
                    let files = self.files.clone();
                    tokio::spawn(async move { files.end_session(session).await });
                }
                Order::DropFile { session, id } => {
                    let files = self.files.clone();
                    tokio::spawn(async move { files.drop_file(session, &id).await });
                }
                Order::TakeOver { what } => {
                    let (bringer, stores, to) = (self.bringer.clone(), engine.stores.clone(), self.moved.0.clone());
                    tokio::spawn(async move {
                        let held = bringer.take_over(&stores, &what).await;
                        let held = held.inspect_err(|error| tracing::warn!("a block was not taken over: {error}"));
                        let _ = to.send((what, held.ok()));
                    });
                }
            }
        }
        for (peer, batch) in engine.outgoing() {
            self.tell(engine, &peer, &batch);
        }
        engine.tell_room();
        let batch = std::mem::take(&mut engine.for_hub);
        if let Some(hub) = &self.hub
            && !batch.is_empty()
        {
            let messages = protocol::messages(&batch, &mut |what, error| engine.unsaid(what, error));
            // Who hears the hub finds out by itself that it is gone.
            if let Err(error) = messages.into_iter().try_for_each(|bytes| hub.to.send(bytes)) {
                tracing::debug!("the hub does not hear any more: {error}");
            }
        }
    }

    fn start(&self, engine: &Engine, worker: u64, program: Program, host: String, address: Option<String>) {
        let directory = engine.options.directory.clone();
        let socket = PathBuf::from(&engine.place.socket);
        let (bringer, to) = (self.bringer.clone(), self.happened.0.clone());
        let (programs, patience) = (self.programs.clone(), engine.options.patience);
        let flows = engine.workers.get(&worker).map(|worker| worker.flows.clone()).unwrap_or_default();
        tokio::spawn(async move {
            // Another machine may have the same program at the same place, such as on a shared disk.
            let (store, wanted) = (programs.clone(), program.clone());
            let taken = tokio::task::spawn_blocking(move || {
                store.take(&wanted.id, wanted.bytes, Path::new(&wanted.path), None)
            })
            .await;
            let path = match taken.unwrap_or_else(|error| Err(Error::Bug(error.to_string()))) {
                Err(_) if host != bringer.host => {
                    fetch(&programs, &program, bringer.data.as_ref(), address.as_deref(), patience).await
                }
                taken => taken,
            };
            tend(worker, path, program, socket, directory, flows, to).await;
        });
    }
}
