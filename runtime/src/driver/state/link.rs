//! Meeting a hub, losing it and meeting it again: what is sent again, what is lost, and how long to wait.

use super::Session;
use super::job::Job;
use std::time::Duration;
use tryworks_base::ids::SessionId;
use tryworks_base::{Error, Result};
use tryworks_protocol::driver::{FromDriver, Welcome};
use tryworks_scheduler::Time;

/// How often the driver should tell the hub that it is alive.
pub const BEAT: Duration = Duration::from_secs(1);

/// The state of the connection to the hub.
pub(super) enum Link {
    /// No hub was met yet; the driver has looked for one since this time.
    New(Time),
    Met,
    /// The hub was lost at this time, for this reason.
    Lost(Time, String),
}

/// Why an attempt to reach a hub failed.
#[derive(Clone, Debug)]
pub enum Unmet {
    /// The hub cannot be reached now, but another attempt may succeed.
    ForNow(Error),
    /// Another attempt would get the same answer.
    ForGood(Error),
}

impl Session {
    /// What a hello says to the hub of this cluster, to continue the session: its number, and its secret as a proof.
    #[must_use]
    pub fn again(&self, cluster: &str) -> Option<(SessionId, [u8; 16])> {
        (self.id != SessionId(0) && self.cluster == cluster).then_some((self.id, self.secret))
    }

    /// The hub of this cluster has answered the hello. If it asked for the program, the program is at its data port by
    /// now.
    pub fn welcomed(&mut self, cluster: &str, welcome: &Welcome) {
        let again = self.again(cluster);
        if self.id != SessionId(0) && again.is_none_or(|(session, _)| session != welcome.session) {
            self.given_up(again.is_none(), welcome.session);
        }
        self.link = Link::Met;
        self.cluster = cluster.into();
        // A restarted hub has nothing that the driver sent to its predecessor.
        let is_another_hub = self.epoch != welcome.epoch;
        let knows_no_ticket = is_another_hub || again.is_none_or(|(session, _)| session != welcome.session);
        if knows_no_ticket {
            self.jobs.values_mut().filter(|job| job.end.is_some()).for_each(|job| job.unasked = true);
        }
        (self.id, self.secret, self.epoch) = (welcome.session, welcome.secret, welcome.epoch);
        self.hub.clone_from(&welcome.host);
        // Messages on the old connection may be lost. `Holds` and the new submissions replace them.
        self.heard.clear();
        self.received.clear();
        self.outbox.clear();
        if welcome.send_program {
            self.outbox.push(FromDriver::ProgramSent);
        }
        // The hub leaves the jobs of tickets that are not held to whoever collects them.
        let collected = self.collected.iter_mut();
        self.outbox.extend(collected.flat_map(|(ticket, one)| one.again(*ticket, knows_no_ticket)));
        if again.is_some() {
            self.outbox.push(self.holds());
        }
        self.outbox.extend(self.given.values().cloned().map(FromDriver::Give));
        if is_another_hub {
            self.arrived.clear();
            self.cached.clear();
        }
        // A code sent on the old connection may be lost, even if its job is no longer open.
        self.sent.clone_from(&self.arrived);
        // Only the jobs that have not ended are submitted again, with their codes.
        let open = self.jobs.values().filter(|job| job.end.is_none());
        self.sent.extend(open.flat_map(|job| job.exchanges.iter().copied()));
        self.outbox.extend(self.jobs.iter().flat_map(|(ticket, job)| job.again(*ticket)));
        self.outbox.extend(self.seeks.iter().filter_map(|(ticket, seek)| seek.again(*ticket)));
    }

    /// Everything that the hub must continue to hold.
    fn holds(&self) -> FromDriver {
        FromDriver::Holds {
            tickets: self.jobs.keys().chain(self.seeks.keys()).copied().collect(),
            outputs: self.exchanges.iter().map(|exchange| self.id.output(*exchange)).collect(),
            caches: self.caches.iter().map(|cache| self.id.cache(*cache)).collect(),
        }
    }

    /// The hub has ended the session, or belongs to `another` cluster: its jobs and what they made are gone.
    fn given_up(&mut self, another: bool, session: SessionId) {
        let error = match another {
            true => Error::cluster("the cluster was started again and does not know this job", "run it again"),
            false => Error::cluster(
                "the hub heard nothing from this program for too long and has ended its jobs",
                "run it again; `--driver-grace` of the hub says how long it waits",
            ),
        };
        for job in self.jobs.values_mut().filter(|job| job.end.is_none() && (another || !job.is_detached())) {
            job.end = Some(Err(error.clone()));
        }
        if another {
            self.seeks_failed(&error);
            self.collected.clear();
        }
        self.jobs.values_mut().for_each(|job| job.moves_to(session));
        // The next session holds only what the jobs that continue name.
        let open = || self.jobs.values().filter(|job| job.end.is_none());
        self.exchanges = open().flat_map(|job| job.exchanges.iter().copied()).collect();
        self.caches = open().flat_map(Job::caches).collect();
        self.sent.clear();
        self.arrived.clear();
        self.made.clear();
        self.cached.clear();
    }

    /// The connection to the hub was lost.
    pub fn link_lost(&mut self, now: Time, why: &str) {
        if let Link::Met = self.link {
            self.link = Link::Lost(now, why.into());
        }
    }

    /// An attempt to reach a hub failed.
    ///
    /// # Errors
    /// If the driver should not look for a hub any longer. Its patience is over, or this program has never met a hub
    /// and this one would give the same answer again. Then every job fails with this error.
    pub fn unmet(&mut self, now: Time, why: Unmet) -> Result<()> {
        let (for_now, error) = match why {
            Unmet::ForNow(error) => (true, error),
            Unmet::ForGood(error) => (false, error),
        };
        let error = match &self.link {
            Link::New(since) if for_now && now.since(*since) < self.patience => return Ok(()),
            Link::Lost(since, _) if now.since(*since) <= self.patience => return Ok(()),
            Link::New(_) | Link::Met => error,
            Link::Lost(_, why) => {
                let what = format!("the hub was lost ({why}) and did not come back: {error}");
                Error::cluster(what, "start it again")
            }
        };
        self.broken = Some(error.clone());
        for job in self.jobs.values_mut().filter(|job| job.end.is_none()) {
            job.end = Some(Err(error.clone()));
        }
        self.seeks_failed(&error);
        Err(error)
    }

    /// Tells the hub that the driver is alive. Call it every [`BEAT`] while there is a hub.
    pub fn beat(&mut self) {
        self.outbox.push(FromDriver::Beat);
    }
}
