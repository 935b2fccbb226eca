//! The local runtime: the scheduler, with this process's threads as its only engine.

mod host;
mod job;
mod state;
mod worker;

use crate::Runtime;
use crate::caller::{Caller, begin_shared_pool, task_thread};
use crate::event_log::EventLog;
use crate::panics;
use crate::screen::{Screen, Shown};
use host::LocalHost;
use job::LocalJob;
use state::Shared;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use tryworks_base::lock::Lock;
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Op, Progress, Result};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner, Tie, cannot_detach};
use tryworks_store::spill::SpillOptions;

/// The stack of a thread that runs tasks. Unions, zips and caches made in a loop are read recursively. The unused part
/// of a stack takes no memory.
const STACK_BYTES: usize = 64 << 20;

/// The settings of the local runtime.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many tasks run at once, each on a thread of its own.
    pub threads: usize,
    /// The memory budget of the process, in bytes.
    pub memory: u64,
    /// The directory for spill files.
    pub spill_dir: PathBuf,
    /// How spill files are written.
    pub spill: SpillOptions,
    /// The most bytes of results that a job may bring to the driver.
    pub max_result_bytes: u64,
    /// How many times in all a failing task is tried.
    pub max_attempts: u32,
    /// The file for the event log, if there is to be one.
    pub event_log: Option<PathBuf>,
    /// Whether tasks check every row that they hand over.
    pub checks_rows: bool,
}

/// Runs jobs on threads of this process.
pub struct Local {
    shared: Arc<Shared>,
    screen: Arc<Shown>,
    settings: Settings,
    threads: Lock<Vec<JoinHandle<()>>>,
    caller: Caller,
}

impl Local {
    /// A runtime without threads: the first job starts them.
    ///
    /// # Errors
    /// If the event log cannot be created.
    pub fn new(settings: Settings) -> Result<Self> {
        let log = settings.event_log.as_ref().map(EventLog::create).transpose()?;
        let host = LocalHost::new(&settings);
        Ok(Local {
            shared: Shared::new(&settings, Arc::new(host), log),
            screen: Arc::default(),
            settings,
            threads: Lock::default(),
            caller: Caller::here(),
        })
    }

    /// The memory budget, which also counts what was spilled so far.
    pub fn memory(&self) -> &Arc<Memory> {
        self.shared.host.budget()
    }

    fn start_threads(&self) -> Result<()> {
        begin_shared_pool();
        let mut threads = self.threads.lock();
        while threads.len() < self.settings.threads {
            let shared = self.shared.clone();
            let name = task_thread(threads.len());
            let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
            let thread = thread.spawn(move || worker::work(&shared));
            threads.push(thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?);
        }
        Ok(())
    }
}

impl Runner for Local {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        self.caller.admit(job.op)?;
        if job.tie != Tie::Bound {
            return Err(cannot_detach());
        }
        self.start_threads()?;
        let op = job.op;
        let id = self.shared.submit(job)?;
        Ok(Arc::new(LocalJob::new(id, op, self.shared.clone(), self.screen.clone())))
    }

    fn checks_rows(&self) -> bool {
        self.shared.checks_rows()
    }

    fn guard(&self, op: Op, code: &mut dyn FnMut()) -> Result<()> {
        panics::catch_given(op, || {
            code();
            Ok(())
        })
    }

    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
        let plan = self.shared.plan(node)?;
        Ok(match form {
            PlanForm::Text => tryworks_planner::text(&plan),
            PlanForm::Dot => tryworks_planner::dot(&plan),
        })
    }

    fn release(&self, what: Releasable) {
        // A forked process must not release what its parent still holds.
        if !self.caller.is_forked() {
            self.shared.release(what);
        }
    }
}

impl Runtime for Local {
    fn spill_bytes(&self) -> u64 {
        self.shared.host.spill_bytes()
    }

    fn blocks(&self) -> usize {
        self.shared.host.blocks()
    }

    fn active(&self) -> Vec<(String, Progress)> {
        let active = self.shared.active().into_iter();
        active.map(|(id, label)| (label, self.shared.progress(id))).collect()
    }

    fn show_on(&self, screen: Arc<dyn Screen>) {
        self.screen.on(screen);
    }

    fn stop(&self) {
        if self.caller.is_forked() {
            return;
        }
        self.shared.stop();
        let threads = std::mem::take(&mut *self.threads.lock());
        let own = std::thread::current().id();
        for thread in threads {
            // A worker thread itself may drop the last handle.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop();
    }
}
