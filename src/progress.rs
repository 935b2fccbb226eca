//! The progress bar of the terminal: shown for jobs that take a while, on the standard error output.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tryworks_engine::local::Local;

const EVERY: Duration = Duration::from_millis(100);

/// Shows how far the latest job is, until it is dropped.
pub(crate) struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// A bar, if the standard error output is a terminal.
    pub(crate) fn show(local: &Arc<Local>) -> Option<Self> {
        if !stderr().is_terminal() {
            return None;
        }
        let (end, ended) = channel();
        let local = Arc::downgrade(local);
        let watch = move || {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            let form = "{msg} {wide_bar} {pos}/{len} partitions {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            // A job that is over within one look needs no bar.
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && look(&local, &bar) {}
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("tryworks-progress".into()).spawn(watch).ok()?;
        Some(Bar { end: Some(end), thread: Some(thread) })
    }
}

/// Shows the present state; false when the runtime is gone.
fn look(local: &Weak<Local>, bar: &ProgressBar) -> bool {
    let Some(local) = local.upgrade() else { return false };
    match local.active().pop() {
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
