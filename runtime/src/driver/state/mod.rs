//! What a driver knows and decides, as a value: its session, its jobs and what the hub holds for it. It reads no clock
//! and no socket. Time and messages are handed in; messages come out.
//!
//! What may be handed in, in the legal order:
//!
//! ```text
//! session = new, { unmet }, met, { link_lost, { unmet }, met }, [ stop ] ;
//! met     = welcomed, { hear | beat } ;
//! job     = ( submit | attach ), { next | cancel | fetched | unfetched | replaced | keep }, close ;
//! save    = seek, { found }, close ;
//! ```
//!
//! Jobs can be submitted once a hub was met, whether or not there is one now. A message about something that is no
//! longer known changes nothing. After each call the shell sends [`Session::messages`] to the hub. What is sent while
//! there is no hub is sent again when the next one is met.

mod collected;
mod job;
mod link;
mod seek;

#[cfg(test)]
mod tests;

pub use job::{Next, StageCode, Work};
pub use link::{BEAT, Unmet};
pub use seek::Found;

use collected::Collected;
use job::{Claim, Job};
use link::Link;
use seek::Seek;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tryworks_base::ids::{AttemptId, CacheId, EngineId, ExchangeId, JobId, SessionId};
use tryworks_base::{Action, Error, Progress, Result};
use tryworks_protocol::driver::{FromDriver, GivenFile, NewJob, ToDriver};
use tryworks_protocol::output::Heard;
use tryworks_scheduler::{Partitions, Time};

/// A driver's session at a hub: it survives a lost connection and a hub that restarts.
///
/// ```
/// use std::time::Duration;
/// use tryworks_base::Action;
/// use tryworks_base::ids::{AttemptId, JobId, SessionId};
/// use tryworks_protocol::driver::{FromDriver, Part, ToDriver, Welcome};
/// use tryworks_runtime::driver::state::{Next, Session};
/// use tryworks_scheduler::Time;
///
/// let mut session = Session::new(Duration::from_secs(30), Time(0));
/// let (secret, host, cluster) = ([7; 16], "here".to_string(), "default".to_string());
/// let (engines, slots, warning, send_program) = (1, 2, None, false);
/// let welcome =
///     Welcome { session: SessionId(1), secret, epoch: 1, send_program, host, cluster, engines, slots, warning };
/// session.welcomed("the id of the cluster", &welcome);
///
/// let action = Action { name: "collect".into(), aspects: Vec::new() };
/// let ticket = session.attach("collect at main.rs:7", JobId(3), action, String::new(), (0..2).into())?;
/// assert!(matches!(session.messages()[..], [FromDriver::Attach { ticket: 1, job: JobId(3), .. }]));
/// let part = (1, Part::Here(b"Ishmael".to_vec()));
/// session.hear(ToDriver::Results { ticket, attempt: AttemptId(1), parts: vec![part] });
/// assert!(matches!(session.next(ticket)?, Next::Part { partition: 1, .. }));
/// assert_eq!(session.next(ticket)?, Next::Wait);
/// # Ok::<(), tryworks_base::Error>(())
/// ```
pub struct Session {
    patience: Duration,
    link: Link,
    /// The id of the session's cluster.
    cluster: String,
    id: SessionId,
    secret: [u8; 16],
    /// The epoch of the hub that was met last.
    epoch: u64,
    /// The hub's machine.
    hub: String,
    next_ticket: u64,
    jobs: BTreeMap<u64, Job>,
    /// Detached jobs that were collected, by their tickets, while the hub may not know it.
    collected: BTreeMap<u64, Collected>,
    /// Detached saves that the driver has asked the hub for, by their tickets.
    seeks: BTreeMap<u64, Seek>,
    /// Exchanges and caches that jobs have named and the program still holds. This hub or the next one may have
    /// something to release for each of them, even if the jobs failed.
    exchanges: BTreeSet<ExchangeId>,
    caches: BTreeSet<CacheId>,
    /// Exchanges whose code was sent to the hub.
    sent: BTreeSet<ExchangeId>,
    /// Those of them whose code has arrived: the hub has accepted a job that makes them.
    arrived: BTreeSet<ExchangeId>,
    /// Exchanges that were completed at least once.
    made: BTreeSet<ExchangeId>,
    /// How many partitions of each cache are in memory.
    cached: BTreeMap<CacheId, u32>,
    /// Files that were given to the hub, by their hashes.
    given: BTreeMap<[u8; 32], GivenFile>,
    outbox: Vec<FromDriver>,
    /// For each output of a worker, the end of what was received and not yet acknowledged.
    heard: BTreeMap<(EngineId, u64, bool), u64>,
    /// Attempts whose results were received and not yet acknowledged.
    received: Vec<AttemptId>,
    stopped: bool,
    /// Why no job can run any longer.
    broken: Option<Error>,
}

impl Session {
    /// A session that has not met a hub. It waits for a lost hub for as long as `patience`.
    #[must_use]
    pub fn new(patience: Duration, now: Time) -> Self {
        Session {
            patience,
            link: Link::New(now),
            cluster: String::new(),
            id: SessionId(0),
            secret: [0; 16],
            epoch: 0,
            hub: String::new(),
            next_ticket: 1,
            jobs: BTreeMap::new(),
            collected: BTreeMap::new(),
            seeks: BTreeMap::new(),
            exchanges: BTreeSet::new(),
            caches: BTreeSet::new(),
            sent: BTreeSet::new(),
            arrived: BTreeSet::new(),
            made: BTreeSet::new(),
            cached: BTreeMap::new(),
            given: BTreeMap::new(),
            outbox: Vec::new(),
            heard: BTreeMap::new(),
            received: Vec::new(),
            stopped: false,
            broken: None,
        }
    }

    /// Its number, from which exchanges and caches get their global names.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The id of the session's cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The machine of the hub that was met last.
    #[must_use]
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// Takes the messages for the hub.
    pub fn messages(&mut self) -> Vec<FromDriver> {
        let mut batch = std::mem::take(&mut self.outbox);
        let heard = std::mem::take(&mut self.heard);
        if !heard.is_empty() {
            let heard = heard.into_iter().map(|((engine, run, stderr), offset)| Heard { engine, run, stderr, offset });
            batch.push(FromDriver::Heard(heard.collect()));
        }
        let attempts = std::mem::take(&mut self.received);
        if !attempts.is_empty() {
            batch.push(FromDriver::Received { attempts });
        }
        batch.extend(self.stopped.then_some(FromDriver::Leave));
        batch
    }

    /// Takes in a message from the hub. The caller prints output before this call, because output comes before the end
    /// of its job.
    pub fn hear(&mut self, message: ToDriver) {
        match message {
            ToDriver::Accepted { ticket, job } => {
                self.collected.retain(|_, collected| !collected.is_known_by(ticket));
                if let Some(known) = self.jobs.get_mut(&ticket) {
                    known.id = Some(job);
                    self.arrived.extend(known.exchanges.iter().copied().filter(|one| self.exchanges.contains(one)));
                }
            }
            ToDriver::Found { ticket, token } => self.answered(ticket, Ok(token)),
            ToDriver::Results { ticket, attempt, parts } => {
                // Results that have to be fetched are acknowledged after the fetch.
                let fetches = self.jobs.get_mut(&ticket).is_some_and(|job| job.take_in(attempt, parts));
                if !fetches {
                    self.received.push(attempt);
                }
            }
            ToDriver::Progress { ticket, progress } => {
                if let Some(job) = self.jobs.get_mut(&ticket) {
                    job.progress = progress;
                }
            }
            ToDriver::Ended { ticket, end } => self.ended(ticket, end),
            ToDriver::Cached { cache, partitions } => {
                if self.caches.contains(&cache.own()) {
                    self.cached.insert(cache.own(), partitions);
                } else {
                    // The program released it while a task still filled it, or while its engine was away.
                    self.outbox.push(FromDriver::Release { outputs: Vec::new(), caches: vec![cache] });
                }
            }
            ToDriver::Output(written) => {
                let Heard { engine, run, stderr, offset } = written.heard();
                let known = self.heard.entry((engine, run, stderr)).or_default();
                *known = offset.max(*known);
            }
            // The shell prints notices, and a driver asks no questions.
            ToDriver::Notice(_) | ToDriver::Answer { .. } => {}
        }
    }

    /// A job has ended. The hub may have no codes of a refused job, so the next job that needs them sends them again.
    fn ended(&mut self, ticket: u64, end: Result<()>) {
        if let Err(error) = &end {
            self.answered(ticket, Err(error.clone()));
        }
        let Session { jobs, exchanges, made, sent, arrived, .. } = self;
        let Some(job) = jobs.get_mut(&ticket) else { return };
        let end = match end {
            // The driver already has all results, and they were lost afterwards.
            Err(Error::Lost { .. }) if job.is_detached() && job.is_whole() => Ok(()),
            end => end,
        };
        match &end {
            Ok(()) => made.extend(job.exchanges.iter().copied().filter(|one| exchanges.contains(one))),
            Err(_) if job.id.is_none() => job.brought.iter().for_each(|exchange| {
                sent.remove(exchange);
                arrived.remove(exchange);
            }),
            Err(_) => {}
        }
        job.end = Some(end);
    }

    /// A message to the hub is too large. If it was to submit a job, that job fails. Returns whether it was.
    pub fn unsaid(&mut self, what: &FromDriver, error: &Error) -> bool {
        let ticket = match what {
            FromDriver::Submit(job) => job.ticket,
            FromDriver::Seek { ticket, .. } | FromDriver::Attach { ticket, .. } => *ticket,
            _ => return false,
        };
        self.ended(ticket, Err(error.clone()));
        true
    }

    /// Stops the session: running jobs fail, and so does every later call.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether the session was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Checks that jobs can run.
    ///
    /// # Errors
    /// If the session was stopped, or its hub was lost for good.
    pub fn usable(&self) -> Result<()> {
        match &self.broken {
            _ if self.stopped => Err(Error::Stopped),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Whether the blocks of an exchange exist, as far as the driver knows.
    #[must_use]
    pub fn is_made(&self, exchange: ExchangeId) -> bool {
        self.made.contains(&exchange)
    }

    /// How many partitions of a cache are in memory, as far as the driver knows.
    #[must_use]
    pub fn kept(&self, cache: CacheId) -> Option<u32> {
        self.cached.get(&cache).copied()
    }

    /// Whether the code of an exchange was sent to the hub.
    #[must_use]
    pub fn is_sent(&self, exchange: ExchangeId) -> bool {
        self.sent.contains(&exchange)
    }

    /// An exchange is no longer used. Returns whether there is a message for the hub.
    pub fn release_exchange(&mut self, exchange: ExchangeId) -> bool {
        self.made.remove(&exchange);
        self.arrived.remove(&exchange);
        self.sent.remove(&exchange);
        // If no job named it, the hub knows nothing of it.
        let known = self.exchanges.remove(&exchange);
        if known {
            let outputs = vec![self.id.output(exchange)];
            self.outbox.push(FromDriver::Release { outputs, caches: Vec::new() });
        }
        known
    }

    /// A cache is no longer used. Returns whether there is a message for the hub.
    pub fn release_cache(&mut self, cache: CacheId) -> bool {
        self.cached.remove(&cache);
        let known = self.caches.remove(&cache);
        if known {
            let caches = vec![self.id.cache(cache)];
            self.outbox.push(FromDriver::Release { outputs: Vec::new(), caches });
        }
        known
    }

    /// Whether a file was already given to the hub.
    #[must_use]
    pub fn is_given(&self, id: &[u8; 32]) -> bool {
        self.given.contains_key(id)
    }

    /// Gives the hub a file. If the hub is on another machine, the file is at its data port by now.
    pub fn give(&mut self, file: GivenFile) {
        self.given.insert(file.id, file.clone());
        self.outbox.push(FromDriver::Give(file));
    }

    /// Submits a job, with the codes that the hub does not have. Returns its ticket.
    ///
    /// # Errors
    /// As [`Session::usable`].
    pub fn submit(&mut self, work: Work) -> Result<u64> {
        self.usable()?;
        let ticket = self.new_ticket();
        let Work { detached, action, token, spec, codes, caches } = work;
        // The journal needs everything that belongs to a detached job.
        let fresh = |code: &&StageCode| {
            detached.is_some() || code.exchange.is_none_or(|exchange| !self.sent.contains(&exchange))
        };
        let fresh: Vec<_> = codes.iter().filter(fresh).collect();
        let brought = fresh.iter().filter_map(|code| code.exchange).collect();
        let fresh = fresh.into_iter().map(|code| (code.at, code.bytes.clone())).collect();
        let exchanges: Vec<_> = codes.iter().filter_map(|code| code.exchange).collect();
        let (label, wanted) = (spec.label.clone(), spec.wanted.clone());
        let progress = Progress {
            stages: spec.stages.len() as u32,
            partitions: u64::from(spec.wanted.len()),
            ..Progress::default()
        };
        let new = NewJob { ticket, job: None, detached, action, token, spec, codes: fresh, caches };
        let codes = codes.into_iter().map(|code| (code.at, code.bytes)).collect();
        let again = NewJob { codes, ..new.clone() };
        self.sent.extend(exchanges.iter().copied());
        self.exchanges.extend(exchanges.iter().copied());
        self.caches.extend(new.caches.iter().map(|(_, cache)| cache.own()));
        self.outbox.push(FromDriver::Submit(Box::new(new)));
        let mut job = Job::new(label, Claim::Submit(Box::new(again)), wanted);
        (job.exchanges, job.brought, job.progress) = (exchanges, brought, progress);
        self.jobs.insert(ticket, job);
        Ok(ticket)
    }

    /// Asks for the results of a detached job by its number. Its action must be `action`. Returns its ticket.
    ///
    /// # Errors
    /// As [`Session::usable`].
    pub fn attach(
        &mut self,
        label: &str,
        job: JobId,
        action: Action,
        token: String,
        wanted: Partitions,
    ) -> Result<u64> {
        self.usable()?;
        let ticket = self.new_ticket();
        let job = Job::new(label.into(), Claim::Attach { job, action, token }, wanted);
        self.outbox.extend(job.again(ticket));
        self.jobs.insert(ticket, job);
        Ok(ticket)
    }

    fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket - 1
    }

    /// Cancels a job.
    pub fn cancel(&mut self, ticket: u64) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.cancelled = true;
        }
        self.outbox.push(FromDriver::Cancel { ticket });
    }

    /// The last handle of a job was dropped.
    pub fn close(&mut self, ticket: u64) {
        if self.seeks.remove(&ticket).is_some() {
            return self.outbox.push(FromDriver::Close { ticket });
        }
        let Some(job) = self.jobs.remove(&ticket) else { return };
        // A detached job is collected only when the program has got all its results.
        if job.is_detached() && !job.spent {
            return self.outbox.push(FromDriver::Detach { ticket });
        }
        let Some(claim) = job.by_number(ticket).filter(|_| job.is_detached()) else {
            return self.outbox.push(FromDriver::Close { ticket });
        };
        let collected = Collected::new(claim, job.unasked, self.next_ticket);
        self.outbox.extend(collected.said(ticket));
        self.collected.insert(ticket, collected);
    }

    /// The number that the hub gave a job.
    #[must_use]
    pub fn number(&self, ticket: u64) -> Option<JobId> {
        self.jobs.get(&ticket)?.id
    }

    /// Whether the hub accepted a job; `None` until it has answered.
    ///
    /// # Errors
    /// Why it refused, or that the session was stopped.
    pub fn accepted(&mut self, ticket: u64) -> Option<Result<()>> {
        if self.stopped {
            return Some(Err(Error::Stopped));
        }
        let job = self.jobs.get_mut(&ticket)?;
        match &job.end {
            _ if job.id.is_some() => Some(Ok(())),
            Some(Err(error)) => {
                job.spent = true;
                Some(Err(error.clone()))
            }
            Some(Ok(())) => Some(Ok(())),
            None => None,
        }
    }

    /// Whether the job itself has failed, and not only this program's access to the cluster.
    #[must_use]
    pub fn has_failed(&self, ticket: u64) -> bool {
        let end = self.jobs.get(&ticket).and_then(|job| job.end.as_ref());
        matches!(end, Some(Err(error)) if !matches!(error, Error::Cluster { .. } | Error::Stopped))
    }

    /// This program could not use the results of a job. If the job is detached, it can be collected again.
    pub fn keep(&mut self, ticket: u64) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.spent = false;
        }
    }

    /// Whether a job has not ended.
    #[must_use]
    pub fn is_open(&self, ticket: u64) -> bool {
        self.jobs.get(&ticket).is_some_and(|job| job.end.is_none())
    }

    /// The progress of a job.
    #[must_use]
    pub fn progress(&self, ticket: u64) -> Progress {
        self.jobs.get(&ticket).map(|job| job.progress).unwrap_or_default()
    }

    /// The jobs that have not ended, with their labels and their progress, the newest last.
    pub fn active(&self) -> impl Iterator<Item = (&str, Progress)> {
        self.jobs.values().filter(|job| job.end.is_none()).map(|job| (&job.label[..], job.progress))
    }
}
