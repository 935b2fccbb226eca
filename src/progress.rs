//! The progress bar of the terminal: shown for jobs that take a while, on the standard error output.

use crate::context::Runtime;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tryworks_core::runner::Progress;
use tryworks_engine::client::Cluster;
use tryworks_engine::local::Local;

const EVERY: Duration = Duration::from_millis(100);

/// Shows how far the latest job is, until it is dropped.
pub(crate) struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// A bar, if the standard error output is a terminal.
    pub(crate) fn show(runtime: &Runtime) -> Option<Self> {
        if !stderr().is_terminal() {
            return None;
        }
        let (end, ended) = channel();
        let runtime = Watched::of(runtime);
        let watch = move || {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            let form = "{msg} {wide_bar} {pos}/{len} partitions {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            // A job that is over within one look needs no bar.
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && look(&runtime, &bar) {}
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("tryworks-progress".into()).spawn(watch).ok()?;
        Some(Bar { end: Some(end), thread: Some(thread) })
    }
}

/// A runtime that may end while it is watched.
enum Watched {
    Local(Weak<Local>),
    Cluster(Weak<Cluster>),
}

impl Watched {
    fn of(runtime: &Runtime) -> Self {
        match runtime {
            Runtime::Local(local) => Watched::Local(Arc::downgrade(local)),
            Runtime::Cluster(cluster) => Watched::Cluster(Arc::downgrade(cluster)),
        }
    }

    /// The jobs that have not ended; `None` when the runtime is gone.
    fn active(&self) -> Option<Vec<(String, Progress)>> {
        Some(match self {
            Watched::Local(local) => local.upgrade()?.active(),
            Watched::Cluster(cluster) => cluster.upgrade()?.active(),
        })
    }
}

/// Shows the present state; false when the runtime is gone.
fn look(runtime: &Watched, bar: &ProgressBar) -> bool {
    let Some(mut active) = runtime.active() else { return false };
    match active.pop() {
        Some((label, progress)) => {
            if bar.is_hidden() {
                bar.reset();
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_message(label);
            bar.set_length(progress.partitions);
            bar.set_position(progress.partitions_done);
        }
        None if !bar.is_hidden() => {
            bar.finish_and_clear();
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        None => {}
    }
    true
}

impl Drop for Bar {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
