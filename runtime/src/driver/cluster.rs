//! A context's way to a cluster: plans on the driver, has jobs run by the hub, and survives a lost connection.

use super::job::{Claim, ClusterJob, JobState};
use super::output::Printer;
use super::spool::Spool;
use crate::Runtime;
use crate::caller::Caller;
use crate::driver::session::{Driver, program};
use crate::execute::{Code, at_the_call};
use crate::job_spec::stage_spec;
use crate::screen::{Screen, Shown};
use crate::worker;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;
use tryworks_base::ids::{JobId, OutputId, SessionId};
use tryworks_base::lock::{Held, Lock};
use tryworks_base::{Error, Progress, Result, Shipment};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, Kept, PlanForm, Runner, Tie};
use tryworks_planner::{Facts, Plan, PlannedStage, plan};
use tryworks_protocol::driver::{FromDriver, GivenFile, NewJob};
use tryworks_protocol::engine::CodeBytes;
use tryworks_scheduler::{JobSpec, Limits, Partitions, Speculation};
use tryworks_transport::{Connection, DataClient, DataLimits, chunks};

/// How a cluster is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection file of drivers.
    pub connection: PathBuf,
    /// The most bytes of results that a job may bring to the driver.
    pub max_result_bytes: u64,
    /// How often a task that fails is tried in all.
    pub max_attempts: u32,
    /// The pool that its jobs are in; empty for the one that is always there.
    pub pool: String,
    /// When a task that takes long gets a second attempt elsewhere, if ever.
    pub speculation: Option<Speculation>,
    /// How long a job waits while there is no engine, and a driver while there is no hub.
    pub patience: Duration,
    /// Which variables of this process's environment workers get besides [those that they always
    /// get](tryworks_protocol::environment::ALWAYS): names, or their beginnings with `*` behind.
    pub send_env: Vec<String>,
    /// Whether tasks check every row that they hand over.
    pub checks_rows: bool,
}

/// A cluster, as a driver uses it.
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    thread: Lock<Option<JoinHandle<()>>>,
    caller: Caller,
}

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) state: Lock<State>,
    /// Told when something of a job has arrived.
    pub(super) news: Condvar,
    /// Told when there is something to send, or to end.
    pub(super) outgoing: Notify,
    pub(super) screen: Arc<Shown>,
    /// What tasks wrote, and is not printed yet.
    pub(super) spool: Arc<Spool>,
}

/// How the hub's data port is reached.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) client: DataClient,
    pub(super) address: String,
}

impl Port {
    /// The one that a connection file names.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let credentials = connection.credentials().ok()?;
        let client = DataClient::new(credentials, DataLimits::default());
        Some(Port { client, address: connection.data.clone() })
    }
}

pub(super) struct State {
    pub(super) port: Option<Port>,
    /// Which cluster the session is of.
    pub(super) cluster: String,
    pub(super) session: SessionId,
    pub(super) secret: [u8; 16],
    /// Which hub it was that was reached last.
    pub(super) epoch: u64,
    next_ticket: u64,
    pub(super) jobs: BTreeMap<u64, JobState>,
    /// Exchanges whose code the hub has.
    pub(super) sent: HashSet<u64>,
    /// Exchanges that were made whole once.
    pub(super) made: HashSet<u64>,
    /// How many partitions of caches are kept.
    pub(super) cached: HashMap<u64, u32>,
    /// Files that were given along, by their hashes.
    pub(super) given: BTreeMap<[u8; 32], GivenFile>,
    /// The hub's machine.
    pub(super) hub: String,
    pub(super) outbox: Vec<FromDriver>,
    pub(super) stopped: bool,
    /// Why no job can run any more.
    pub(super) broken: Option<Error>,
}

impl State {
    /// All that the hub is to hold on to.
    pub(super) fn holds(&self) -> FromDriver {
        let exchanges = self.sent.iter().chain(&self.made).copied();
        let exchanges = exchanges.chain(self.jobs.values().flat_map(|job| job.exchanges.iter().copied()));
        let exchanges: BTreeSet<_> = exchanges.map(|exchange| self.session.global(exchange)).collect();
        FromDriver::Holds {
            tickets: self.jobs.keys().copied().collect(),
            outputs: exchanges.into_iter().collect(),
            caches: self.cached.keys().map(|cache| self.session.global(*cache)).collect(),
        }
    }

    /// A job has ended. One that was refused has left nothing with the hub: the next one that needs its codes brings them again.
    pub(super) fn ended(&mut self, ticket: u64, end: Result<()>) {
        let State { jobs, made, sent, .. } = self;
        let Some(job) = jobs.get_mut(&ticket) else { return };
        match &end {
            Ok(()) => made.extend(job.exchanges.iter().copied()),
            Err(_) if job.id.is_none() => sent.retain(|exchange| !job.brought.contains(exchange)),
            Err(_) => {}
        }
        job.end = Some(end);
    }

    /// The hub has ended the session, or it is of `another` cluster: its jobs are gone, and what they made.
    pub(super) fn given_up(&mut self, another: bool) {
        let error = match another {
            true => Error::cluster("the cluster was started anew, and does not know this job", "run it again"),
            false => Error::cluster(
                "the hub had no word of this program for too long, and has ended its jobs",
                "run it again; `--driver-grace` of the hub says how long it waits",
            ),
        };
        for job in self.jobs.values_mut().filter(|job| job.end.is_none() && (another || !job.is_detached())) {
            job.end = Some(Err(error.clone()));
        }
        self.sent.clear();
        self.made.clear();
        self.cached.clear();
    }
}

struct Known<'a>(&'a State);

impl Facts for Known<'_> {
    fn made(&self, exchange: u64) -> bool {
        self.0.made.contains(&exchange)
    }

    fn cached(&self, cache: u64, partitions: u32) -> bool {
        self.0.cached.get(&cache).is_some_and(|kept| *kept >= partitions)
    }
}

impl Shared {
    pub(super) fn lock(&self) -> Held<'_, State> {
        self.state.lock()
    }

    /// Leaves messages to be sent.
    pub(super) fn send(&self, messages: impl IntoIterator<Item = FromDriver>) {
        self.lock().outbox.extend(messages);
        self.outgoing.notify_one();
    }
}

impl Cluster {
    /// Reaches the hub, and begins a session. A hub that does not answer may be about to be there again: it is tried
    /// for as long as the settings' patience.
    ///
    /// # Errors
    /// If the connection file cannot be used, the hub cannot be reached, or it refuses.
    pub fn connect(settings: Settings) -> Result<Self> {
        let connection = Connection::read(&settings.connection);
        let advice = "is the cluster running? `tryworks cluster list` shows those of this machine";
        let connection = connection.map_err(|error| Error::cluster(error, advice))?;
        let state = State {
            port: Port::of(&connection),
            cluster: String::new(),
            session: SessionId(0),
            secret: [0; 16],
            epoch: 0,
            next_ticket: 1,
            jobs: BTreeMap::new(),
            sent: HashSet::new(),
            made: HashSet::new(),
            cached: HashMap::new(),
            given: BTreeMap::new(),
            hub: String::new(),
            outbox: Vec::new(),
            stopped: false,
            broken: None,
        };
        let program = program(&settings.send_env)?;
        let shared = Arc::new(Shared {
            settings,
            state: Lock::new(state),
            news: Condvar::new(),
            outgoing: Notify::new(),
            screen: Arc::default(),
            spool: Arc::default(),
        });
        let (ready, opened) = std::sync::mpsc::channel();
        let (inside, name) = (shared.clone(), "tryworks-driver".to_string());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(Error::storage("starting", "the driver's thread", &error)))),
            };
            let printer = match Printer::new(inside.screen.clone(), inside.spool.clone()) {
                Ok(printer) => printer,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(Driver { shared: inside, connection, program, printer }.run(ready));
        });
        let thread = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        match opened.recv() {
            Ok(Ok(())) => Ok(Cluster { shared, thread: Lock::new(Some(thread)), caller: Caller::here() }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Bug("the driver's thread ended".into())),
        }
    }
}

impl Shared {
    /// Plans a request and submits it, with all codes that the hub has not got.
    pub(super) fn submit(&self, request: &JobRequest, wanted: Partitions) -> Result<(u64, Plan)> {
        loop {
            let (session, plan) = self.plan(&request.node)?;
            // Values of the user's are encoded, which may take long: nobody waits for it.
            let stages = match &request.tie {
                Tie::Attached(_) => Vec::new(),
                _ => self.packed(request, &plan)?,
            };
            let mut state = self.usable()?;
            // What was planned names exchanges and caches of a session.
            if state.session != session {
                continue;
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let job = match &request.tie {
                Tie::Bound | Tie::Detached(_) => self.new_job(&mut state, ticket, request, &plan, wanted, stages),
                Tie::Attached(job) => {
                    let claim = Claim::Attach { job: JobId(*job), action: request.op.name.to_string() };
                    let job = JobState::new(label(request), claim, wanted, Vec::new(), Progress::default());
                    state.outbox.extend(job.again(ticket));
                    job
                }
            };
            state.jobs.insert(ticket, job);
            drop(state);
            self.outgoing.notify_one();
            return Ok((ticket, plan));
        }
    }

    /// The state, unless no job can run any more.
    pub(super) fn usable(&self) -> Result<Held<'_, State>> {
        let state = self.lock();
        match &state.broken {
            _ if state.stopped => Err(Error::Stopped),
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    fn plan(&self, node: &Arc<Node>) -> Result<(SessionId, Plan)> {
        let state = self.usable()?;
        Ok((state.session, plan(node, &Known(&state))?))
    }

    /// What is known of a job that is submitted now, with the codes that the hub has not got.
    fn new_job(
        &self,
        state: &mut State,
        ticket: u64,
        request: &JobRequest,
        plan: &Plan,
        wanted: Partitions,
        stages: Vec<Packed>,
    ) -> JobState {
        let session = state.session;
        let cached = |(at, stage): (u32, &PlannedStage)| {
            let caches = stage.steps.iter().filter_map(|step| step.node.cache.as_ref());
            caches.map(|cache| (at, session.global(cache.id))).collect::<Vec<_>>()
        };
        let caches = (0u32..).zip(&plan.stages).flat_map(cached).collect();
        let name = |exchange| OutputId(session.global(exchange));
        let limits = Limits {
            max_attempts: self.settings.max_attempts,
            max_result_bytes: self.settings.max_result_bytes,
            no_engine_grace: self.settings.patience,
            speculation: self.settings.speculation,
            ..Limits::default()
        };
        let spec = JobSpec {
            label: label(request),
            stages: plan.stages.iter().map(|stage| stage_spec(stage, name)).collect(),
            wanted: wanted.clone(),
            limits,
            pool: self.settings.pool.clone(),
            program: 0,
            delivered: 0,
        };
        let detached = if let Tie::Detached(name) = &request.tie { Some(name.clone()) } else { None };
        // The journal needs all that a detached job takes.
        let fresh = |packed: &&Packed| {
            detached.is_some() || packed.exchange.is_none_or(|exchange| !state.sent.contains(&exchange))
        };
        let fresh: Vec<_> = stages.iter().filter(fresh).collect();
        let brought = fresh.iter().filter_map(|packed| packed.exchange).collect();
        let fresh = fresh.into_iter().map(|packed| (packed.at, packed.bytes.clone())).collect();
        let exchanges: Vec<_> = stages.iter().filter_map(|packed| packed.exchange).collect();
        let progress = Progress {
            stages: plan.stages.len() as u32,
            partitions: u64::from(spec.wanted.len()),
            ..Progress::default()
        };
        let label = spec.label.clone();
        let new = NewJob { ticket, job: None, detached, spec, codes: fresh, caches };
        let codes = stages.into_iter().map(|packed| (packed.at, packed.bytes)).collect();
        let again = NewJob { codes, ..new.clone() };
        state.sent.extend(exchanges.iter().copied());
        state.outbox.push(FromDriver::Submit(Box::new(new)));
        let mut job = JobState::new(label, Claim::Submit(Box::new(again)), wanted, exchanges, progress);
        job.brought = brought;
        job
    }
}

fn label(request: &JobRequest) -> String {
    format!("{} at {}", request.op.name, request.op.site)
}

/// The code of a stage, as bytes.
struct Packed {
    at: u32,
    exchange: Option<u64>,
    bytes: CodeBytes,
}

/// The code of a stage goes in a message up to here. What is larger goes by the hub's data port, so that neither the hub
/// nor its links hold it in memory.
const CODE_BYTES: usize = 1 << 20;

impl Shared {
    /// The codes of all stages of a plan; large ones that the hub has not got are put to its data port.
    fn packed(&self, request: &JobRequest, plan: &Plan) -> Result<Vec<Packed>> {
        let checks_rows = self.settings.checks_rows;
        let pack = |(at, stage): (u32, &PlannedStage)| {
            let code = match &stage.exchange {
                Some(exchange) => Code {
                    stage: exchange.stage.clone(),
                    exchange: Some(exchange.id),
                    op: stage.reader.unwrap_or(request.op),
                    checks_rows,
                },
                None => Code { stage: request.stage.clone(), exchange: None, op: request.op, checks_rows },
            };
            let exchange = code.exchange;
            let bytes = worker::pack(&code).map_err(|error| at_the_call(error, code.op))?;
            if bytes.len() <= CODE_BYTES {
                return Ok(Packed { at, exchange, bytes: CodeBytes::Here(bytes) });
            }
            let (id, len) = (*blake3::hash(&bytes).as_bytes(), bytes.len() as u64);
            let known = exchange.is_some_and(|exchange| self.lock().sent.contains(&exchange));
            if !known || request.tie != Tie::Bound {
                let what = format!("what `{}` at {} captures", code.op.name, code.op.site);
                let bytes = Bytes::from(bytes);
                self.put(&what, id, len, || Ok(chunks(Cursor::new(bytes.clone()))))?;
            }
            Ok(Packed { at, exchange, bytes: CodeBytes::AtHub { id, bytes: len } })
        };
        (0u32..).zip(&plan.stages).map(pack).collect()
    }
}

impl Runner for Cluster {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        self.caller.admit(job.op)?;
        let (ticket, plan) = self.shared.submit(&job, Partitions::from(job.partitions.clone()))?;
        Ok(Arc::new(ClusterJob::new(ticket, job, plan, self.shared.clone())))
    }

    fn checks_rows(&self) -> bool {
        self.shared.settings.checks_rows
    }

    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
        let plan = plan(node, &Known(&self.shared.lock()))?;
        Ok(match form {
            PlanForm::Text => tryworks_planner::text(&plan),
            PlanForm::Dot => tryworks_planner::dot(&plan),
        })
    }

    fn ship(&self, path: &Path) -> Result<Option<Shipment>> {
        self.give(path).map(Some)
    }

    fn release(&self, what: Kept) {
        // What a forked process lets go of is held by the one that it comes from.
        if self.caller.is_forked() {
            return;
        }
        let mut state = self.shared.lock();
        let session = state.session;
        let (outputs, caches) = match what {
            Kept::Exchange(id) => {
                // What was never sent is nowhere.
                let made = state.made.remove(&id);
                if !state.sent.remove(&id) && !made {
                    return;
                }
                (vec![session.global(id)], Vec::new())
            }
            Kept::Cache(id) => {
                if state.cached.remove(&id).is_none() {
                    return;
                }
                (Vec::new(), vec![session.global(id)])
            }
        };
        state.outbox.push(FromDriver::Release { outputs, caches });
        drop(state);
        self.shared.outgoing.notify_one();
    }
}

impl Runtime for Cluster {
    fn active(&self) -> Vec<(String, Progress)> {
        let state = self.shared.lock();
        let active = state.jobs.values().filter(|job| job.end.is_none());
        active.map(|job| (job.label.clone(), job.progress)).collect()
    }

    fn show_on(&self, screen: Arc<dyn Screen>) {
        self.shared.screen.on(screen);
    }

    fn stop(&self) {
        if self.caller.is_forked() {
            return;
        }
        self.shared.lock().stopped = true;
        self.shared.news.notify_all();
        self.shared.outgoing.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}
