//! A context's connection to a cluster: it plans on the driver, has the hub run jobs, and survives a lost connection.

use super::job::ClusterJob;
use super::output::Printer;
use super::session::{Driver, program};
use super::spool::Spool;
use super::state::{Found, Session, StageCode, Work};
use crate::Runtime;
use crate::caller::Caller;
use crate::execute::{OpenedStage, at_the_call};
use crate::job_spec::stage_spec;
use crate::screen::{Screen, Shown};
use crate::shielded::Shielded;
use crate::worker;
use bytes::Bytes;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;
use tryworks_base::ids::{CacheId, ExchangeId, JobId, SessionId};
use tryworks_base::lock::{Held, Lock, none_held};
use tryworks_base::time::Clock;
use tryworks_base::{Action, Error, Progress, Result, Shipment};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner, Sought, Tie};
use tryworks_planner::{Facts, Plan, PlannedStage, plan};
use tryworks_protocol::driver as protocol;
use tryworks_protocol::engine::CodeBytes;
use tryworks_scheduler::{JobSpec, Limits, Partitions, Speculation};
use tryworks_transport::{Connection, DataClient, DataLimits, chunks};

/// How a driver uses a cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection file of drivers.
    pub connection: PathBuf,
    /// The most bytes of results that a job may bring to the driver.
    pub max_result_bytes: u64,
    /// How many times in all a failing task is tried.
    pub max_attempts: u32,
    /// The pool of its jobs; empty for the default pool.
    pub pool: String,
    /// When a slow task gets a second attempt elsewhere, if ever.
    pub speculation: Option<Speculation>,
    /// How long a job waits while there is no engine, and the driver while there is no hub.
    pub patience: Duration,
    /// Which variables of this process's environment workers get besides [those that they always
    /// get](tryworks_protocol::environment::ALWAYS). A name that ends in `*` stands for all names with that beginning.
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
    pub(super) state: Lock<Session>,
    /// How to reach the hub's data port.
    pub(super) port: Lock<Option<Port>>,
    /// Notified when something about a job has arrived.
    pub(super) news: Condvar,
    /// Notified when there is something to send, or the driver stops.
    pub(super) outgoing: Notify,
    pub(super) screen: Arc<Shown>,
    /// Output of tasks that is not printed yet.
    pub(super) spool: Arc<Spool>,
}

/// How to reach the hub's data port.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) client: DataClient,
    pub(super) address: String,
}

impl Port {
    /// The port that a connection file names.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let credentials = connection.credentials().ok()?;
        let client = DataClient::new(credentials, DataLimits::default());
        Some(Port { client, address: connection.data.clone() })
    }
}

struct Known<'a>(&'a Session);

impl Facts for Known<'_> {
    fn made(&self, exchange: ExchangeId) -> bool {
        self.0.is_made(exchange)
    }

    fn cached(&self, cache: CacheId, partitions: u32) -> bool {
        self.0.kept(cache).is_some_and(|kept| kept >= partitions)
    }
}

impl Shared {
    pub(super) fn lock(&self) -> Held<'_, Session> {
        self.state.lock()
    }

    /// Calls `what`, which leaves messages for the hub, and has them sent soon.
    pub(super) fn say<T>(&self, what: impl FnOnce(&mut Session) -> T) -> T {
        let done = what(&mut self.lock());
        self.outgoing.notify_one();
        done
    }
}

impl Cluster {
    /// Connects to the hub and begins a session. A hub that does not answer may be restarting, so this tries for as
    /// long as the settings' patience.
    ///
    /// # Errors
    /// If the connection file cannot be used, the hub cannot be reached, or it refuses.
    pub fn connect(settings: Settings) -> Result<Self> {
        let connection = Connection::read(&settings.connection);
        let advice = "is the cluster running? `tryworks cluster list` shows those of this machine";
        let connection = connection.map_err(|error| Error::cluster(error, advice))?;
        let clock = Clock::begin();
        let state = Session::new(settings.patience, clock.now());
        let program = program(&settings.send_env)?;
        let shared = Arc::new(Shared {
            settings,
            state: Lock::new(state),
            port: Lock::new(Port::of(&connection)),
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
            runtime.block_on(Driver { shared: inside, clock, connection, program, printer }.run(ready));
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
    /// Plans a request and submits it, with the codes that the hub does not have.
    pub(super) fn submit(&self, request: &JobRequest, wanted: Partitions) -> Result<(u64, Plan)> {
        loop {
            let (session, plan) = self.plan(&request.node)?;
            // This encodes the user's values, which may take long, so no lock is held.
            let codes = match &request.tie {
                Tie::Attached(_) => Vec::new(),
                _ => self.packed(request, &plan)?,
            };
            let mut state = self.usable()?;
            // The plan names exchanges and caches of a session. If the session has changed meanwhile, plan again.
            if state.id() != session {
                continue;
            }
            let ticket = match &request.tie {
                Tie::Bound => state.submit(self.work(session, request, &plan, wanted, codes, None))?,
                Tie::Detached(name) => {
                    state.submit(self.work(session, request, &plan, wanted, codes, Some(name.clone())))?
                }
                Tie::Attached(job) => {
                    let (action, token) = (request.action.clone(), request.token.clone());
                    state.attach(&label(request), JobId(*job), action, token, wanted)?
                }
            };
            drop(state);
            self.outgoing.notify_one();
            return Ok((ticket, plan));
        }
    }

    /// The state, unless no job can run any longer.
    pub(super) fn usable(&self) -> Result<Held<'_, Session>> {
        let state = self.lock();
        state.usable().map(|()| state)
    }

    fn plan(&self, node: &Arc<Node>) -> Result<(SessionId, Plan)> {
        let state = self.usable()?;
        Ok((state.id(), plan(node, &Known(&state))?))
    }

    /// A plan in the form in which it is submitted.
    fn work(
        &self,
        session: SessionId,
        request: &JobRequest,
        plan: &Plan,
        wanted: Partitions,
        codes: Vec<StageCode>,
        detached: Option<String>,
    ) -> Work {
        let cached = |(at, stage): (u32, &PlannedStage)| {
            let caches = stage.steps.iter().filter_map(|step| step.node.cache.as_ref());
            caches.map(|cache| (at, session.cache(cache.id))).collect::<Vec<_>>()
        };
        let caches = (0u32..).zip(&plan.stages).flat_map(cached).collect();
        let name = |exchange| session.output(exchange);
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
            wanted,
            limits,
            pool: self.settings.pool.clone(),
            program: 0,
            delivered: 0,
        };
        Work { detached, action: request.action.clone(), token: request.token.clone(), spec, codes, caches }
    }
}

fn label(request: &JobRequest) -> String {
    format!("{} at {}", request.op.name, request.op.site)
}

/// The largest code that goes in a message. A larger one goes through the hub's data port, so that neither the hub nor
/// its links hold it in memory.
const CODE_BYTES: usize = 1 << 20;

impl Shared {
    /// The codes of all stages of a plan. Large ones that the hub does not have are put to its data port.
    fn packed(&self, request: &JobRequest, plan: &Plan) -> Result<Vec<StageCode>> {
        let checks_rows = self.settings.checks_rows;
        let pack = |(at, stage): (u32, &PlannedStage)| {
            let code = match &stage.exchange {
                Some(exchange) => OpenedStage {
                    stage: Shielded::new(exchange.stage.clone()),
                    exchange: Some(exchange.id),
                    op: stage.reader.unwrap_or(request.op),
                    checks_rows,
                },
                None => {
                    let stage = Shielded::new(request.stage.clone());
                    OpenedStage { stage, exchange: None, op: request.op, checks_rows }
                }
            };
            let exchange = code.exchange;
            let bytes = worker::pack(&code).map_err(|error| at_the_call(error, code.op))?;
            if bytes.len() <= CODE_BYTES {
                return Ok(StageCode { at, exchange, bytes: CodeBytes::Here(bytes) });
            }
            let (id, len) = (*blake3::hash(&bytes).as_bytes(), bytes.len() as u64);
            let known = exchange.is_some_and(|exchange| self.lock().is_sent(exchange));
            if !known || request.tie != Tie::Bound {
                let what = format!("what `{}` at {} captures", code.op.name, code.op.site);
                let bytes = Bytes::from(bytes);
                self.put(&what, id, len, || Ok(chunks(Cursor::new(bytes.clone()))))?;
            }
            Ok(StageCode { at, exchange, bytes: CodeBytes::AtHub { id, bytes: len } })
        };
        (0u32..).zip(&plan.stages).map(pack).collect()
    }
}

/// The name of a detached job that this driver is about to submit, or has found.
struct HeldSeek {
    ticket: u64,
    shared: Arc<Shared>,
}

impl Drop for HeldSeek {
    fn drop(&mut self) {
        self.shared.say(|state| state.close(self.ticket));
    }
}

impl Runner for Cluster {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        self.caller.admit(job.op)?;
        let (ticket, plan) = self.shared.submit(&job, Partitions::from(job.partitions.clone()))?;
        let is_bound = job.tie == Tie::Bound;
        let job = ClusterJob::new(ticket, job, plan, self.shared.clone());
        if !is_bound {
            // Its name may be that of another job.
            job.accepted()?;
        }
        Ok(Arc::new(job))
    }

    fn seek(&self, tie: &Tie, action: &Action) -> Result<Sought> {
        let by = match tie {
            Tie::Bound => {
                return Err(Error::Bug("a job that ends with its program is nowhere to be looked for".into()));
            }
            Tie::Detached(name) => protocol::Sought::Name(name.clone()),
            Tie::Attached(job) => protocol::Sought::Number(JobId(*job)),
        };
        let ticket = self.shared.usable()?.seek(by, action.clone())?;
        self.shared.outgoing.notify_one();
        let held = Box::new(HeldSeek { ticket, shared: self.shared.clone() });
        none_held("looking for a detached job");
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = state.found(ticket) {
                let (Found { token, is_known }, cluster) = (found?, state.cluster().into());
                return Ok(Sought { token, is_known, cluster, held });
            }
            state = state.wait(&self.shared.news);
        }
    }

    fn checks_rows(&self) -> bool {
        self.shared.settings.checks_rows
    }

    fn sends_stages(&self) -> bool {
        true
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

    fn release(&self, what: Releasable) {
        // A forked process must not release what its parent still holds.
        if self.caller.is_forked() {
            return;
        }
        let known = match what {
            Releasable::Exchange(id) => self.shared.lock().release_exchange(id),
            Releasable::Cache(id) => self.shared.lock().release_cache(id),
        };
        if known {
            self.shared.outgoing.notify_one();
        }
    }
}

impl Runtime for Cluster {
    fn active(&self) -> Vec<(String, Progress)> {
        self.shared.lock().active().map(|(label, progress)| (label.to_string(), progress)).collect()
    }

    fn show_on(&self, screen: Arc<dyn Screen>) {
        self.shared.screen.on(screen);
    }

    fn stop(&self) {
        if self.caller.is_forked() {
            return;
        }
        self.shared.lock().stop();
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
