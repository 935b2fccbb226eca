//! Notices about cancelled jobs: jobs that are cancelled at nearly the same time share one notice to their driver.

use super::Hub;
use std::time::Duration;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::driver::ToDriver;
use tryworks_scheduler::{Cancelled, Time};

/// The least time between two such notices to one driver.
const GATHER: Duration = Duration::from_secs(1);

/// The cancelled jobs that a driver's next notice reports.
#[derive(Default)]
pub(crate) struct CancelledJobs {
    /// When the driver last got such a notice.
    notified: Option<Time>,
    /// The latest of these jobs, and their number.
    last: Option<JobId>,
    jobs: u64,
    /// How many of their partitions were done, were stopped on engines, and had not been given out.
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
    /// Notes that a job was cancelled, for the next notice to each of its drivers.
    pub(crate) fn note_cancelled(&mut self, job: JobId, report: &[Cancelled]) {
        // A job without partitions to compute needs no notice.
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

    /// Sends the notices that are due.
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
