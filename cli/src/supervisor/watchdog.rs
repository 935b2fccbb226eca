//! The watchdog: whether the hub still answers. A process that does nothing is as bad as one that is gone.

use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::warn;
use tryworks_protocol::admin::Question;
use tryworks_protocol::ask::{Admin, AdminError};

/// The pause between two questions to the hub.
const EVERY: Duration = Duration::from_secs(3);

/// How many questions in a row, and for how long, may stay without an answer. Each is given up after nine seconds; at
/// once while no process listens, as when certificates are renewed.
const QUESTIONS: u32 = 2;
const SILENCE: Duration = Duration::from_secs(15);

/// How long a hub may take until it listens: it reads its journal first, which may be long.
const BEGINNING: Duration = Duration::from_secs(120);

/// Asks a hub that is starting or running for as long as it answers. Then returns what is wrong with it.
pub async fn unanswered(directory: PathBuf) -> String {
    let begun = Instant::now();
    let (mut heard, mut answered) = (begun, false);
    let mut missed = 0;
    loop {
        sleep(EVERY).await;
        let place = directory.clone();
        let asked = tokio::task::spawn_blocking(move || Admin::connect(&place)?.ask(Question::Status)).await;
        let error = match asked {
            // Any answer counts.
            Ok(Ok(_) | Err(AdminError::Refused { .. })) => {
                (heard, answered, missed) = (Instant::now(), true, 0);
                continue;
            }
            Ok(Err(AdminError::Unreachable { .. })) if !answered && begun.elapsed() < BEGINNING => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        missed += 1;
        warn!("the hub does not answer: {}", error.lines().next().unwrap_or_default());
        if missed >= QUESTIONS && heard.elapsed() >= SILENCE {
            return format!("it has not answered for {} s", heard.elapsed().as_secs());
        }
    }
}
