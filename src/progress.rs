//! The progress bar: shown on standard error, if that is a terminal, for jobs that take a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tryworks_runtime::Runtime;
use tryworks_runtime::screen::Screen;

const EVERY: Duration = Duration::from_millis(100);

/// Shows the progress of the latest job, until this is dropped.
pub(crate) struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Starts a bar, if standard error is a terminal.
    pub(crate) fn show(runtime: &Arc<dyn Runtime>) -> Option<Self> {
        if !stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} partitions {elapsed}") {
            bar.set_style(style);
        }
        let line =
            Line { runtime: Arc::downgrade(runtime), drawn: Mutex::new(Drawn { bar, jobs_over: 0, ended: false }) };
        let line = Arc::new(line);
        runtime.show_on(line.clone());
        let (end, ended) = channel();
        let watch = move || {
            // A job that ends between two looks gets no bar.
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && line.look() {}
            line.end();
        };
        let thread = std::thread::Builder::new().name("tryworks-progress".into()).spawn(watch).ok()?;
        Some(Bar { end: Some(end), thread: Some(thread) })
    }
}

/// The bar's line on the terminal.
struct Line {
    /// Weak, because the bar must not keep the runtime alive.
    runtime: Weak<dyn Runtime>,
    drawn: Mutex<Drawn>,
}

struct Drawn {
    bar: ProgressBar,
    /// How many jobs have ended.
    jobs_over: u64,
    /// Whether the bar is gone for good.
    ended: bool,
}

impl Line {
    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the current progress. Returns false if the runtime is gone.
    fn look(&self) -> bool {
        let jobs_over = self.drawn().jobs_over;
        // `drawn` must not be locked while `active` takes the runtime's lock: a thread with that lock may print, and so
        // wait for `drawn`.
        let Some(runtime) = self.runtime.upgrade() else { return false };
        let mut active = runtime.active();
        drop(runtime);
        let drawn = self.drawn();
        // If a job has ended in between, it must not be shown again, because the program may print on that line now.
        if drawn.ended || drawn.jobs_over != jobs_over {
            return true;
        }
        let bar = &drawn.bar;
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

    fn end(&self) {
        let mut drawn = self.drawn();
        drawn.ended = true;
        drawn.bar.finish_and_clear();
    }
}

impl Screen for Line {
    fn job_over(&self) {
        self.drawn().jobs_over += 1;
        self.look();
    }

    fn aside(&self, print: &mut dyn FnMut()) {
        self.drawn().bar.suspend(print);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
