//! Jobs that were cancelled: a driver is told of those that were cancelled together in one line.

use super::Hub;
use std::time::Duration;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::driver::ToDriver;
use tryworks_scheduler::{Cancelled, Time};

/// A driver that was told of cancelled jobs is told of the next ones so much later.
const GATHER: Duration = Duration::from_secs(1);

/// Cancelled jobs of which a driver is still to be told.
#[derive(Default)]
pub(crate) struct CancelledJobs {
    /// When it was told last.
    notified: Option<Time>,
    /// The last of them, and how many there are.
    last: Option<JobId>,
    jobs: u64,
    /// What became of their partitions.
    done: u64,
    stopped: u64,
    not_started: u64,
}

impl CancelledJobs {
    fn add(&mut self, job: JobId, report: &[Cancelled]) {
        let count = |of: fn(&Cancelled) -> u32| report.iter().map(|stage| u64::from(of(stage))).sum::<u64>();
        self.last = Some(job);
        self.jobs += 1;
        self.done += count(|stage| stage.done);
        self.stopped += count(|stage| stage.stopped);
        self.not_started += count(|stage| stage.not_started);
    }

    fn text(&self) -> String {
        let who = match self.last {
            Some(job) if self.jobs == 1 => format!("{job} was cancelled"),
            _ => format!("{} jobs were cancelled", self.jobs),
        };
        format!(
            "{who}: {} partitions were done, {} were on engines and are stopped, {} had not been given out",
            self.done, self.stopped, self.not_started
        )
    }
}

impl Hub {
    /// A job was cancelled: its drivers are told soon.
    pub(crate) fn note_cancelled(&mut self, job: JobId, report: &[Cancelled]) {
        // Of a job that had nothing to do there is nothing to tell.
        if report.iter().all(|stage| stage.done + stage.stopped + stage.not_started == 0) {
            return;
        }
        let drivers = self.jobs.get(&job).map(|job| job.drivers.clone()).unwrap_or_default();
        let drivers: Vec<SessionId> =
            drivers.iter().filter(|driver| !driver.paused).map(|driver| driver.session).collect();
        for id in drivers {
            if let Some(session) = self.sessions.all.get_mut(&id) {
                session.cancelled.add(job, report);
                self.sessions.to_tell.insert(id);
            }
        }
    }

    /// Tells drivers of cancelled jobs, those whose turn it is.
    pub(crate) fn tell_of_cancelled(&mut self) {
        let now = self.now;
        for id in std::mem::take(&mut self.sessions.to_tell) {
            let Some(session) = self.sessions.all.get_mut(&id) else { continue };
            if session.cancelled.notified.is_some_and(|notified| now.since(notified) < GATHER) {
                self.sessions.to_tell.insert(id);
                continue;
            }
            let gathered =
                std::mem::replace(&mut session.cancelled, CancelledJobs { notified: Some(now), ..Default::default() });
            self.tell_driver(id, ToDriver::Notice(gathered.text()));
        }
    }
}
