//! Keeps one process of a cluster running.

use super::part::Part;
use super::pause::Pause;
use crate::human;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Reports that a process ended although the supervisor had not asked it to.
pub struct Note {
    /// The name of the process.
    pub name: String,
    /// How it ended, in words.
    pub how: String,
    /// It ended by itself and without a failure: another process had asked it to, as the hub asks an engine that is
    /// drained.
    pub good: bool,
}

/// How a process ended.
enum Ended {
    /// It was asked to end, with all others.
    Stopped,
    /// It ended by itself: how, and whether successfully.
    Itself { how: String, good: bool },
}

/// Starts a process, and starts it again when it dies, until `stop` is true. A process that ends successfully is not
/// started again.
pub async fn keep(part: Part, mut stop: watch::Receiver<bool>, notes: mpsc::UnboundedSender<Note>) {
    let mut pause = Pause::new();
    let part = Arc::new(part);
    let name = part.name.clone();
    loop {
        let begun = Instant::now();
        let (how, good) = match guarded(tend(part.clone(), stop.clone())).await {
            Ended::Stopped => return,
            Ended::Itself { how, good } => (how, good),
        };
        // While everything is being stopped, nothing listens any more.
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

/// A panic in the code that watches a process is a bug in Tryworks. It must not end the watching. The process ends with
/// its handle.
async fn guarded(tending: impl Future<Output = Ended> + Send + 'static) -> Ended {
    tokio::spawn(tending).await.unwrap_or_else(|panic| {
        error!("the code that watches a process has failed, which is a bug in Tryworks: {panic}");
        Ended::Itself { how: format!("killed, since the code that watched it failed: {panic}"), good: false }
    })
}

/// Starts a process and watches it until it ends.
async fn tend(part: Arc<Part>, mut stop: watch::Receiver<bool>) -> Ended {
    let mut child = match part.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::Itself { how: format!("cannot be started: {error}"), good: false },
    };
    info!("{} is process {}", part.name, child.id().unwrap_or_default());
    tokio::select! {
        ended = child.wait() => match ended {
            Ok(status) => Ended::Itself { how: status.to_string(), good: status.success() },
            Err(error) => Ended::Itself { how: error.to_string(), good: false },
        },
        how = part.hangs() => {
            warn!("{} hangs: {how}; it is killed", part.name);
            kill(&mut child).await;
            Ended::Itself { how, good: false }
        }
        () = stopped(&mut stop) => {
            end(child, &part.name).await;
            Ended::Stopped
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // If the other end is gone, that means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The number stays reserved until the child is waited for.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| Pid::from_raw(pid as i32))
}

/// Asks a process to end, and kills it with its whole process group if it does not end in time.
async fn end(mut child: Child, name: &str) {
    if let Some(pid) = pid(&child) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        warn!("{name} has not ended in {}, and is killed", human::time(GRACE));
        kill(&mut child).await;
    }
}

async fn kill(child: &mut Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_who_looks_after_a_process_counts_as_its_death() {
        let ended = guarded(async { panic!("this panic is part of a test") }).await;
        assert!(matches!(ended, Ended::Itself { how, good: false } if how.contains("part of a test")));
    }
}
