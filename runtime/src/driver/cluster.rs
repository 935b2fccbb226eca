//! A context's connection to a cluster: it plans on the driver, has the hub run jobs, and survives a lost connection.

use super::job::ClusterJob;
use super::output::Printer;
use super::session::{Driver, program};
use super::shared::{Known, Port, Settings, Shared};
use super::state::{Found, Session};
use crate::Runtime;
use crate::caller::Caller;
use crate::panics;
use crate::screen::Screen;
use std::path::Path;
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use tokio::sync::Notify;
use tryworks_base::ids::JobId;
use tryworks_base::lock::{Lock, none_held};
use tryworks_base::time::Clock;
use tryworks_base::{Action, Error, Op, Progress, Result, Shipment};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner, Sought, Tie};
use tryworks_planner::plan;
use tryworks_protocol::driver as protocol;
use tryworks_scheduler::Partitions;
use tryworks_transport::Connection;

/// A cluster, as a driver uses it.
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    thread: Lock<Option<JoinHandle<()>>>,
    caller: Caller,
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
            // The hub refuses it if another job has its name.
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

    fn guard(&self, op: Op, code: &mut dyn FnMut()) -> Result<()> {
        panics::catch_given(op, || {
            code();
            Ok(())
        })
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
