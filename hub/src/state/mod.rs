//! What a hub knows and decides, as a value: it reads no clock, file or socket. Time, messages and outcomes are handed
//! in; messages and orders come out.
//!
//! What may be handed in, in the legal order:
//!
//! ```text
//! hub     = new, { tick }, [ say_goodbye ] ;
//! client  = hear_client, { hear_client }, [ client_gone | client_cut_off ] ;
//! engine  = hear_engine, { hear_engine }, [ engine_gone ] ;
//! order   = an order that has an outcome, order_done ;
//! ```
//!
//! Calls of different lines may come in any order relative to one another. A peer that is gone is never heard again.
//! After some calls the shell takes [`Hub::outgoing`] and
//!
//! 1. carries out its orders in their order, and hands in the outcome of those that have one with [`Hub::order_done`],
//!    whenever that is;
//! 2. sends its messages, and hangs up on the peers that it names.
//!
//! Notes are written in order, but may be lost with the hub until they are committed. **No number leaves the hub before
//! the journal has it as reserved**: messages that may name such a number wait in the hub. The same calls with the same
//! values give the same orders and messages.
//!
//! Each part of the state has a file, with the methods that need only that part. `hub.rs` and the files of what comes
//! in (`drivers.rs`, `registry.rs`, `admin.rs`) combine several parts.

mod admin;
mod cancelled;
mod drivers;
mod engines;
mod hub;
mod jobs;
mod known;
mod launch;
mod launches;
mod lost;
mod open;
mod orders;
mod outbox;
mod output;
mod outputs;
mod progress;
mod recent;
mod recovery;
mod registry;
mod results;
mod sessions;
mod sought;

pub use orders::{Level, Lookup, Order, OrderOutcome, ShelfOrder};
pub use outbox::Outgoing;

use crate::Pool;
use crate::journal::{Numbers, Recovered};
use engines::Engines;
use known::Known;
use launches::Launches;
use open::Jobs;
use outbox::Outbox;
use output::UnderWay;
use recent::Recent;
use sessions::Sessions;
use sought::Names;
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::Error;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::HostInfo;
use tryworks_scheduler::{Config, Event, Exclusion, Scheduler, Time};
use tryworks_transport::{Backlog, PeerId};

/// How often the state should be handed a [`tick`](Hub::tick).
pub const TICK: Duration = Duration::from_millis(200);

/// How long a hub waits for its peers, and how much may wait for them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an engine may be silent before it counts as lost. Engines beat four times in this period, and at least
    /// every second.
    pub engine_silence: Duration,
    /// How long a driver may be silent before the hub gives up its connection.
    pub driver_silence: Duration,
    /// How long a lost driver may take to come back before its jobs are cancelled.
    pub driver_grace: Duration,
    /// Bounds on what comes in from other machines, through the gateway and the data port together.
    pub doors: tryworks_transport::Limits,
    /// Bounds on what may wait for drivers and engines that do not read, for all of them together.
    pub backlog: Backlog,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            engine_silence: Duration::from_secs(10),
            driver_silence: Duration::from_secs(10),
            driver_grace: Duration::from_secs(30),
            doors: Default::default(),
            backlog: Backlog::default(),
        }
    }
}

/// How many tasks an engine may hold beyond its slots before the hub knows how long its tasks take.
const PREFETCH: u32 = 2;
/// An engine on which this many different tasks fail within the window gets no tasks for a while.
const EXCLUSION: Exclusion =
    Exclusion { failures: 10, window: Duration::from_secs(60), lasts: Duration::from_secs(60) };

/// What a hub knows of itself when it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name of the cluster.
    pub cluster: String,
    /// How long the hub waits for its peers, and how much may wait for them.
    pub limits: Limits,
    /// The pools that jobs can be in, besides the one without a name.
    pub pools: Vec<Pool>,
    /// The hub's machine and process.
    pub host: HostInfo,
    /// The hashes of what its data port already has.
    pub programs: BTreeSet<[u8; 32]>,
    /// Session secrets are derived from it: no other process may know it, and each hub has its own.
    pub seed: [u8; 32],
}

/// A hub.
///
/// ```
/// use tryworks_hub::journal::{Numbers, Recovered};
/// use tryworks_hub::state::{Hub, Order, Setup};
/// use tryworks_protocol::{Hello, HostInfo, Purpose};
/// use tryworks_scheduler::Time;
/// use tryworks_transport::PeerId;
///
/// let setup = Setup {
///     cluster: "test".into(), limits: Default::default(), pools: vec![], host: HostInfo::default(),
///     programs: Default::default(), seed: [7; 32],
/// };
/// let mut hub = Hub::new(setup, Recovered::nothing(), Time(0), 1_700_000_000_000_000);
/// let purpose = Purpose::Drive { again: None, program: Default::default() };
/// let hello = Hello { version: "0.1".into(), host: HostInfo::default(), purpose };
/// hub.hear_client(Time(1), PeerId::from(1), &hello.to_bytes().unwrap());
/// let out = hub.outgoing(Time(1));
/// assert!(out.orders.iter().any(|order| matches!(order, Order::Note(_))), "the session is noted");
/// assert_eq!(out.to_clients.len(), 1, "the driver is welcome");
/// ```
pub struct Hub {
    pub(crate) setup: Setup,
    pub(crate) epoch: u64,
    /// Jobs and sessions with smaller numbers are from earlier hubs.
    pub(crate) first: (JobId, SessionId),
    pub(crate) now: Time,
    /// What the system's clock showed at time zero, in microseconds since 1970.
    zero: u64,
    pub(crate) scheduler: Scheduler<Error>,
    pub(crate) events: Vec<Event<Error>>,
    /// When the scheduler wants ticks. It asks for each only once, so an early tick must not remove a later one.
    wakes: BTreeSet<Time>,
    pub(crate) numbers: Numbers,
    pub(crate) sessions: Sessions,
    pub(crate) engines: Engines,
    pub(crate) jobs: Jobs,
    pub(crate) names: Names,
    pub(crate) launches: Launches,
    pub(crate) known: Known,
    pub(crate) recent: Recent,
    /// Output of tasks on its way to drivers.
    pub(crate) under_way: UnderWay,
    /// The hashes of what is at the data port.
    pub(crate) programs: BTreeSet<[u8; 32]>,
    /// Something at the data port has become unused since the last tidying.
    pub(crate) untidy: bool,
    /// The address of the data port.
    data_address: Option<String>,
    pub(crate) out: Outbox,
    /// Why the journal cannot be written; `None` while it can be.
    trouble: Option<Error>,
}

impl Hub {
    /// A hub that knows only what its journal `recovered`. `micros` is the system's clock, in microseconds since 1970.
    #[must_use]
    pub fn new(setup: Setup, recovered: Recovered, now: Time, micros: u64) -> Self {
        use crate::journal::Counter::{Jobs as OfJobs, Launches as OfLaunches, Sessions as OfSessions};
        let numbers = recovered.numbers.clone();
        let first = (JobId(numbers.used(OfJobs) + 1), SessionId(numbers.used(OfSessions) as u32 + 1));
        let config = Config { prefetch: PREFETCH, launched: numbers.used(OfLaunches), exclusion: Some(EXCLUSION) };
        let pools = setup.pools.iter();
        let events = pools.map(|pool| Event::PoolDefined { pool: pool.name.clone(), spec: pool.spec }).collect();
        let mut hub = Hub {
            epoch: recovered.epoch,
            first,
            now,
            zero: 0,
            scheduler: Scheduler::new(config),
            events,
            wakes: BTreeSet::new(),
            numbers,
            sessions: Sessions::default(),
            engines: Engines::default(),
            jobs: Jobs::default(),
            names: Names::default(),
            launches: Launches::default(),
            known: Known::default(),
            recent: Recent::default(),
            under_way: UnderWay::default(),
            programs: setup.programs.clone(),
            untidy: false,
            data_address: None,
            out: Outbox::default(),
            trouble: None,
            setup,
        };
        hub.set_clock(micros);
        hub.recover(recovered);
        hub
    }

    /// Sets the address at which other machines fetch programs.
    pub fn gives_at(&mut self, address: String) {
        self.data_address = Some(address);
    }

    /// The numbers that were given out.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// When the state next wants a [`tick`](Hub::tick), besides the regular ones.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        self.wakes.first().copied()
    }

    /// Sets the time. It never goes back, whatever the shell says.
    pub(crate) fn at(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn set_clock(&mut self, micros: u64) {
        self.zero = micros.saturating_sub(self.now.0 / 1000);
    }

    /// Microseconds since 1970.
    pub(crate) fn clock(&self) -> u64 {
        self.zero + self.now.0 / 1000
    }

    /// Hands in a message of a driver or an administrator.
    pub fn hear_client(&mut self, now: Time, peer: PeerId, bytes: &[u8]) {
        self.at(now);
        self.client_says_bytes(peer, bytes);
    }

    /// The connection of a driver or an administrator ended.
    pub fn client_gone(&mut self, now: Time, peer: PeerId) {
        self.at(now);
        self.lose_client(peer);
    }

    /// A driver or an administrator was cut off because it read nothing while `waiting` bytes waited for it.
    pub fn client_cut_off(&mut self, now: Time, peer: PeerId, waiting: usize) {
        let who = self.client_name(peer);
        self.out.log(Level::Warning, format!("{who} was cut off: it read nothing, and {waiting} bytes waited for it"));
        self.client_gone(now, peer);
    }

    /// Hands in a message of an engine.
    pub fn hear_engine(&mut self, now: Time, peer: PeerId, bytes: &[u8]) {
        self.at(now);
        self.engine_says_bytes(peer, bytes);
    }

    /// The connection of an engine ended.
    pub fn engine_gone(&mut self, now: Time, peer: PeerId, why: &str) {
        self.at(now);
        if let Some(id) = self.engines.by_peer.get(&peer) {
            self.lose_engine(*id, why);
        }
    }

    /// Hands in the outcome of an order.
    pub fn order_done(&mut self, now: Time, outcome: OrderOutcome) {
        self.at(now);
        self.hear(outcome);
    }

    /// Does what is due at this time. `micros` is the system's clock, in microseconds since 1970.
    pub fn tick(&mut self, now: Time, micros: u64) {
        self.at(now);
        self.set_clock(micros);
        self.look_round();
    }

    /// The hub is stopping: tells the drivers.
    pub fn say_goodbye(&mut self, now: Time) {
        self.at(now);
        self.settle();
        self.end_jobs();
    }

    /// Handles everything that was handed in, and takes the messages and orders that leave the hub.
    pub fn outgoing(&mut self, now: Time) -> Outgoing {
        self.at(now);
        self.settle();
        self.tell_of_cancelled();
        self.leaving()
    }
}
