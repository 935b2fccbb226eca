//! The hub's state without sockets: tests hand messages in and read what the hub would send.

mod answers;
mod detached;
mod engines;
mod kept;
mod lost;
mod many;
mod numbers;
mod sessions;

use crate::carry::{Carrier, micros};
use crate::look_up;
use crate::state::{Hub, Limits, Order, OrderOutcome, Setup};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tryworks_base::ids::{AttemptId, EngineId, ExchangeId, SessionId};
use tryworks_base::{Action, Aspect};
use tryworks_protocol::driver::{FromDriver, NewJob, ToDriver, Welcome};
use tryworks_protocol::engine::{
    Assignment, CodeBytes, FromEngine, Offer, ResultPart, StorePlace, ToEngine, Welcome as EngineWelcome,
};
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, Opening, Purpose, decode, encode, opening};
use tryworks_scheduler::{JobSpec, Limits as JobLimits, Packing, PartitionReport, Report, StageSpec, Time};
use tryworks_store::blocks::BlockStore;
use tryworks_transport::PeerId;

/// A hub, the messages that it has sent to each peer, and the directory of its journal.
struct World {
    hub: Hub,
    now: Time,
    /// The system's clock when the hub began. The journal deletes old rows by that clock.
    began: u64,
    carrier: Carrier,
    outcomes: UnboundedReceiver<OrderOutcome>,
    peers: u128,
    sent: BTreeMap<PeerId, Vec<Vec<u8>>>,
    closed: Vec<PeerId>,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World::at(tempfile::tempdir().unwrap())
    }

    fn at(directory: tempfile::TempDir) -> Self {
        let (carrier, recovered, outcomes) = Carrier::open(directory.path()).unwrap();
        let setup = Setup {
            cluster: "test".into(),
            limits: Limits::default(),
            pools: Vec::new(),
            host: tryworks_protocol::host::here(),
            programs: carrier.shelf.ids(),
            seed: [7; 32],
        };
        let hub = Hub::new(setup, recovered, Time(0), micros());
        World {
            hub,
            now: Time(0),
            began: micros(),
            carrier,
            outcomes,
            peers: 0,
            sent: BTreeMap::new(),
            closed: Vec::new(),
            directory,
        }
    }

    /// Kills the hub and starts the next one on its journal. All connections are gone.
    fn again(mut self) -> Self {
        self.turn();
        let World { hub, carrier, outcomes, directory, .. } = self;
        carrier.journal.sync().unwrap();
        drop((hub, carrier, outcomes));
        World::at(directory)
    }

    fn peer(&mut self) -> PeerId {
        self.peers += 1;
        PeerId::from(self.peers)
    }

    /// Does everything that the hub's loop would do.
    fn turn(&mut self) {
        for _ in 0..4 {
            let out = self.hub.outgoing(self.now);
            let mut lookups = Vec::new();
            for order in out.orders {
                match order {
                    Order::LookUp(lookup) => lookups.push(lookup),
                    order => assert_eq!(self.carrier.carry_out(order), None),
                }
            }
            for (peer, bytes) in out.to_clients.into_iter().chain(out.to_engines) {
                self.sent.entry(peer).or_default().push(bytes.to_vec());
            }
            self.closed.extend(out.hang_up_clients.into_iter().chain(out.hang_up_engines));
            self.carrier.journal.sync().unwrap();
            while let Ok(outcome) = self.outcomes.try_recv() {
                self.hub.order_done(self.now, outcome);
            }
            for lookup in lookups {
                let reader = self.carrier.journal.reader().unwrap();
                look_up(&reader, lookup, &mut |outcome| self.hub.order_done(self.now, outcome));
            }
        }
    }

    /// Lets time pass. Only these engines send beats.
    fn pass(&mut self, time: Duration, beating: &[PeerId]) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + Duration::from_secs(1)).min(end);
            for engine in beating {
                self.report(*engine, &[FromEngine::Beat { resident: 0, blocks: 0, short: false }]);
            }
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.hub.tick(self.now, self.began + self.now.0 / 1000);
    }

    fn client_says(&mut self, peer: PeerId, bytes: &[u8]) {
        self.hub.hear_client(self.now, peer, bytes);
    }

    fn engine_says(&mut self, peer: PeerId, bytes: &[u8]) {
        self.hub.hear_engine(self.now, peer, bytes);
    }

    fn client_gone(&mut self, peer: PeerId) {
        self.hub.client_gone(self.now, peer);
    }

    fn hello(&mut self, purpose: Purpose) -> (PeerId, Vec<u8>) {
        let peer = self.peer();
        let hello = Hello { version: "test".into(), host: tryworks_protocol::host::here(), purpose };
        (peer, hello.to_bytes().unwrap())
    }

    /// The messages to a peer since the last call.
    fn said<M: serde::de::DeserializeOwned>(&mut self, peer: PeerId) -> Vec<M> {
        self.turn();
        self.sent.remove(&peer).unwrap_or_default().iter().flat_map(|bytes| decode(bytes).unwrap()).collect()
    }

    /// The first message to a peer: its welcome, or the reason for its refusal.
    fn answer<W: serde::de::DeserializeOwned>(&mut self, peer: PeerId) -> Result<W, String> {
        self.turn();
        let messages = self.sent.get_mut(&peer).expect("an answer");
        match opening(&messages.remove(0)).unwrap() {
            Opening::Welcome(welcome) => Ok(welcome),
            Opening::Refused(why) => Err(why),
        }
    }

    fn driver(&mut self, again: Option<(SessionId, [u8; 16])>) -> (PeerId, Welcome) {
        let (peer, hello) = self.hello(Purpose::Drive { again, program: Program::default() });
        self.client_says(peer, &hello);
        let welcome = self.answer(peer).unwrap();
        (peer, welcome)
    }

    fn engine(&mut self, offer: Offer) -> Result<(PeerId, EngineId), String> {
        let (peer, hello) = self.hello(Purpose::Serve(Box::new(offer)));
        self.engine_says(peer, &hello);
        self.answer::<EngineWelcome>(peer).map(|welcome| (peer, welcome.engine))
    }

    fn drive(&mut self, peer: PeerId, messages: &[FromDriver]) {
        self.client_says(peer, &encode(messages).unwrap());
    }

    fn report(&mut self, peer: PeerId, messages: &[FromEngine]) {
        self.engine_says(peer, &encode(messages).unwrap());
    }

    /// The tasks that an engine got since the last call.
    fn tasks(&mut self, engine: PeerId) -> Vec<Assignment> {
        let said = self.said::<ToEngine>(engine).into_iter();
        said.flat_map(|message| if let ToEngine::Launch { tasks } = message { tasks } else { Vec::new() }).collect()
    }
}

/// The offer of an engine with this name.
fn offer(name: &str, directory: &tempfile::TempDir) -> Offer {
    let store = BlockStore::open(&directory.path().join(name), None).unwrap();
    Offer {
        name: name.into(),
        slots: 2,
        memory: 1 << 30,
        store: StorePlace {
            host: "here".into(),
            directory: store.dir().display().to_string(),
            address: None,
            socket: String::new(),
            key: store.key().clone(),
        },
        held: Vec::new(),
        results: Vec::new(),
        sessions: Vec::new(),
        kept: Vec::new(),
    }
}

/// A job with `partitions` results. If `exchange` is given, a stage of as many map tasks comes first.
fn job(ticket: u64, session: SessionId, partitions: u32, exchange: Option<u64>, detached: Option<&str>) -> NewJob {
    let stage = |output, parents| StageSpec {
        output,
        partitions,
        buckets: if parents == Vec::<usize>::new() && output.is_some() { partitions } else { 0 },
        parents,
        deterministic: true,
        pack: Packing::Fixed(1),
        local_to: Vec::new(),
    };
    let stages = match exchange {
        Some(exchange) => vec![stage(Some(session.output(ExchangeId(exchange))), vec![]), stage(None, vec![0])],
        None => vec![stage(None, vec![])],
    };
    NewJob {
        ticket,
        job: None,
        detached: detached.map(Into::into),
        action: Action { name: "count".into(), aspects: vec![Aspect::new("number of partitions", partitions)] },
        token: String::new(),
        codes: (0..stages.len() as u32).map(|at| (at, CodeBytes::Here(vec![at as u8]))).collect(),
        spec: JobSpec {
            label: "count at test.rs:1".into(),
            stages,
            wanted: (0..partitions).into(),
            limits: JobLimits::default(),
            pool: String::new(),
            program: 0,
            delivered: 0,
        },
        caches: Vec::new(),
    }
}

/// The report of a task that succeeded.
fn done(task: &Assignment) -> FromEngine {
    let partitions = task.task.partitions.clone();
    let result = matches!(task.code, tryworks_protocol::engine::CodeId::Results(_));
    FromEngine::Done {
        attempt: task.task.attempt,
        report: Report {
            partitions: partitions.iter().map(|_| PartitionReport { bytes: 1, rows: 1, checksum: 1 }).collect(),
            bucket_bytes: Vec::new(),
        },
        results: match result {
            true => partitions.iter().map(|partition| (partition, ResultPart::Here(vec![partition as u8]))).collect(),
            false => Vec::new(),
        },
        kept: Vec::new(),
        span: (0, 1),
    }
}

/// The results that a driver got, by partition, and the ends of its jobs, by ticket.
fn results(said: &[ToDriver]) -> (BTreeMap<u32, AttemptId>, BTreeMap<u64, bool>) {
    let (mut parts, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for message in said {
        match message {
            ToDriver::Results { attempt, parts: some, .. } => {
                parts.extend(some.iter().map(|(partition, _)| (*partition, *attempt)));
            }
            ToDriver::Ended { ticket, end } => drop(ends.insert(*ticket, end.is_ok())),
            _ => {}
        }
    }
    (parts, ends)
}
