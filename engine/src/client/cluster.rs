//! A context's way to a cluster: plans on the driver, has jobs run by the hub, and survives a lost connection.

use super::dial::dial;
use super::job::{ClusterJob, JobState};
use super::output::Printer;
use crate::execute::Code;
use crate::job_spec::stage_spec;
use crate::protocol::driver::{FromDriver, NewJob, Part, Program, ToDriver, Welcome};
use crate::protocol::{self, Hello, Opening, Purpose};
use crate::scheduler::{JobSpec, Limits, Partitions, Speculation};
use crate::{panics, worker};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tryworks_core::ids::{AttemptId, OutputId, SessionId};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, Kept, PlanForm, Progress, Runner};
use tryworks_core::{Error, Result};
use tryworks_planner::{Facts, Plan, plan};
use tryworks_transport::{Connection, DataClient, DataLimits, LinkReceiver, LinkSender};

/// How often it is tried to reach a hub that is gone.
const KNOCK: Duration = Duration::from_millis(100);
/// How often the hub is told that the driver is there.
const BEAT: Duration = Duration::from_secs(1);
/// How long goodbyes may take.
const FAREWELL: Duration = Duration::from_millis(300);
/// A hub may take so long to answer a hello.
const ANSWER: Duration = Duration::from_secs(10);

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
}

/// A cluster, as a driver uses it.
pub struct Cluster {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    settings: Settings,
    pub(super) data: Option<DataClient>,
    pub(super) state: Mutex<State>,
    /// Told when something of a job has arrived.
    pub(super) news: Condvar,
    /// Told when there is something to send, or to end.
    outgoing: Notify,
}

pub(super) struct State {
    session: SessionId,
    secret: [u8; 16],
    next_ticket: u64,
    pub(super) jobs: BTreeMap<u64, JobState>,
    /// Exchanges whose code the hub has.
    sent: HashSet<u64>,
    /// Exchanges that were made whole once.
    made: HashSet<u64>,
    /// How many partitions of caches are kept.
    cached: HashMap<u64, u32>,
    pub(super) outbox: Vec<FromDriver>,
    pub(super) stopped: bool,
    /// Why no job can run any more.
    broken: Option<Error>,
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
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves messages to be sent.
    pub(super) fn send(&self, messages: impl IntoIterator<Item = FromDriver>) {
        self.lock().outbox.extend(messages);
        self.outgoing.notify_one();
    }
}

impl Cluster {
    /// Reaches the hub, and begins a session.
    ///
    /// # Errors
    /// If the connection file cannot be used, the hub cannot be reached, or it refuses.
    pub fn connect(settings: Settings) -> Result<Self> {
        let connection = Connection::read(&settings.connection);
        let advice = "is the cluster running? `tryworks cluster list` shows those of this machine";
        let connection = connection.map_err(|error| Error::cluster(error, advice))?;
        let data = connection.credentials().ok().map(|credentials| DataClient::new(credentials, DataLimits::default()));
        let state = State {
            session: SessionId(0),
            secret: [0; 16],
            next_ticket: 1,
            jobs: BTreeMap::new(),
            sent: HashSet::new(),
            made: HashSet::new(),
            cached: HashMap::new(),
            outbox: Vec::new(),
            stopped: false,
            broken: None,
        };
        let shared = Arc::new(Shared {
            settings,
            data,
            state: Mutex::new(state),
            news: Condvar::new(),
            outgoing: Notify::new(),
        });
        let program = program()?;
        let (ready, opened) = std::sync::mpsc::channel();
        let (inside, name) = (shared.clone(), "tryworks-driver".to_string());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(Error::storage("starting", "the driver's thread", &error)))),
            };
            runtime.block_on(Driver { shared: inside, connection, program, printer: Printer::default() }.run(ready));
        });
        let thread = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        match opened.recv() {
            Ok(Ok(())) => Ok(Cluster { shared, thread: Mutex::new(Some(thread)) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Bug("the driver's thread ended".into())),
        }
    }

    /// Jobs that have not ended: what each is called and how far it is, the latest last.
    pub fn active(&self) -> Vec<(String, Progress)> {
        let state = self.shared.lock();
        let active = state.jobs.values().filter(|job| job.end.is_none());
        active.map(|job| (job.label.clone(), job.progress)).collect()
    }

    /// Ends the session: jobs that run fail with [`Error::Stopped`], and so does every later call.
    pub fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.news.notify_all();
        self.shared.outgoing.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Plans a request and submits it, with all codes that the hub has not got.
    pub(super) fn submit(
        &self,
        request: &JobRequest,
        wanted: Partitions,
        detached: Option<String>,
    ) -> Result<(u64, Plan)> {
        let mut state = self.lock();
        match &state.broken {
            _ if state.stopped => return Err(Error::Stopped),
            Some(error) => return Err(error.clone()),
            None => {}
        }
        let plan = plan(&request.node, &Known(&state))?;
        let session = state.session;
        let mut codes = Vec::new();
        let mut caches = Vec::new();
        for (at, stage) in (0u32..).zip(&plan.stages) {
            let code = match &stage.exchange {
                Some(exchange) => Code {
                    stage: exchange.stage.clone(),
                    exchange: Some(exchange.id),
                    op: stage.reader.unwrap_or(request.op),
                },
                None => Code { stage: request.stage.clone(), exchange: None, op: request.op },
            };
            codes.push((at, code.exchange, worker::pack(&code)?));
            let cached = stage.steps.iter().filter_map(|step| step.node.cache.as_ref());
            caches.extend(cached.map(|cache| (at, session.global(cache.id))));
        }
        let name = |exchange| OutputId(session.global(exchange));
        let limits = Limits {
            max_attempts: self.settings.max_attempts,
            max_result_bytes: self.settings.max_result_bytes,
            no_engine_grace: self.settings.patience,
            speculation: self.settings.speculation,
            ..Limits::default()
        };
        let spec = JobSpec {
            label: format!("{} at {}", request.op.name, request.op.site),
            stages: plan.stages.iter().map(|stage| stage_spec(stage, name)).collect(),
            wanted,
            limits,
            pool: self.settings.pool.clone(),
            delivered: 0,
        };
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let fresh = codes.iter().filter(|(_, exchange, _)| exchange.is_none_or(|id| !state.sent.contains(&id)));
        let fresh = fresh.map(|(at, _, bytes)| (*at, bytes.clone())).collect();
        let exchanges: Vec<_> = codes.iter().filter_map(|(_, exchange, _)| *exchange).collect();
        let label = spec.label.clone();
        let new = NewJob { ticket, job: None, detached, spec, codes: fresh, caches };
        let mut again = new.clone();
        again.codes = codes.into_iter().map(|(at, _, bytes)| (at, bytes)).collect();
        state.sent.extend(exchanges.iter().copied());
        state.jobs.insert(ticket, JobState::new(label, again, exchanges, plan.stages.len() as u32));
        state.outbox.push(FromDriver::Submit(Box::new(new)));
        drop(state);
        self.outgoing.notify_one();
        Ok((ticket, plan))
    }
}

impl Runner for Cluster {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        if panics::in_task() {
            return Err(panics::nested(job.op));
        }
        let (ticket, plan) = self.shared.submit(&job, Partitions::from(job.partitions.clone()), None)?;
        Ok(Arc::new(ClusterJob::new(ticket, job, plan, self.shared.clone())))
    }

    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
        let plan = plan(node, &Known(&self.shared.lock()))?;
        Ok(match form {
            PlanForm::Text => tryworks_planner::text(&plan),
            PlanForm::Dot => tryworks_planner::dot(&plan),
        })
    }

    fn release(&self, what: Kept) {
        let mut state = self.shared.lock();
        let session = state.session;
        let (outputs, caches) = match what {
            Kept::Exchange(id) => {
                state.made.remove(&id);
                // What was never sent is nowhere.
                if !state.sent.remove(&id) {
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

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// This program, as workers are to run it.
fn program() -> Result<Program> {
    let path = std::env::current_exe().map_err(|error| Error::storage("looking for", "this program", &error))?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Ok(Program {
        id: tryworks_io::program::program_id()?,
        bytes: std::fs::metadata("/proc/self/exe").map_or(0, |file| file.len()),
        path: path.display().to_string(),
        arguments: std::env::args_os().map(text).collect(),
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        directory: std::env::current_dir().map_or_else(|_| "/".into(), |dir| dir.display().to_string()),
    })
}

/// What the driver's own thread has.
struct Driver {
    shared: Arc<Shared>,
    connection: Connection,
    program: Program,
    printer: Printer,
}

struct Link {
    to: LinkSender,
    from: LinkReceiver,
}

impl Driver {
    async fn run(mut self, ready: std::sync::mpsc::Sender<Result<()>>) {
        let mut link = match self.greet().await {
            Ok(link) => {
                let _ = ready.send(Ok(()));
                link
            }
            Err(error) => return drop(ready.send(Err(error))),
        };
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let shared = self.shared.clone();
            let lost = tokio::select! {
                biased;
                message = link.from.recv() => match message {
                    Ok(bytes) => self.hear_all(&mut link, bytes).err(),
                    Err(error) => Some(error.to_string()),
                },
                () = shared.outgoing.notified() => None,
                _ = beat.tick() => {
                    shared.lock().outbox.push(FromDriver::Beat);
                    None
                }
            };
            if let Some(why) = lost {
                match self.reconnect(&why).await {
                    Some(again) => link = again,
                    None => return,
                }
            }
            let (batch, stopped) = {
                let mut state = self.shared.lock();
                (std::mem::take(&mut state.outbox), state.stopped)
            };
            if !batch.is_empty()
                && let Ok(bytes) = protocol::encode(&batch)
            {
                let _ = link.to.send(bytes.into());
            }
            if stopped {
                if let Ok(bytes) = protocol::encode(&[FromDriver::Leave]) {
                    let _ = link.to.send(bytes.into());
                }
                // The hub hangs up when it has heard it.
                let bye = async { while link.from.recv().await.is_ok() {} };
                let _ = tokio::time::timeout(FAREWELL, bye).await;
                self.printer.finish();
                return;
            }
        }
    }

    /// Dials the hub and says hello.
    async fn greet(&self) -> Result<Link> {
        let advice = "is the cluster running? `tryworks cluster list` shows those of this machine";
        let unreachable = |error: tryworks_transport::LinkError| {
            Error::cluster(format!("the cluster `{}` cannot be reached: {error}", self.connection.cluster), advice)
        };
        let (to, mut from) = dial(&self.connection, "drivers.sock").await.map_err(unreachable)?;
        let again = {
            let state = self.shared.lock();
            (state.session != SessionId(0)).then_some((state.session, state.secret))
        };
        let purpose = Purpose::Drive { again, program: self.program.clone() };
        let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: crate::host::here(), purpose };
        to.send(hello.to_bytes()?.into()).map_err(unreachable)?;
        let answer = tokio::time::timeout(ANSWER, from.recv()).await;
        let answer = answer.map_err(|_| Error::cluster("the hub does not answer", advice))?.map_err(unreachable)?;
        let welcome = match protocol::opening::<Welcome>(&answer)? {
            Opening::Welcome(welcome) => welcome,
            Opening::Refused(why) => return Err(Error::cluster(format!("the hub refused: {why}"), "see above")),
        };
        if let Some(warning) = &welcome.warning {
            self.printer.note(warning);
        }
        let mut state = self.shared.lock();
        let begun_anew = again.is_some() && !welcome.known;
        (state.session, state.secret) = (welcome.session, welcome.secret);
        if begun_anew {
            // A new hub has none of what the old one was sent.
            state.sent.clear();
            state.cached.clear();
        }
        // What was said into a link that is gone is said again by what is submitted again.
        state.outbox.clear();
        let again: Vec<_> = state.jobs.values().filter(|job| job.end.is_none()).map(JobState::again).collect();
        let sent: Vec<_> = state.jobs.values().flat_map(|job| job.exchanges.clone()).collect();
        state.sent.extend(sent);
        state.outbox.extend(again.into_iter().map(|job| FromDriver::Submit(Box::new(job))));
        drop(state);
        self.shared.outgoing.notify_one();
        Ok(Link { to, from })
    }

    /// Tries to reach the hub again; `None` when the context was stopped or patience ran out.
    async fn reconnect(&self, why: &str) -> Option<Link> {
        let begun = Instant::now();
        let patience = self.shared.settings.patience;
        loop {
            if self.shared.lock().stopped {
                return None;
            }
            match self.greet().await {
                Ok(link) => return Some(link),
                Err(error) if begun.elapsed() > patience => {
                    let error = Error::cluster(
                        format!("the hub was lost ({why}), and did not come back: {error}"),
                        "start it again",
                    );
                    let mut state = self.shared.lock();
                    state.broken = Some(error.clone());
                    for job in state.jobs.values_mut().filter(|job| job.end.is_none()) {
                        job.end = Some(Err(error.clone()));
                    }
                    drop(state);
                    self.shared.news.notify_all();
                    return None;
                }
                Err(_) => tokio::time::sleep(KNOCK).await,
            }
        }
    }

    fn hear_all(&mut self, link: &mut Link, first: Bytes) -> Result<(), String> {
        let mut next = Some(first);
        while let Some(bytes) = next {
            let batch = protocol::decode::<ToDriver>(&bytes).map_err(|error| error.to_string())?;
            let mut received = Vec::new();
            let shared = self.shared.clone();
            let mut state = shared.lock();
            for message in batch {
                self.hear(&mut state, message, &mut received);
            }
            if !received.is_empty() {
                state.outbox.push(FromDriver::Received { attempts: received });
            }
            drop(state);
            self.shared.news.notify_all();
            next = link.from.ready();
        }
        Ok(())
    }

    fn hear(&mut self, state: &mut State, message: ToDriver, received: &mut Vec<AttemptId>) {
        match message {
            ToDriver::Accepted { ticket, job } => {
                if let Some(state) = state.jobs.get_mut(&ticket) {
                    state.id = Some(job);
                }
            }
            ToDriver::Results { ticket, attempt, parts } => {
                // What is fetched later is said to be received later.
                if parts.iter().all(|(_, part)| matches!(part, Part::Here(_))) {
                    received.push(attempt);
                }
                if let Some(job) = state.jobs.get_mut(&ticket) {
                    job.take_in(attempt, parts);
                }
            }
            ToDriver::Progress { ticket, progress } => {
                if let Some(job) = state.jobs.get_mut(&ticket) {
                    job.progress = progress;
                }
            }
            ToDriver::Ended { ticket, end } => {
                let State { jobs, made, .. } = state;
                if let Some(job) = jobs.get_mut(&ticket) {
                    if end.is_ok() {
                        made.extend(job.exchanges.iter().copied());
                    }
                    job.end = Some(end);
                }
            }
            ToDriver::Cached { cache, partitions } => {
                state.cached.insert(SessionId::split(cache).1, partitions);
            }
            ToDriver::Output(written) => self.printer.output(&written),
            ToDriver::Notice(text) => self.printer.note(&text),
            ToDriver::Answer { .. } => {}
        }
    }
}
