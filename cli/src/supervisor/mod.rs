//! The supervisor: starts the hub and the engines of a cluster, restarts them when they die, and stops them.

mod keeper;
mod part;
mod pause;
mod ready;
mod started;
mod watchdog;

use crate::log;
use crate::process::Identity;
use crate::record::Record;
use crate::remover::remove;
use anyhow::Context;
use keeper::{Note, keep};
use part::Part;
use rustix::io::Errno;
pub use started::Started;
use std::fs::File;
use std::future::Future;
use std::io::{Write, stdout};
use std::path::Path;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

/// Watches a cluster from a session of its own. The command that started the supervisor reads the outcome of the start
/// from the supervisor's standard output.
pub fn execute(directory: &Path) -> anyhow::Result<()> {
    match rustix::process::setsid() {
        // A process that leads a process group, as when started by hand, cannot create a session and needs none.
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    log::begin(Some(&part::log(directory, "supervisor")));
    watch(directory, |_, started| {
        serde_json::to_writer(stdout(), started)?;
        stdout().flush()?;
        // The reader waits for the end of the output.
        Ok(rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?)
    })
}

/// Watches a cluster until it is told to stop, then removes its directory. `tell` is called once, with the outcome of
/// the start.
pub fn watch(directory: &Path, tell: impl Fn(&Path, &Started) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut record = Record::read(directory)?.context("there is no supervisor.json: use `tryworks cluster start`")?;
    record.supervisor = Identity::own()?;
    record.write(directory)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (started, told) = runtime.block_on(async {
        let mut cluster = Cluster::new(directory, &record)?;
        let started = cluster.start().await;
        let mut told = Ok(());
        if matches!(started, Started::Ready) {
            told = tell(directory, &started);
            // If the report did not reach the command, no user knows of the cluster. So it ends at once.
            if told.is_ok() {
                cluster.run().await;
            }
        }
        cluster.engines.stop().await;
        cluster.hub.stop().await;
        anyhow::Ok((started, told))
    })?;
    // A question to the hub that is not answered yet is not worth waiting for.
    runtime.shutdown_background();
    remove(directory)?;
    info!("the cluster is stopped");
    if !matches!(started, Started::Ready) {
        tell(directory, &started)?;
    }
    told.and(started.check())
}

/// The processes that the supervisor watches.
struct Cluster<'a> {
    directory: &'a Path,
    record: &'a Record,
    hub: Kept,
    engines: Kept,
    notes: mpsc::UnboundedReceiver<Note>,
    signals: [Signal; 3],
}

impl<'a> Cluster<'a> {
    fn new(directory: &'a Path, record: &'a Record) -> anyhow::Result<Self> {
        let (to_notes, notes) = mpsc::unbounded_channel();
        let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = signals.map(signal);
        let signals = [terminate?, interrupt?, hangup?];
        let (hub, engines) = (Kept::new(to_notes.clone()), Kept::new(to_notes));
        Ok(Cluster { directory, record, hub, engines, notes, signals })
    }

    /// Starts everything. A process that dies before the cluster is ready would most likely die again, so the start
    /// fails.
    async fn start(&mut self) -> Started {
        let Cluster { directory, record, .. } = *self;
        let limit = ready::limit();
        self.hub.keep(Part::hub(directory, record));
        if let Err(failed) = self.until(ready::hub(directory, limit)).await {
            return failed;
        }
        for number in 1..=record.options.engines {
            self.engines.keep(Part::engine(directory, record, number));
        }
        match self.until(ready::engines(directory, record.options.engines, limit)).await {
            Err(failed) => failed,
            Ok(()) => {
                info!("the cluster `{}` runs", record.cluster);
                Started::Ready
            }
        }
    }

    /// Waits for `what`. If a process dies or a signal comes, it stops waiting.
    async fn until(&mut self, what: impl Future<Output = Result<(), Started>>) -> Result<(), Started> {
        tokio::select! {
            done = what => done,
            Some(note) = self.notes.recv() => Err(Started::Failed {
                what: format!("{} died while the cluster was starting ({})", note.name, note.how),
                advice: format!("see its log, which ends like this\n{}", ready::end_of_log(self.directory, &note.name)),
                late: false,
            }),
            () = asked_to_end(&mut self.signals) => Err(Started::Failed {
                what: "a signal ended the cluster while it was starting".into(),
                advice: "start it again".into(),
                late: false,
            }),
        }
    }

    /// Watches until a signal comes, or the hub was asked to end the cluster.
    async fn run(&mut self) {
        loop {
            tokio::select! {
                Some(note) = self.notes.recv() => if note.good && note.name == part::HUB {
                    return;
                },
                () = asked_to_end(&mut self.signals) => return,
            }
        }
    }
}

async fn asked_to_end([terminate, interrupt, hangup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Processes that are stopped together.
struct Kept {
    keepers: JoinSet<()>,
    stop: watch::Sender<bool>,
    notes: mpsc::UnboundedSender<Note>,
}

impl Kept {
    fn new(notes: mpsc::UnboundedSender<Note>) -> Self {
        Kept { keepers: JoinSet::new(), stop: watch::Sender::new(false), notes }
    }

    fn keep(&mut self, part: Part) {
        self.keepers.spawn(keep(part, self.stop.subscribe(), self.notes.clone()));
    }

    /// Ends the processes, and waits until they have ended.
    async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.keepers.join_next().await.is_some() {}
    }
}
