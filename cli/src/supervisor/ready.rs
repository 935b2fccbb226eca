//! Waits until a cluster that is being started is ready.

use super::Started;
use super::part::log;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::ask::Admin;

/// How long the hub and the engines may take until all are ready.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks.
const EVERY: Duration = Duration::from_millis(20);
/// How many lines of a log are shown.
const LINES: usize = 12;

/// The time by which a cluster that starts now has to be ready.
pub fn limit() -> Instant {
    Instant::now() + LIMIT
}

/// Waits for the connection files.
pub async fn hub(directory: &Path, limit: Instant) -> Result<(), Started> {
    while !["driver.json", "engine.json"].iter().all(|name| directory.join(name).is_file()) {
        pause(limit, || format!("the hub is not ready after {} s", LIMIT.as_secs()), directory, "hub").await?;
    }
    Ok(())
}

/// Waits until the hub reports `engines` engines.
pub async fn engines(directory: &Path, engines: u32, limit: Instant) -> Result<(), Started> {
    loop {
        let place = directory.to_owned();
        let asked = tokio::task::spawn_blocking(move || Admin::connect(&place)?.ask(Question::Status));
        let what = match asked.await {
            Ok(Ok(Answer::Status(status))) if status.engines.len() >= engines as usize => return Ok(()),
            Ok(Ok(Answer::Status(status))) => {
                let s = LIMIT.as_secs();
                format!("after {s} s, {} of {engines} engines have come to the hub", status.engines.len())
            }
            Ok(Ok(other)) => format!("the hub answers {other:.60?}"),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        pause(limit, || what, directory, "hub").await?;
    }
}

async fn pause(limit: Instant, what: impl FnOnce() -> String, directory: &Path, name: &str) -> Result<(), Started> {
    if Instant::now() < limit {
        sleep(EVERY).await;
        return Ok(());
    }
    let advice = format!("see the log of the {name}, which ends like this\n{}", end_of_log(directory, name));
    Err(Started::Failed { what: what(), advice, late: true })
}

/// The last lines of a process's log, indented.
pub fn end_of_log(directory: &Path, name: &str) -> String {
    let text = fs::read_to_string(log(directory, name)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    let last: Vec<String> = last.map(|line| format!("    {line}")).collect();
    if last.is_empty() { "    (nothing was written)".into() } else { last.join("\n") }
}
