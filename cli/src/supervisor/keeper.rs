//! Keeps one process of a cluster running.

use super::part::Part;
use super::pause::Pause;
use crate::human;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A process ended that nobody here had asked to.
pub struct Note {
    /// Which.
    pub name: String,
    /// How, in words.
    pub how: String,
    /// By itself and without a failure: somebody else asked it to, such as the hub an engine that is drained.
    pub good: bool,
}

/// Starts a process, and starts it again when it dies, until `stop` is true. Who ends well is not started again.
pub async fn keep(part: Part, mut stop: watch::Receiver<bool>, notes: mpsc::UnboundedSender<Note>) {
    let mut pause = Pause::new();
    let name = &part.name;
    loop {
        let begun = Instant::now();
        let (how, good) = match part.spawn() {
            Err(error) => (format!("cannot be started: {error}"), false),
            Ok(mut child) => {
                info!("{name} is process {}", child.id().unwrap_or_default());
                tokio::select! {
                    ended = child.wait() => match ended {
                        Ok(status) => (status.to_string(), status.success()),
                        Err(error) => (error.to_string(), false),
                    },
                    () = stopped(&mut stop) => return end(child, name).await,
                }
            }
        };
        // Nobody listens any more once all is being stopped.
        let _ = notes.send(Note { name: name.clone(), how: how.clone(), good });
        if good {
            info!("{name} ended as it was asked to");
            return;
        }
        let pause = pause.after(begun.elapsed());
        warn!("{name} died ({how}); it is started again in {}", human::time(pause));
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // That the other end is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Asks a process to end, and kills it with all of its group if it does not do so in time.
async fn end(mut child: Child, name: &str) {
    // Its number stays its own until it is waited for.
    let pid = |child: &Child| child.id().and_then(|pid| Pid::from_raw(pid as i32));
    if let Some(pid) = pid(&child) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_ok() {
        return;
    }
    warn!("{name} has not ended in {}, and is killed", human::time(GRACE));
    if let Some(pid) = pid(&child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait().await;
}
