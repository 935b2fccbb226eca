//! Compares what a driver promises its program and the hub with what the driver does.

use super::Bug;
use crate::checkers::Violation;
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::ids::AttemptId;
use tryworks_protocol::driver::{FromDriver, Part, ToDriver};
use tryworks_scheduler::Time;

/// Whether there is a hub, as far as the driver knows.
#[derive(Debug)]
enum Hub {
    NeverMet(Time),
    There(Time),
    Lost(Time),
}

/// The promises of a driver, and what a check of them needs.
#[derive(Debug)]
pub(super) struct Promises {
    patience: Duration,
    hub: Hub,
    /// Jobs that the driver has to ask for in its next messages.
    ask: BTreeSet<u64>,
    /// Launches whose results the driver has to acknowledge in its next messages.
    owes: BTreeSet<AttemptId>,
    /// Launches whose results are being fetched from their engines. The driver acknowledges them after that.
    fetches: BTreeSet<AttemptId>,
    /// The tickets of jobs that ended.
    ended: BTreeSet<u64>,
    /// The next ticket that a planted bug uses.
    made_up: u64,
}

impl Promises {
    pub fn new(patience: Duration, now: Time) -> Self {
        Promises {
            patience,
            hub: Hub::NeverMet(now),
            ask: BTreeSet::new(),
            owes: BTreeSet::new(),
            fetches: BTreeSet::new(),
            ended: BTreeSet::new(),
            made_up: 1_000,
        }
    }

    /// The driver's connection ended.
    pub fn lost(&mut self, now: Time) {
        self.hub = Hub::Lost(now);
        self.ask.clear();
        self.owes.clear();
    }

    /// A hub was met. Returns for how long there was none.
    pub fn met(&mut self, now: Time) -> Duration {
        match std::mem::replace(&mut self.hub, Hub::There(now)) {
            Hub::NeverMet(since) | Hub::Lost(since) => now.since(since),
            Hub::There(_) => Duration::ZERO,
        }
    }

    /// For how long there has been a hub, as far as the driver knows.
    pub fn together(&self, now: Time) -> Duration {
        match self.hub {
            Hub::There(since) => now.since(since),
            Hub::NeverMet(_) | Hub::Lost(_) => Duration::ZERO,
        }
    }

    /// An attempt to reach a hub failed. Patience must end when there was no hub for that long, and not before. A
    /// program that never met a hub does not wait if the answer would stay the same.
    pub fn looked(&self, now: Time, for_good: bool, ended: bool) -> Result<(), Violation> {
        let (over, alone) = match self.hub {
            Hub::NeverMet(since) => (for_good || now.since(since) >= self.patience, now.since(since)),
            Hub::Lost(since) => (now.since(since) > self.patience, now.since(since)),
            Hub::There(_) => (true, Duration::ZERO),
        };
        match (over, ended) {
            (true, true) | (false, false) => Ok(()),
            (true, false) => Err(format!("a patience of {:?} continues after {alone:?}", self.patience)),
            (false, true) => Err(format!("a patience of {:?} ended after {alone:?}", self.patience)),
        }
    }

    /// The driver has to ask for these jobs again. Returns how many they are.
    pub fn asks_again(&mut self, tickets: impl Iterator<Item = u64>) -> u64 {
        self.ask = tickets.collect();
        self.ask.len() as u64
    }

    /// The driver receives a message.
    pub fn hears(&mut self, message: &ToDriver) {
        let ToDriver::Results { attempt, parts, .. } = message else { return };
        if !parts.iter().all(|(_, part)| matches!(part, Part::Here(_))) {
            self.fetches.insert(*attempt);
        }
        if !self.fetches.contains(attempt) {
            self.owes.insert(*attempt);
        }
    }

    /// The driver sends these messages. They must include all that it owes.
    pub fn says(&mut self, batch: &[FromDriver]) -> Result<(), Violation> {
        for message in batch {
            match message {
                FromDriver::Submit(job) => self.ask.retain(|ticket| *ticket != job.ticket),
                FromDriver::Attach { ticket, .. } => self.ask.retain(|asked| asked != ticket),
                FromDriver::Received { attempts } => self.owes.retain(|attempt| !attempts.contains(attempt)),
                _ => {}
            }
        }
        if let Some(ticket) = self.ask.first() {
            return Err(format!(
                "the job of ticket {ticket} has not ended, and the driver does not ask the hub for it again"
            ));
        }
        match self.owes.first() {
            Some(attempt) => Err(format!("the results of {attempt} arrived, and the driver does not acknowledge them")),
            None => Ok(()),
        }
    }

    /// A job ended for its program: with its answer, or an error.
    pub fn ends(&mut self, ticket: u64) -> Result<(), Violation> {
        match self.ended.insert(ticket) {
            true => Ok(()),
            false => Err(format!("the job of ticket {ticket} ended twice")),
        }
    }

    /// Replaces messages of the driver as a planted bug would. Returns whether it did.
    pub fn plant(&mut self, bug: Option<Bug>, batch: &mut Vec<FromDriver>) -> bool {
        let before = batch.len();
        match bug {
            Some(Bug::ForgetResubmission) if !self.ask.is_empty() => {
                let asks = |one: &FromDriver| matches!(one, FromDriver::Submit(job) if self.ask.contains(&job.ticket));
                batch.retain(|one| !asks(one));
            }
            Some(Bug::SubmitTwice) if !self.ask.is_empty() => {
                let asks = |one: &FromDriver| match one {
                    FromDriver::Submit(job) if job.detached.is_none() => Some(job.clone()),
                    _ => None,
                };
                for mut job in batch.iter().filter_map(asks).collect::<Vec<_>>() {
                    self.made_up += 1;
                    (job.ticket, job.job) = (self.made_up, None);
                    batch.push(FromDriver::Submit(job));
                }
            }
            Some(Bug::ForgetCollected) => batch.retain(|one| !matches!(one, FromDriver::Close { .. })),
            Some(Bug::ForgetReceived) => batch.retain(|one| !matches!(one, FromDriver::Received { .. })),
            _ => {}
        }
        batch.len() != before
    }
}
