//! Hubs that are met, lost and met again: what is said again, what is gone, and how long one is waited for.

use super::Session;
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::ids::SessionId;
use tryworks_base::{Error, Result};
use tryworks_protocol::driver::{FromDriver, Welcome};
use tryworks_scheduler::Time;

/// How often the hub should be told that the driver is there.
pub const BEAT: Duration = Duration::from_secs(1);

/// Whether there is a hub.
pub(super) enum Link {
    /// None was met yet. It is looked for since then.
    New(Time),
    Met,
    /// The last one was lost, then, and why.
    Lost(Time, String),
}

/// Why a hub was not met.
#[derive(Clone, Debug)]
pub enum Unmet {
    /// It is not to be had, and may be in a moment.
    ForNow(Error),
    /// It would answer the same again.
    ForGood(Error),
}

impl Session {
    /// What a hello to the hub of this cluster says of the session: its number and what proves that it is one's own.
    #[must_use]
    pub fn again(&self, cluster: &str) -> Option<(SessionId, [u8; 16])> {
        (self.id != SessionId(0) && self.cluster == cluster).then_some((self.id, self.secret))
    }

    /// The hub of this cluster has answered the hello. If it asked for the program, it has it at its data port by now.
    pub fn welcomed(&mut self, cluster: &str, welcome: &Welcome) {
        let again = self.again(cluster);
        if self.id != SessionId(0) && again.is_none_or(|(session, _)| session != welcome.session) {
            self.given_up(again.is_none());
        }
        self.link = Link::Met;
        self.cluster = cluster.into();
        // A new hub has none of what the old one was sent.
        let anew = self.epoch != welcome.epoch;
        (self.id, self.secret, self.epoch) = (welcome.session, welcome.secret, welcome.epoch);
        self.hub.clone_from(&welcome.host);
        // What was said into a link that is gone is said again by what is held and submitted again.
        self.heard.clear();
        self.received.clear();
        self.outbox.clear();
        if welcome.send_program {
            self.outbox.push(FromDriver::ProgramSent);
        }
        if again.is_some() {
            self.outbox.push(self.holds());
        }
        self.outbox.extend(self.given.values().cloned().map(FromDriver::Give));
        if anew {
            self.arrived.clear();
            self.cached.clear();
        }
        // A code that was said into a link that is gone may be nowhere, though its job is not open any more.
        self.sent.clone_from(&self.arrived);
        // Those that have ended are not submitted again.
        let open = self.jobs.values().filter(|job| job.end.is_none());
        self.sent.extend(open.flat_map(|job| job.exchanges.iter().copied()));
        self.outbox.extend(self.jobs.iter().flat_map(|(ticket, job)| job.again(*ticket)));
    }

    /// All that the hub is to hold on to.
    fn holds(&self) -> FromDriver {
        let exchanges = self.sent.iter().chain(&self.made).copied();
        let exchanges = exchanges.chain(self.jobs.values().flat_map(|job| job.exchanges.iter().copied()));
        let exchanges: BTreeSet<_> = exchanges.map(|exchange| self.id.global(exchange)).collect();
        FromDriver::Holds {
            tickets: self.jobs.keys().copied().collect(),
            outputs: exchanges.into_iter().collect(),
            caches: self.cached.keys().map(|cache| self.id.global(*cache)).collect(),
        }
    }

    /// The hub has ended the session, or it is of `another` cluster: its jobs are gone, and what they made.
    fn given_up(&mut self, another: bool) {
        let error = match another {
            true => Error::cluster("the cluster was started anew, and does not know this job", "run it again"),
            false => Error::cluster(
                "the hub had no word of this program for too long, and has ended its jobs",
                "run it again; `--driver-grace` of the hub says how long it waits",
            ),
        };
        for job in self.jobs.values_mut().filter(|job| job.end.is_none() && (another || !job.is_detached())) {
            job.end = Some(Err(error.clone()));
        }
        self.sent.clear();
        self.arrived.clear();
        self.made.clear();
        self.cached.clear();
    }

    /// The connection to the hub ended.
    pub fn link_lost(&mut self, now: Time, why: &str) {
        if let Link::Met = self.link {
            self.link = Link::Lost(now, why.into());
        }
    }

    /// A hub was looked for and not met.
    ///
    /// # Errors
    /// Why it is not to be looked for again: patience is over, or it would answer a program that it has never met the same
    /// again. Then every job fails with that.
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
                let what = format!("the hub was lost ({why}), and did not come back: {error}");
                Error::cluster(what, "start it again")
            }
        };
        self.broken = Some(error.clone());
        for job in self.jobs.values_mut().filter(|job| job.end.is_none()) {
            job.end = Some(Err(error.clone()));
        }
        Err(error)
    }

    /// Says that the driver is there. To be called every [`BEAT`] while there is a hub.
    pub fn beat(&mut self) {
        self.outbox.push(FromDriver::Beat);
    }
}
