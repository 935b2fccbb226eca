//! The progress bar of the terminal: shown for jobs that take a while, on the standard error output.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tryworks_runtime::Runtime;
use tryworks_runtime::screen::Screen;

const EVERY: Duration = Duration::from_millis(100);

/// Shows how far the latest job is, until it is dropped.
pub(crate) struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// A bar, if the standard error output is a terminal.
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
            // A job that is over within one look needs no bar.
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && line.look() {}
            line.end();
        };
        let thread = std::thread::Builder::new().name("tryworks-progress".into()).spawn(watch).ok()?;
        Some(Bar { end: Some(end), thread: Some(thread) })
    }
}

/// The line of the terminal where the bar is.
struct Line {
    /// It may end while it is watched.
    runtime: Weak<dyn Runtime>,
    drawn: Mutex<Drawn>,
}

struct Drawn {
    bar: ProgressBar,
    /// Counts jobs that were over.
    jobs_over: u64,
    /// It is not shown any more.
    ended: bool,
}

impl Line {
    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the present state; false when the runtime is gone.
    fn look(&self) -> bool {
        let jobs_over = self.drawn().jobs_over;
        // Whoever has the runtime's lock may print, and wait for the line.
        let Some(runtime) = self.runtime.upgrade() else { return false };
        let mut active = runtime.active();
        drop(runtime);
        let drawn = self.drawn();
        // A job that was over in between is not shown again: its driver prints on that line.
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
