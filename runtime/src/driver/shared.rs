//! What the program's own threads and the driver's thread share: the state, the address of the hub's data port, and the
//! code that plans and submits jobs.

use super::spool::Spool;
use super::state::{Session, StageCode, Work};
use crate::execute::{OpenedStage, at_the_call};
use crate::job_spec::stage_spec;
use crate::panics;
use crate::screen::Shown;
use crate::worker;
use bytes::Bytes;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, Condvar};
use std::time::Duration;
use tokio::sync::Notify;
use tryworks_base::Result;
use tryworks_base::ids::{CacheId, ExchangeId, JobId, SessionId};
use tryworks_base::lock::{Held, Lock};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobRequest, Tie};
use tryworks_planner::{Facts, Plan, PlannedStage, plan};
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

/// What a session knows of exchanges and caches, for the planner.
pub(super) struct Known<'a>(pub(super) &'a Session);

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

    /// Calls `what` on the state, and wakes the driver's thread to send the messages that result.
    pub(super) fn say<T>(&self, what: impl FnOnce(&mut Session) -> T) -> T {
        let done = what(&mut self.lock());
        self.outgoing.notify_one();
        done
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
            // The plan names exchanges and caches of a session. If the session has changed since then, the loop plans
            // again.
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
    /// The codes of all stages of a plan. Large codes that the hub does not have are uploaded to its data port.
    fn packed(&self, request: &JobRequest, plan: &Plan) -> Result<Vec<StageCode>> {
        let checks_rows = self.settings.checks_rows;
        let pack = |(at, stage): (u32, &PlannedStage)| {
            let code = OpenedStage::of(stage, request, checks_rows);
            let exchange = code.exchange;
            let bytes =
                panics::catch_given(code.op, || worker::pack(&code)).map_err(|error| at_the_call(error, code.op))?;
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
