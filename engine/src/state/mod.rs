//! What an engine knows and decides, as a value: it reads no clock, file or socket. Time, messages and outcomes are
//! handed in; messages and orders come out.
//!
//! What may be handed in, in the legal order:
//!
//! ```text
//! engine  = new, alone, { joined, { hub_says }, hub_lost, alone } ;
//! alone   = { offer, [ without_hub ] } ;
//! worker  = Order::Start, [ started, { measured | wrote }, [ greet, { worker_says }, [ worker_cut ] ] ], worker_ended ;
//! blocks  = BlockOrder::Add, added ;
//! move    = Order::TakeOver, took_over ;
//! time    = { tick } ;
//! ```
//!
//! Calls of different lines may come in any order relative to one another. Outcomes may be late: a call about a worker,
//! a task or a block that is no longer known changes nothing. After each call the shell
//! 1. carries out [`Engine::orders`] in their order, and hands in the outcomes of those that have one;
//! 2. sends [`Engine::for_workers`] to the workers, and [`Engine::for_hub`] to the hub.
//!
//! The same calls with the same values give the same messages and orders. All maps are ordered, and numbers that have
//! to be unique are handed in with [`Engine::started`].

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
use tryworks_base::ids::{AttemptId, EngineId, GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Shipment};
use tryworks_protocol::engine::{CodeBytes, CodeId, FromEngine, HeldResult, Places, StorePlace};
use tryworks_protocol::output::Written;
use tryworks_protocol::program::Program;
use tryworks_protocol::worker::{ToWorker, Wanted};
use tryworks_scheduler::{Move, Partitions, Time};
use tryworks_store::blocks::{Quota, Sealed};

/// How often the state should be handed a [`tick`](Engine::tick).
pub const TICK: Duration = Duration::from_millis(100);

/// What an engine knows of itself when it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name, for as long as it lives.
    pub name: String,
    /// The name of its machine, for people.
    pub machine: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// The memory for tasks, in bytes.
    pub memory: u64,
    /// Its directory. Workers spill there.
    pub directory: PathBuf,
    /// Where its blocks can be fetched.
    pub store: StorePlace,
    /// How long it continues without a hub.
    pub patience: Duration,
}

/// How much space the engine's blocks take.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// The bytes of all blocks. Deleted ones count until they are off the disk.
    pub used: u64,
    /// How much more may be written.
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
    /// The number that the hub gave it. Until the first hub there is no number, and no worker.
    id: Option<EngineId>,
    /// How often the hub wants a beat.
    beat_every: Duration,
    /// When the last beat was sent.
    beaten: Time,
    /// Since when there is no hub.
    alone: Option<Time>,
    sessions: BTreeMap<SessionId, Session>,
    workers: BTreeMap<u64, Worker>,
    next_worker: u64,
    stores: BTreeMap<EngineId, StorePlace>,
    codes: BTreeMap<CodeId, (SessionId, CodeBytes)>,
    places: BTreeMap<OutputId, (u64, Places)>,
    /// How many messages about places the hub has sent.
    changes: u64,
    /// The outputs whose places are known, by the number of the hub's latest message about each.
    changed: BTreeMap<u64, OutputId>,
    /// Finished tasks whose blocks are being added to the store.
    adding: BTreeMap<AttemptId, Adding>,
    /// Blocks that are being taken over.
    moves: Vec<Moving>,
    /// The blocks that finished launches left, as the launches reported them.
    made: Made,
    results: BTreeMap<AttemptId, HeldResult>,
    /// Launches that left blocks or results since the last offer, while there was no hub.
    late: BTreeSet<AttemptId>,
    /// The latest output of workers, which is sent again to a hub that may have missed it.
    recent: VecDeque<(SessionId, Written)>,
    /// The size of `recent` in bytes.
    recent_bytes: usize,
    /// Whether the latest beat said that memory is short.
    short: bool,
    for_hub: Vec<FromEngine>,
    for_workers: BTreeMap<u64, Vec<ToWorker>>,
    orders: Vec<Order>,
    leaving: bool,
    /// The time of the last tick.
    ticked: Time,
}

/// Something that takes I/O.
#[derive(Clone, Debug)]
pub enum Order {
    /// Start a worker. [`Engine::started`] reports its process, and [`Engine::worker_ended`] its end, even if it could
    /// not be started.
    Start {
        /// Its number.
        worker: u64,
        /// The driver's program.
        program: Box<Program>,
        /// The machine on which the program's path is.
        host: String,
        /// The hub's data port, which has the program for other machines.
        address: Option<String>,
    },
    /// Kill a worker. It is ordered again until the worker has ended.
    Kill {
        /// Its number.
        worker: u64,
    },
    /// Acknowledges all output of a worker before an offset: [`Window::heard`].
    Heard {
        /// Its number.
        worker: u64,
        /// The standard error output rather than the standard output.
        stderr: bool,
        /// The end of what is acknowledged.
        offset: u64,
    },
    /// Output of a worker that is on its way may never arrive. Treat it as acknowledged.
    Unheard {
        /// Its number.
        worker: u64,
    },
    /// Change the store.
    Blocks(BlockOrder),
    /// Fetch parts of blocks, and answer the worker.
    Prefetch {
        /// Its number.
        worker: u64,
        /// The number of its question.
        number: u64,
        /// The parts that it wants.
        wanted: Vec<Wanted>,
        /// This engine, whose blocks may be among them.
        here: EngineId,
        /// Where the blocks of the other engines can be fetched.
        stores: BTreeMap<EngineId, StorePlace>,
    },
    /// Fetch a file of the driver's, and answer the worker.
    GetFile {
        /// Its number.
        worker: u64,
        /// The number of its question.
        number: u64,
        /// Its session.
        session: SessionId,
        /// The file.
        shipment: Shipment,
        /// The hub's data port, which has it.
        address: Option<String>,
    },
    /// Delete all files that were fetched for a session.
    DropFiles {
        /// The session.
        session: SessionId,
    },
    /// Delete a file that was fetched for a session.
    DropFile {
        /// The session.
        session: SessionId,
        /// The hash of the file.
        id: [u8; 32],
    },
    /// Copy blocks from an engine that leaves: the outcome is [`Engine::took_over`].
    TakeOver {
        /// The blocks.
        what: Move,
        /// Where the leaving engine's blocks can be fetched, if it is known here.
        from: Option<StorePlace>,
    },
}

/// A change to the store. After each, [`Engine::stocked`] hands in what the blocks take then.
#[derive(Clone, Debug)]
pub enum BlockOrder {
    /// Add the blocks that a task sealed: the outcome is [`Engine::added`]. If one cannot be added, those after it are
    /// not tried.
    Add {
        /// The launch that made them.
        attempt: AttemptId,
        /// The blocks, each with its output and its partition.
        blocks: Vec<(OutputId, u32, Sealed)>,
        /// What an engine that takes the blocks over must know of them.
        note: Bytes,
    },
    /// Delete all blocks that a launch made.
    Delete {
        /// The launch.
        attempt: AttemptId,
    },
    /// Delete blocks of these partitions that a launch may have sealed and that were never added.
    Discard {
        /// The launch.
        attempt: AttemptId,
        /// The output that the launch was to make.
        output: OutputId,
        /// The partitions.
        partitions: Partitions,
    },
    /// Delete all blocks of these outputs.
    DeleteOutputs {
        /// The outputs.
        outputs: RangeInclusive<OutputId>,
    },
}

/// Why the blocks of a task were not added.
#[derive(Clone, Debug)]
pub struct NotAdded {
    /// The reason.
    pub error: Error,
    /// Whether the block that could not be added was a file.
    pub file: bool,
}

/// A driver's session, as an engine knows it.
struct Session {
    program: Box<Program>,
    host: String,
    address: Option<String>,
    worker: Option<u64>,
    /// How many workers in a row died before they did anything.
    failed_starts: u32,
    /// The cache partitions that its worker has in memory.
    kept: BTreeSet<(GlobalCacheId, u32)>,
}

/// A worker.
struct Worker {
    session: SessionId,
    /// Whether it has said hello.
    connected: bool,
    pid: u32,
    /// A number that no other worker of any engine ever has. With it the driver tells the outputs of workers apart.
    run: u64,
    /// The tasks that it has got and not reported, in order.
    assigned: VecDeque<Assigned>,
    codes: BTreeSet<CodeId>,
    stores: BTreeSet<EngineId>,
    /// The count of the hub's messages about places that this worker has been sent.
    places_sent: u64,
    /// The most memory that it was ever seen to hold.
    peak: u64,
    resident: u64,
    last_words: Vec<u8>,
    /// When its start was ordered.
    since: Time,
    /// Whether it has sent a message after its hello, and so has begun to serve.
    serves: bool,
    /// When its latest message arrived.
    heard: Time,
    /// When its connection ended, if it did.
    cut: Option<Time>,
    /// Its session is over, so its end is expected.
    ending: bool,
    /// The reason, if the worker was killed for misbehaving.
    guilt: Option<Guilt>,
}

/// A task that a worker has got.
#[derive(Debug)]
struct Assigned {
    attempt: AttemptId,
    session: SessionId,
    job: JobId,
    code: CodeId,
    partitions: Partitions,
    /// When it was asked to stop, if it was.
    stopping: Option<Time>,
    /// The hub that launched it is gone, so its report is not needed.
    orphan: bool,
}

impl Engine {
    /// An engine that has not reached a hub yet.
    #[must_use]
    pub fn new(setup: Setup, stock: Stock, now: Time) -> Self {
        Engine {
            setup,
            stock,
            id: None,
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
            late: BTreeSet::new(),
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

    /// Hands in how much space the blocks take now.
    pub fn stocked(&mut self, stock: Stock) {
        self.stock = stock;
    }

    /// Sets the address at which other machines fetch its blocks.
    pub fn listens_at(&mut self, address: Option<String>) {
        self.setup.store.address = address;
    }

    /// Makes the engine end.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the engine is to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether there are workers, including those that are being started.
    #[must_use]
    pub fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    /// Takes what is to be carried out, in its order.
    pub fn orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Takes the messages for the hub, in order. Without a hub there are none: the next hub learns what it needs from
    /// an [offer](Engine::offer).
    pub fn for_hub(&mut self) -> Vec<FromEngine> {
        self.tell_enough_memory();
        let batch = std::mem::take(&mut self.for_hub);
        if self.alone.is_none() { batch } else { Vec::new() }
    }

    /// Takes the messages for each worker that has said hello.
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
