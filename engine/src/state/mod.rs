//! What an engine knows and decides, as a value: it reads no clock, file or socket. Time, messages and outcomes are handed
//! in; messages and orders come out.
//!
//! What may be handed in, in the legal order:
//!
//! ```text
//! engine  = new, { without_hub }, { joined, { hub_says }, hub_lost, { without_hub } } ;
//! worker  = Order::Start, [ started, { measured | wrote }, [ greet, { worker_says }, [ worker_cut ] ] ], worker_ended ;
//! blocks  = BlockOrder::Add, added ;
//! move    = Order::TakeOver, took_over ;
//! time    = { tick } ;
//! ```
//!
//! Calls of different lines come between one another in any way. What is about a worker, a task or a block that is not
//! known any more changes nothing, so that outcomes may be late. After each call the shell
//!
//! 1. carries out [`Engine::orders`] in their order, and hands in what came of those that have an outcome;
//! 2. sends [`Engine::for_workers`] to the workers, and [`Engine::for_hub`] to the hub.
//!
//! The same calls with the same values give the same messages and orders: everything is in ordered maps, and the numbers
//! that have to be unique are handed in with [`Engine::started`].

mod deaths;
mod hub;
mod made;
mod reports;
mod tasks;
mod window;

#[cfg(test)]
pub(crate) mod tests;

pub use deaths::Death;
pub use window::{LAST_WORDS, Piece, Window};

use bytes::Bytes;
use deaths::Guilt;
use hub::Moving;
use made::Made;
use reports::Adding;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Shipment};
use tryworks_protocol::driver::{Program, Written};
use tryworks_protocol::engine::{CodeBytes, CodeId, FromEngine, HeldResult, StorePlace};
use tryworks_protocol::worker::{ToWorker, Wanted};
use tryworks_scheduler::{Move, Partitions, Time};
use tryworks_store::blocks::{Quota, Sealed};

/// How often the state should be handed a [`tick`](Engine::tick).
pub const TICK: Duration = Duration::from_millis(100);

/// What an engine is told of itself.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it is called, as long as it lives.
    pub name: String,
    /// What people call its machine.
    pub machine: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Its directory, of which workers are told.
    pub directory: PathBuf,
    /// Where its blocks are.
    pub store: StorePlace,
    /// How long it goes on without a hub.
    pub patience: Duration,
}

/// What the engine's blocks take.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// All of them, deleted ones until they are off the disk.
    pub used: u64,
    /// What may be written yet.
    pub quota: Quota,
}

/// An engine.
///
/// ```
/// use std::time::Duration;
/// use tryworks_base::ids::{EngineId, SessionId};
/// use tryworks_engine::state::{Engine, Order, Setup, Stock};
/// use tryworks_protocol::engine::{StorePlace, ToEngine, Welcome};
/// use tryworks_scheduler::Time;
/// use tryworks_store::blocks::{BlockKey, Quota};
///
/// let (host, directory, socket) = ("here".to_string(), "/blocks".into(), "/engine.sock".into());
/// let store = StorePlace { host, directory, socket, address: None, key: BlockKey::new([7; 32]) };
/// let (name, machine, patience) = ("one".into(), "here".into(), Duration::from_secs(60));
/// let setup = Setup { name, machine, slots: 2, memory: 1 << 30, directory: "/".into(), store, patience };
/// let stock = Stock { used: 0, quota: Quota { limit: None, used: 0 } };
///
/// let mut engine = Engine::new(setup, stock, Time(0));
/// engine.joined(Time(1), &Welcome { engine: EngineId(1), beat_ms: 1000 });
/// let (session, program, host) = (SessionId(1), Default::default(), "here".into());
/// engine.hub_says(Time(2), ToEngine::Session { session, program, host, address: None });
/// assert!(matches!(engine.orders()[..], [Order::Start { worker: 1, .. }]));
/// ```
pub struct Engine {
    setup: Setup,
    stock: Stock,
    id: EngineId,
    /// How often the hub wants to hear that it is there.
    beat_every: Duration,
    /// When the hub was told so last.
    beaten: Time,
    /// Since when there is no hub.
    alone: Option<Time>,
    sessions: BTreeMap<SessionId, Session>,
    workers: BTreeMap<u64, Worker>,
    next_worker: u64,
    stores: BTreeMap<EngineId, StorePlace>,
    codes: BTreeMap<CodeId, (SessionId, CodeBytes)>,
    places: BTreeMap<OutputId, (u64, Vec<(u32, EngineId, AttemptId)>)>,
    /// Counts what the hub said of places.
    changes: u64,
    /// What was said last of each output, by that count.
    changed: BTreeMap<u64, OutputId>,
    /// Finished tasks whose blocks are being added to the store.
    adding: BTreeMap<AttemptId, Adding>,
    /// Blocks that are being taken over.
    moves: Vec<Moving>,
    /// What finished launches left, as they reported it.
    made: Made,
    results: BTreeMap<AttemptId, HeldResult>,
    /// What workers wrote last, to be said again to a hub that may have missed it.
    recent: VecDeque<(SessionId, Written)>,
    /// What that takes, in bytes.
    recent_bytes: usize,
    /// The hub was told that memory is short.
    short: bool,
    for_hub: Vec<FromEngine>,
    for_workers: BTreeMap<u64, Vec<ToWorker>>,
    orders: Vec<Order>,
    leaving: bool,
    /// When it last looked at what depends on time.
    ticked: Time,
}

/// Something that takes I/O.
#[derive(Clone, Debug)]
pub enum Order {
    /// Start a worker. Its process is told of by [`Engine::started`], its end by [`Engine::worker_ended`], also if it could
    /// not be started.
    Start {
        /// Its number.
        worker: u64,
        /// The driver's program.
        program: Box<Program>,
        /// The machine that the program's path is of.
        host: String,
        /// The hub's data port, which has the program for other machines.
        address: Option<String>,
    },
    /// Kill a worker. It is ordered again until the worker has ended.
    Kill {
        /// Its number.
        worker: u64,
    },
    /// The driver has all that a worker wrote before an offset: [`Window::heard`].
    Heard {
        /// Its number.
        worker: u64,
        /// The standard error output, not the standard output.
        stderr: bool,
        /// All before this.
        offset: u64,
    },
    /// What a worker wrote and is on its way may never arrive: as if all of it had been heard.
    Unheard {
        /// Its number.
        worker: u64,
    },
    /// Something is to be done to the store.
    Blocks(BlockOrder),
    /// Get parts of blocks, and answer the worker.
    Prefetch {
        /// Its number.
        worker: u64,
        /// The number of its question.
        number: u64,
        /// What it wants.
        wanted: Vec<Wanted>,
        /// This engine, whose blocks may be among them.
        here: EngineId,
        /// Where those of the others are.
        stores: BTreeMap<EngineId, StorePlace>,
    },
    /// Get a file of the driver's, and answer the worker.
    GetFile {
        /// Its number.
        worker: u64,
        /// The number of its question.
        number: u64,
        /// Its session.
        session: SessionId,
        /// Which file.
        shipment: Shipment,
        /// The hub's data port, which has it.
        address: Option<String>,
    },
    /// Delete all files that were got for a session.
    DropFiles {
        /// Which.
        session: SessionId,
    },
    /// Delete a file that was got for a session.
    DropFile {
        /// Which.
        session: SessionId,
        /// The hash of the file.
        id: [u8; 32],
    },
    /// Copy blocks from an engine that leaves: the outcome is [`Engine::took_over`].
    TakeOver {
        /// Which.
        what: Move,
        /// Where they are, if that engine is known here.
        from: Option<StorePlace>,
    },
}

/// What is to be done to the store. After each of these, [`Engine::stocked`] is told what is left.
#[derive(Clone, Debug)]
pub enum BlockOrder {
    /// Add the blocks that a task sealed: the outcome is [`Engine::added`]. If one cannot be added, those after it are not
    /// tried.
    Add {
        /// The launch that made them.
        attempt: AttemptId,
        /// To what output each belongs, and its partition.
        blocks: Vec<(u64, u32, Sealed)>,
        /// What is to be known of them by who takes them over.
        note: Bytes,
    },
    /// Delete all blocks that a launch made.
    Delete {
        /// Which.
        attempt: AttemptId,
    },
    /// Delete what a launch may have sealed of these partitions and nobody added.
    Discard {
        /// Which.
        attempt: AttemptId,
        /// The output that it was for.
        output: u64,
        /// They.
        partitions: Partitions,
    },
    /// Delete all blocks of outputs, by their names.
    DeleteOutputs {
        /// Which.
        outputs: RangeInclusive<u64>,
    },
}

/// Why the blocks of a task were not added.
#[derive(Clone, Debug)]
pub struct NotAdded {
    /// Why.
    pub error: Error,
    /// The block that could not be added was a file.
    pub file: bool,
}

/// A driver's session, as an engine knows it.
struct Session {
    program: Box<Program>,
    host: String,
    address: Option<String>,
    worker: Option<u64>,
    /// Workers that died before they did anything, in a row.
    failed_starts: u32,
    /// Partitions of caches that its worker keeps.
    kept: BTreeSet<(u64, u32)>,
}

/// A worker.
struct Worker {
    session: SessionId,
    /// It said hello.
    connected: bool,
    pid: u32,
    /// No other worker ever has this number, of whatever engine: it is by this that its output is known.
    run: u64,
    /// What it was given and has not reported, in order.
    assigned: VecDeque<Assigned>,
    codes: BTreeSet<CodeId>,
    stores: BTreeSet<EngineId>,
    /// How much of what the hub said of places it was told.
    told: u64,
    /// The most memory that it was seen to hold.
    peak: u64,
    resident: u64,
    last_words: Vec<u8>,
    /// When its start was asked for.
    since: Time,
    /// It has said something since its hello: it could begin to serve.
    serves: bool,
    /// When something was heard of it last.
    heard: Time,
    /// Its connection ended, then.
    cut: Option<Time>,
    /// It is being ended on purpose.
    ending: bool,
    /// Why it was killed, if it was for something that it did.
    guilt: Option<Guilt>,
}

/// A task that a worker was given.
#[derive(Debug)]
struct Assigned {
    attempt: AttemptId,
    session: SessionId,
    job: JobId,
    code: CodeId,
    partitions: Partitions,
    /// It was asked to stop, then.
    stopping: Option<Time>,
    /// The hub that launched it is gone: nobody waits for its report.
    orphan: bool,
}

impl Engine {
    /// An engine that has not reached a hub yet.
    #[must_use]
    pub fn new(setup: Setup, stock: Stock, now: Time) -> Self {
        Engine {
            setup,
            stock,
            id: EngineId(0),
            beat_every: Duration::from_secs(1),
            beaten: now,
            alone: Some(now),
            sessions: BTreeMap::new(),
            workers: BTreeMap::new(),
            next_worker: 1,
            stores: BTreeMap::new(),
            codes: BTreeMap::new(),
            places: BTreeMap::new(),
            changes: 0,
            changed: BTreeMap::new(),
            adding: BTreeMap::new(),
            moves: Vec::new(),
            made: Made::default(),
            results: BTreeMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            short: false,
            for_hub: Vec::new(),
            for_workers: BTreeMap::new(),
            orders: Vec::new(),
            leaving: false,
            ticked: now,
        }
    }

    /// Its blocks take something else than before.
    pub fn stocked(&mut self, stock: Stock) {
        self.stock = stock;
    }

    /// Its blocks are given out to other machines at another address.
    pub fn listens_at(&mut self, address: Option<String>) {
        self.setup.store.address = address;
    }

    /// It is to end.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// It was told to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// There are workers, or some are being started.
    #[must_use]
    pub fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    /// Takes what is to be done, in its order.
    pub fn orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Takes what is to be said to the hub, in its order: nothing if there is none, since a hub that is met again is told
    /// all that counts by an [offer](Engine::offer).
    pub fn for_hub(&mut self) -> Vec<FromEngine> {
        self.tell_enough_memory();
        let batch = std::mem::take(&mut self.for_hub);
        if self.alone.is_none() { batch } else { Vec::new() }
    }

    /// Takes what is to be said to each worker that has said hello.
    pub fn for_workers(&mut self) -> Vec<(u64, Vec<ToWorker>)> {
        let mut out = Vec::new();
        let ready: Vec<u64> = self.for_workers.keys().copied().collect();
        for worker in ready {
            match self.workers.get(&worker).map(|worker| worker.connected) {
                Some(true) => out.extend(self.for_workers.remove(&worker).map(|batch| (worker, batch))),
                Some(false) => {}
                None => drop(self.for_workers.remove(&worker)),
            }
        }
        out
    }

    fn tell_worker(&mut self, worker: u64, message: ToWorker) {
        self.for_workers.entry(worker).or_default().push(message);
    }

    fn blocks(&mut self, order: BlockOrder) {
        self.orders.push(Order::Blocks(order));
    }
}
