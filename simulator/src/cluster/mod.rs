//! A cluster with the hub's real state, on its real journal in memory, and the real states of engines and drivers.
//! Workers, stores and programs are simulated.
//!
//! A connection delivers messages whole and in order until it is cut, and a cut is not reported to both ends at once.
//! Engines crash and come back: with their blocks after a cut, without them after a crash. Drivers are cut off, or end
//! and are run again. The hub is killed, and loses what its journal had not committed. The journal's disk is slow or
//! full for a while. Tasks compute numbers, as those of the scheduler's world do.
//!
//! ```
//! use tryworks_simulator::cluster::{Options, run};
//! let outcome = run(42, &Options::default()).unwrap();
//! assert_eq!(outcome, run(42, &Options::default()).unwrap(), "a seed is the whole run");
//! ```

mod checks;
mod disk;
mod drivers;
mod engines;
mod faults;
mod hub;
mod network;
mod programs;
mod promises;

use crate::checkers::Violation;
use crate::outcome::outcome;
use crate::rng::Rng;
use crate::workload::Workload;
use checks::Checks;
use disk::Disk;
use drivers::Driver;
use engines::Host;
use faults::Disaster;
use network::Link;
use programs::Fetch;
use std::collections::BTreeMap;
use std::time::Duration;
use tryworks_base::ids::AttemptId;
use tryworks_hub::state::{Hub, OrderOutcome, TICK};
use tryworks_scheduler::Time;
use tryworks_transport::PeerId;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Every job ends within this time after the last fault.
const PATIENCE: u64 = 200 * SECOND;
/// This long after the last job, every trace of the jobs is gone: a driver that ended is given up by then.
const SETTLING: u64 = 60 * SECOND;
/// The system's clock when a run begins. It is far in the future, so that no entry is too old for the journal.
const CLOCK: u64 = 4_000_000_000_000_000;

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Print what happens.
    pub trace: bool,
    /// Plants a bug, to see whether a checker notices.
    pub bug: Option<Bug>,
}

/// A bug to plant around the hub or a driver, one for each checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An engine computes a wrong value.
    WrongValue,
    /// A launch never reaches its engine.
    LoseLaunch,
    /// A result is not sent to its driver.
    LoseResult,
    /// A result is sent again to a driver that has acknowledged it.
    TellAgain,
    /// A driver gets a result from an engine that was given up.
    TellOfGivenUp,
    /// Reserved numbers are not written to the journal.
    KeepNoNumbers,
    /// A restarted hub counts from the beginning.
    RestartCount,
    /// A detached job is reported as written before the journal has it.
    AcceptEarly,
    /// A full disk is reported as one with free space.
    IgnoreFull,
    /// An engine may drop results of a detached job before the journal has them.
    ReceiveEarly,
    /// A restarted hub does not know the jobs from before the restart.
    ForgetJobs,
    /// The hub says that results are lost although their engines are connected.
    SayLost,
    /// A session is given up although its driver is back in time.
    GiveUpEarly,
    /// Blocks that are not needed are not deleted.
    KeepBlocks,
    /// A driver that comes back forgets to ask for its jobs.
    ForgetResubmission,
    /// A driver that comes back asks for its jobs by two numbers.
    SubmitTwice,
    /// A driver gives its program each result twice.
    CountTwice,
    /// A driver does not acknowledge results.
    ForgetReceived,
    /// A driver does not say which jobs it has collected.
    ForgetCollected,
    /// A driver gives up too early.
    LosePatience,
}

impl Bug {
    /// All bugs, each with the message of its checker.
    pub const ALL: [(Bug, &str); 20] = [
        (Bug::WrongValue, "a sequential run gives"),
        (Bug::LoseLaunch, "did not end"),
        (Bug::LoseResult, "its program never got"),
        (Bug::TellAgain, "is sent again"),
        (Bug::TellOfGivenUp, "no engine that the hub listens to has reported"),
        (Bug::KeepNoNumbers, "before it is reserved"),
        (Bug::RestartCount, "was used before"),
        (Bug::AcceptEarly, "is accepted before the journal has it"),
        (Bug::IgnoreFull, "is accepted before the journal has it"),
        (Bug::ReceiveEarly, "may be dropped before the journal has it"),
        (Bug::ForgetJobs, "was accepted, and is lost"),
        (Bug::SayLost, "are lost, but the engines"),
        (Bug::GiveUpEarly, "was given up"),
        (Bug::KeepBlocks, "all jobs are over, but"),
        (Bug::ForgetResubmission, "does not ask the hub for it again"),
        (Bug::SubmitTwice, "runs as two jobs"),
        (Bug::CountTwice, "was given to its program twice"),
        (Bug::ForgetReceived, "does not acknowledge them"),
        (Bug::ForgetCollected, "is collected, but the hub still has it"),
        (Bug::LosePatience, "patience of"),
    ];
}

outcome! {
    /// Messages that the hub heard.
    heard: "messages heard",
    /// Tasks launched.
    launched: "tasks launched",
    /// Jobs that gave their results.
    done: "jobs done",
    /// Jobs that were refused, because the journal could not be written.
    refused: "jobs refused for the journal",
    /// Hubs that were killed.
    hubs_killed: "hubs killed",
    /// Entries and reservations that were lost with them.
    entries_lost: "entries lost with a hub",
    /// Engines that crashed.
    engines_crashed: "engines crashed",
    /// Workers that died.
    workers_died: "workers died",
    /// Connections that were cut.
    cuts: "connections cut",
    /// Messages that were lost by cuts.
    messages_lost: "messages lost",
    /// Messages that the hub heard from engines that it had given up.
    heard_late: "messages of engines that were given up",
    /// Blocks that engines offered to a hub.
    blocks_offered: "blocks offered",
    /// Results that engines offered to a hub.
    results_offered: "results offered",
    /// Reads that failed.
    fetches_failed: "fetches failed",
    /// Drivers that returned to their session.
    came_back: "drivers that came back",
    /// Drivers that were given up.
    given_up: "drivers given up",
    /// Drivers that ended before their jobs, and were run again.
    drivers_ended: "drivers ended",
    /// Jobs that were submitted again.
    resubmitted: "jobs resubmitted",
    /// Detached jobs whose driver ended, and whose results a later run of the driver collected.
    collected: "detached jobs collected by a later run",
    /// Jobs that their programs cancelled.
    cancelled: "jobs cancelled",
    /// Drivers that gave up, since there was no hub.
    patience_ended: "drivers without patience",
    /// Jobs that ended with their session.
    lost_with_session: "jobs lost with a session",
    /// Large results that were fetched from their engines.
    fetched: "large results fetched",
    /// Large results that could not be fetched.
    fetches_lost: "large results that could not be fetched",
    /// Jobs that were planned again because of that.
    replanned: "jobs planned again",
    /// Jobs that failed because of that, and were submitted again.
    results_lost: "jobs lost with large results",
    /// Exchanges that programs released.
    released: "exchanges released",
    /// Drivers that stayed for a while after they had got all that they wanted.
    lingered: "drivers that stayed",
    /// Commits that took long.
    slow_commits: "slow commits",
    /// Commits that failed.
    full_commits: "failed commits",
    /// How many times the planted bug took effect.
    planted: "planted",
}

/// Runs one seed to the end.
///
/// # Errors
/// The promise that was broken.
pub fn run(seed: u64, options: &Options) -> Result<Outcome, Violation> {
    World::new(seed, *options).run()
}

/// Something that happens at its time.
#[derive(Debug)]
enum Happening {
    Tick(u32),
    /// Bytes arrive at the hub.
    ToHub(PeerId, Vec<u8>),
    /// Bytes arrive at a client.
    FromHub(PeerId, Vec<u8>),
    /// An end notices that its connection is gone.
    HubNotices(PeerId),
    ClientNotices(PeerId),
    Dial(usize, u32),
    DialDriver(usize, u32),
    Beat(PeerId),
    Finish(usize, AttemptId, u32),
    EngineTicks(usize, u32),
    WorkerStarts(usize, u32, u64),
    Added(usize, u32, AttemptId),
    Submit(usize, usize),
    Cancel(usize, usize),
    Leave(usize, u32),
    Fetch(Box<Fetch>),
    Commit(u32),
    OrderDone(u32, Box<OrderOutcome>),
    HubStarts,
    Disaster(Disaster),
}

struct World {
    now: Time,
    rng: Rng,
    options: Options,
    agenda: BTreeMap<(Time, u64), Happening>,
    planned: u64,
    workload: Workload,
    hub: Option<Hub>,
    /// When this hub started, and how many hubs started before it.
    began: Time,
    generation: u32,
    disk: Disk,
    peers: u128,
    links: BTreeMap<PeerId, Link>,
    hosts: Vec<Host>,
    drivers: Vec<Driver>,
    /// From here on there are no faults.
    calm: Time,
    /// Whether some results are large, so that they stay with their engines.
    large: bool,
    checks: Checks,
    outcome: Outcome,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let workload = Workload::random(&mut rng, false);
        let hosts =
            (0..rng.within(1, 4)).map(|at| Host::new(at as usize, rng.within(1, 3) as u32, 0, Time(0))).collect();
        let drivers = (0..rng.within(1, 3) as usize).map(|at| {
            let patience = [5, 20, 60, 100][rng.below(4) as usize];
            Driver::new(at, Duration::from_secs(patience), rng.chance(300))
        });
        let drivers = drivers.collect();
        let mut world = World {
            now: Time(0),
            options,
            agenda: BTreeMap::new(),
            planned: 0,
            hub: None,
            began: Time(0),
            generation: 0,
            disk: Disk::new(),
            peers: 0,
            links: BTreeMap::new(),
            hosts,
            drivers,
            large: rng.chance(300),
            calm: Time(0),
            checks: Checks::default(),
            outcome: Outcome::default(),
            workload,
            rng,
        };
        world.plan();
        world
    }

    fn after(&mut self, nanos: u64, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((self.now + Duration::from_nanos(nanos), self.planned), happening);
    }

    /// Plans a happening for some time between these two.
    fn soon(&mut self, low: u64, high: u64, happening: Happening) {
        let nanos = self.rng.within(low, high);
        self.after(nanos, happening);
    }

    fn is_calm(&self) -> bool {
        self.now >= self.calm
    }

    fn run(mut self) -> Result<Outcome, Violation> {
        let mut over: Option<Time> = None;
        while let Some(((now, _), happening)) = self.agenda.pop_first() {
            self.now = now;
            if self.options.trace {
                println!("{now:?} {}", trace(&happening));
            }
            if over.is_none() && self.is_calm() && self.drivers.iter().all(Driver::is_through) {
                over = Some(Time(now.0 + SETTLING));
            }
            match over {
                Some(over) if now > over => {
                    self.nothing_is_left()?;
                    return Ok(self.outcome);
                }
                None if now.0 > self.calm.0 + PATIENCE => {
                    return Err(format!("{} did not end", self.waits_for()));
                }
                _ => {}
            }
            self.happen(happening)?;
        }
        Err("nothing is planned any more".into())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Tick(generation) if generation == self.generation => {
                self.tick();
                self.after(TICK.as_nanos() as u64, Happening::Tick(generation));
                return self.leave();
            }
            Happening::Tick(_) => {}
            Happening::ToHub(peer, bytes) => {
                self.arrives_at_hub(peer, &bytes)?;
                return self.leave();
            }
            Happening::FromHub(peer, bytes) => return self.arrives_at_client(peer, &bytes),
            Happening::HubNotices(peer) => {
                self.hub_notices(peer);
                return self.leave();
            }
            Happening::ClientNotices(peer) => return self.client_notices(peer),
            Happening::Dial(host, life) => self.dial(host, life),
            Happening::DialDriver(driver, life) => return self.dial_driver(driver, life),
            Happening::Beat(peer) => return self.beat(peer),
            Happening::Finish(host, attempt, life) => self.finish(host, attempt, life),
            Happening::EngineTicks(host, life) => self.engine_ticks(host, life),
            Happening::WorkerStarts(host, life, worker) => self.worker_starts(host, life, worker),
            Happening::Added(host, life, attempt) => self.added(host, life, attempt),
            Happening::Submit(driver, job) => return self.submit(driver, job),
            Happening::Cancel(driver, job) => return self.cancel(driver, job),
            Happening::Fetch(fetch) => return self.fetch(&fetch),
            Happening::Leave(driver, life) => return self.leave_at_last(driver, life),
            Happening::Commit(generation) if generation == self.generation => return self.commit(),
            Happening::OrderDone(generation, outcome) if generation == self.generation => {
                let now = self.hub_time();
                if let Some(hub) = &mut self.hub {
                    hub.order_done(now, *outcome);
                }
                return self.leave();
            }
            Happening::Commit(_) | Happening::OrderDone(..) => {}
            Happening::HubStarts => {
                self.start_hub()?;
                return self.leave();
            }
            Happening::Disaster(disaster) => self.strike(disaster),
        }
        Ok(())
    }
}

fn trace(happening: &Happening) -> String {
    match happening {
        Happening::ToHub(peer, bytes) => format!("to the hub from {peer:?}: {}", network::readable(bytes, true)),
        Happening::FromHub(peer, bytes) => format!("from the hub to {peer:?}: {}", network::readable(bytes, false)),
        other => format!("{other:?}"),
    }
}
