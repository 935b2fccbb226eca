//! What a driver knows of a job: how to ask the hub for it, which results it has received, and how it ended.

use super::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::ids::{AttemptId, CacheId, ExchangeId, GlobalCacheId, JobId, SessionId};
use tryworks_base::{Action, Error, Progress, Result};
use tryworks_protocol::driver::{FromDriver, NewJob, Part};
use tryworks_protocol::engine::CodeBytes;
use tryworks_scheduler::{JobSpec, Partitions};

/// How often a job may be planned again because something its plan relied on was lost.
pub(super) const PLANS: u32 = 4;

/// A job to submit. The global names in it belong to the session.
#[derive(Clone, Debug)]
pub struct Work {
    /// The name under which the job continues without the driver, if it is detached.
    pub detached: Option<String>,
    /// The action.
    pub action: Action,
    /// Distinguishes the files that it saves from those of other jobs; empty if it saves none.
    pub token: String,
    /// Its stages.
    pub spec: JobSpec,
    /// The codes of all of its stages.
    pub codes: Vec<StageCode>,
    /// Stages that read or make cached partitions, each with the global name of its cache.
    pub caches: Vec<(u32, GlobalCacheId)>,
}

/// The code of a stage.
#[derive(Clone, Debug)]
pub struct StageCode {
    /// The stage's index in its job.
    pub at: u32,
    /// The exchange that the stage writes, or `None` if it gives the result.
    pub exchange: Option<ExchangeId>,
    /// The code, or the hash under which a large one was uploaded to the hub's data port.
    pub bytes: CodeBytes,
}

/// What the thread that waits for a job's results has to do next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// There is no news yet.
    Wait,
    /// A result, or where to fetch it.
    Part {
        /// The launch that made it.
        attempt: AttemptId,
        /// Its partition.
        partition: u32,
        /// The result. After fetching it, call [`Session::fetched`] if that succeeded, or else [`Session::unfetched`].
        part: Part,
    },
    /// Something that the plan relied on was lost: plan these partitions again. The new job
    /// [`replaces`](Session::replaced) this one.
    Replan(Partitions),
    /// All results were given out.
    End,
}

/// A job.
pub(super) struct Job {
    pub(super) label: String,
    pub(super) id: Option<JobId>,
    /// How to ask the hub for the job.
    claim: Claim,
    /// The partitions whose results are wanted.
    wanted: Partitions,
    /// The job was cancelled.
    pub(super) cancelled: bool,
    /// All results, or the error, were given out.
    pub(super) spent: bool,
    /// The job had ended before the driver met this hub or got this session. So this hub was never asked for it.
    pub(super) unasked: bool,
    /// How many times something that a plan relied on was lost, over all plans of the job.
    lost: u32,
    /// The exchanges that the job makes.
    pub(super) exchanges: Vec<ExchangeId>,
    /// The exchanges whose codes this job sent to the hub.
    pub(super) brought: Vec<ExchangeId>,
    pub(super) progress: Progress,
    results: VecDeque<(AttemptId, u32, Part)>,
    received: BTreeSet<u32>,
    /// The partitions of each launch that are still to be fetched from its engine.
    fetching: BTreeMap<AttemptId, BTreeSet<u32>>,
    /// Results of a detached job that could not be fetched, and why, until the hub sends them again.
    unfetched: BTreeMap<u32, Error>,
    /// The new places of results that were recomputed while the driver was still fetching them from the old ones.
    moved: BTreeMap<u32, (AttemptId, Part)>,
    pub(super) end: Option<Result<()>>,
}

/// How a driver asks the hub for a job.
pub(super) enum Claim {
    /// By submitting all of it, to a hub that may know nothing of it.
    Submit(Box<NewJob>),
    /// By its number, with the action and the token that the job must have.
    Attach { job: JobId, action: Action, token: String },
}

impl Job {
    pub(super) fn new(label: String, claim: Claim, wanted: Partitions) -> Self {
        Job {
            label,
            id: None,
            claim,
            wanted,
            cancelled: false,
            spent: false,
            unasked: false,
            lost: 0,
            exchanges: Vec::new(),
            brought: Vec::new(),
            progress: Progress::default(),
            results: VecDeque::new(),
            received: BTreeSet::new(),
            fetching: BTreeMap::new(),
            unfetched: BTreeMap::new(),
            moved: BTreeMap::new(),
            end: None,
        }
    }

    /// The messages that ask for the job, at first and after a reconnection. They name the results that are still
    /// missing.
    pub(super) fn again(&self, ticket: u64) -> Vec<FromDriver> {
        if self.end.is_some() {
            return Vec::new();
        }
        let cancel = self.cancelled.then_some(FromDriver::Cancel { ticket });
        let ask = match &self.claim {
            Claim::Submit(whole) => {
                let mut job = whole.clone();
                job.job = self.id;
                // A detached job is sent whole: the hub has all of its results, and must know which of them the job
                // wants.
                if job.detached.is_none() {
                    job.spec.wanted = self.asked_for();
                    job.spec.delivered = self.wanted.len() - job.spec.wanted.len();
                }
                FromDriver::Submit(job)
            }
            Claim::Attach { .. } => return self.by_number(ticket).into_iter().chain(cancel).collect(),
        };
        [ask].into_iter().chain(cancel).collect()
    }

    /// The message that asks for a detached job by its number, if the hub gave it one.
    pub(super) fn by_number(&self, ticket: u64) -> Option<FromDriver> {
        let (job, action, token) = match &self.claim {
            Claim::Submit(new) => (self.id?, &new.action, &new.token),
            Claim::Attach { job, action, token } => (*job, action, token),
        };
        Some(FromDriver::Attach { ticket, job, action: action.clone(), token: token.clone() })
    }

    /// The driver has another session. A detached job that the hub has accepted names exchanges of the earlier session,
    /// so the driver asks for it by its number from now on. Any other job now names exchanges of this session.
    pub(super) fn moves_to(&mut self, session: SessionId) {
        let Claim::Submit(new) = &mut self.claim else { return };
        if let (Some(job), Some(_)) = (self.id, &new.detached) {
            let (action, token) = (new.action.clone(), new.token.clone());
            self.claim = Claim::Attach { job, action, token };
            // This driver sends no codes for it. Plans of this session cannot read the exchanges that it makes.
            self.exchanges.clear();
            self.brought.clear();
            return;
        }
        for output in new.spec.stages.iter_mut().filter_map(|stage| stage.output.as_mut()) {
            *output = session.output(output.exchange());
        }
        for (_, cache) in &mut new.caches {
            *cache = session.cache(cache.own());
        }
    }

    /// The caches of this session that the job names.
    pub(super) fn caches(&self) -> impl Iterator<Item = CacheId> {
        let caches = match &self.claim {
            Claim::Submit(new) => &new.caches[..],
            Claim::Attach { .. } => &[],
        };
        caches.iter().map(|(_, cache)| cache.own())
    }

    /// Whether the job continues without this program.
    pub(super) fn is_detached(&self) -> bool {
        match &self.claim {
            Claim::Submit(job) => job.detached.is_some(),
            Claim::Attach { .. } => true,
        }
    }

    /// The partitions to ask the hub for. Results that are still to be fetched are among them, because engines release
    /// results that no driver asks for.
    fn asked_for(&self) -> Partitions {
        let fetching: BTreeSet<_> = self.fetching.values().flatten().collect();
        let here = |partition: &u32| self.received.contains(partition) && !fetching.contains(partition);
        self.wanted.iter().filter(|partition| !here(partition)).collect()
    }

    /// The partitions that have not been received.
    fn missing(&self) -> Partitions {
        self.wanted.iter().filter(|partition| !self.received.contains(partition)).collect()
    }

    /// Whether the job ended for a reason that a new plan removes. Either blocks that the job does not make itself were
    /// lost, or results were lost before they were fetched.
    fn needs_new_plan(&self) -> bool {
        match &self.end {
            // The hub keeps the plan and all results of a detached job.
            _ if self.is_detached() => false,
            Some(Err(Error::Fetch { exchange, .. })) => !self.exchanges.contains(exchange),
            Some(Ok(())) => self.results.is_empty() && !self.missing().is_empty(),
            _ => false,
        }
    }

    /// Whether all results are here, and none of them is still to be fetched.
    pub(super) fn is_whole(&self) -> bool {
        self.missing().is_empty() && self.fetching.is_empty()
    }

    /// Takes in results, each partition once. Returns whether any result of this launch has to be fetched.
    pub(super) fn take_in(&mut self, attempt: AttemptId, parts: Vec<(u32, Part)>) -> bool {
        for (partition, part) in parts {
            let large = matches!(part, Part::At { .. });
            self.unfetched.remove(&partition);
            if self.received.insert(partition) {
                self.results.push_back((attempt, partition, part));
            } else if large && let Some(known) = self.results.iter_mut().find(|known| known.1 == partition) {
                // The result was recomputed. The engine with the first result may have deleted it, because it reached a
                // restarted hub too late.
                let (before, ..) = std::mem::replace(known, (attempt, partition, part));
                self.fetched(before, partition);
            } else {
                // The hub sends the new place of a detached job's result only once.
                let mut fetching = self.fetching.iter().filter(|(_, left)| left.contains(&partition));
                if self.is_detached() && fetching.next().is_some_and(|(before, _)| *before != attempt) {
                    self.moved.insert(partition, (attempt, part));
                }
                continue;
            }
            if large {
                self.fetching.entry(attempt).or_default().insert(partition);
            }
        }
        self.fetching.contains_key(&attempt)
    }

    /// A result need not be fetched any more. Returns whether it was the last one of its launch.
    fn fetched(&mut self, attempt: AttemptId, partition: u32) -> bool {
        let Some(left) = self.fetching.get_mut(&attempt) else { return false };
        left.remove(&partition);
        let last = left.is_empty();
        if last {
            self.fetching.remove(&attempt);
        }
        last
    }
}

impl Session {
    /// What the thread that waits for a job's results has to do next.
    ///
    /// # Errors
    /// Why the job failed, or that the session was stopped.
    pub fn next(&mut self, ticket: u64) -> Result<Next> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let job = self.jobs.get_mut(&ticket).ok_or_else(|| Error::Bug(format!("there is no job {ticket}")))?;
        if job.lost < PLANS && job.needs_new_plan() {
            job.lost += 1;
            return Ok(Next::Replan(job.missing()));
        }
        if let Some(Err(error)) = &job.end {
            job.spent = true;
            return Err(error.clone());
        }
        if let Some((attempt, partition, part)) = job.results.pop_front() {
            return Ok(Next::Part { attempt, partition, part });
        }
        if job.end.is_none() {
            return Ok(Next::Wait);
        }
        let missing = job.missing();
        if let Some(error) = missing.iter().find_map(|partition| job.unfetched.get(&partition)) {
            // Another program may be able to fetch it, so the job can still be collected.
            return Err(error.clone());
        }
        job.spent = true;
        match missing.is_empty() {
            true => Ok(Next::End),
            false => Err(Error::Bug(format!("a job ended without its results {missing:?}"))),
        }
    }

    /// A job was planned again and submitted under ticket `new`, which replaces `old`. Received results stay.
    pub fn replaced(&mut self, old: u64, new: u64) {
        let Some(before) = self.jobs.remove(&old) else { return };
        if let Some(job) = self.jobs.get_mut(&new) {
            job.lost = before.lost;
            job.fetching.extend(before.fetching);
            let newer = std::mem::replace(&mut job.results, before.results);
            job.results.extend(newer);
        }
        self.outbox.push(FromDriver::Close { ticket: old });
    }

    /// A result was fetched. The engine deletes all results of a launch at once. So the launch is acknowledged after
    /// the last of its results was fetched.
    pub fn fetched(&mut self, ticket: u64, attempt: AttemptId, partition: u32) {
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        job.moved.remove(&partition);
        if job.fetched(attempt, partition) {
            self.received.push(attempt);
        }
    }

    /// A result could not be fetched. The driver asks for it again after the job has ended. If the job is detached and
    /// the engine is gone, the hub recomputes the result before that.
    ///
    /// # Errors
    /// The same error, if the result will not be recomputed: its job is detached and has ended, or too much was lost
    /// already.
    pub fn unfetched(&mut self, ticket: u64, attempt: AttemptId, partition: u32, error: Error) -> Result<()> {
        let moved = self.jobs.get_mut(&ticket).and_then(|job| job.moved.remove(&partition));
        self.fetched(ticket, attempt, partition);
        let Some(job) = self.jobs.get_mut(&ticket) else { return Err(error) };
        if let Some((attempt, part)) = moved {
            job.received.remove(&partition);
            job.take_in(attempt, vec![(partition, part)]);
            return Ok(());
        }
        let comes_again = if job.is_detached() { job.end.is_none() } else { job.lost < PLANS };
        if !comes_again {
            return Err(error);
        }
        job.received.remove(&partition);
        if job.is_detached() {
            job.unfetched.insert(partition, error);
        }
        Ok(())
    }
}
