//! What a driver knows of a job: how it is asked for, what of it was received, how it ended.

use super::Session;
use std::collections::{BTreeSet, VecDeque};
use tryworks_base::ids::{AttemptId, JobId};
use tryworks_base::{Error, Progress, Result};
use tryworks_protocol::driver::{FromDriver, NewJob, Part};
use tryworks_protocol::engine::CodeBytes;
use tryworks_scheduler::{JobSpec, Partitions};

/// How often a job may be planned anew because what its plan relied on was lost.
pub(super) const PLANS: u32 = 4;

/// A job that is to be submitted. The global names in it are those of the session.
#[derive(Clone, Debug)]
pub struct Work {
    /// The name under which it goes on without the driver, if it does.
    pub detached: Option<String>,
    /// Its stages.
    pub spec: JobSpec,
    /// The codes of all of its stages.
    pub codes: Vec<StageCode>,
    /// Stages that read or make kept partitions, and the global names of their caches.
    pub caches: Vec<(u32, u64)>,
}

/// The code of a stage.
#[derive(Clone, Debug)]
pub struct StageCode {
    /// Which stage of its job.
    pub at: u32,
    /// The exchange that it writes, unless it gives the result.
    pub exchange: Option<u64>,
    /// It. What is large was put to the hub's data port before.
    pub bytes: CodeBytes,
}

/// What there is to do for whoever waits for the results of a job.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Nothing has come yet.
    Wait,
    /// A result, or where it is.
    Part {
        /// The launch that made it.
        attempt: AttemptId,
        /// Its partition.
        partition: u32,
        /// It. What is fetched with success is [`Session::fetched`], else [`Session::unfetched`].
        part: Part,
    },
    /// What the plan relied on was lost: these partitions are to be planned anew, and the new job
    /// [`replaces`](Session::replaced) this one.
    PlanAnew(Partitions),
    /// Everything was given out.
    End,
}

/// A job.
pub(super) struct Job {
    pub(super) label: String,
    pub(super) id: Option<JobId>,
    /// What is asked of the hub.
    claim: Claim,
    /// The partitions whose results are wanted.
    wanted: Partitions,
    /// It is to be stopped.
    pub(super) cancelled: bool,
    /// All of it was given out.
    pub(super) spent: bool,
    /// How often what its plan relied on was lost, over all of its plans.
    lost: u32,
    /// The exchanges that it makes.
    pub(super) exchanges: Vec<u64>,
    /// Those of them whose codes it brought to the hub.
    pub(super) brought: Vec<u64>,
    pub(super) progress: Progress,
    results: VecDeque<(AttemptId, u32, Part)>,
    received: BTreeSet<u32>,
    pub(super) end: Option<Result<()>>,
}

/// How a job is asked for.
pub(super) enum Claim {
    /// As it is submitted to a hub that knows nothing of it.
    Submit(Box<NewJob>),
    /// By its number, as the action that it has to be.
    Attach { job: JobId, action: String },
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
            lost: 0,
            exchanges: Vec::new(),
            brought: Vec::new(),
            progress: Progress::default(),
            results: VecDeque::new(),
            received: BTreeSet::new(),
            end: None,
        }
    }

    /// What is said to have it, at first or again: what is still wanted of it.
    pub(super) fn again(&self, ticket: u64) -> Vec<FromDriver> {
        if self.end.is_some() {
            return Vec::new();
        }
        let ask = match &self.claim {
            Claim::Submit(whole) => {
                let mut job = whole.clone();
                job.job = self.id;
                // Of a detached job the hub has all results, and needs to know what they were to be.
                if job.detached.is_none() {
                    job.spec.delivered = self.received.len() as u32;
                    job.spec.wanted = self.missing();
                }
                FromDriver::Submit(job)
            }
            Claim::Attach { job, action } => FromDriver::Attach { ticket, job: *job, action: action.clone() },
        };
        let cancel = self.cancelled.then_some(FromDriver::Cancel { ticket });
        [ask].into_iter().chain(cancel).collect()
    }

    /// Whether the job goes on without this program.
    pub(super) fn is_detached(&self) -> bool {
        match &self.claim {
            Claim::Submit(job) => job.detached.is_some(),
            Claim::Attach { .. } => true,
        }
    }

    /// The partitions that have not been received.
    fn missing(&self) -> Partitions {
        self.wanted.iter().filter(|partition| !self.received.contains(partition)).collect()
    }

    /// Whether the job ended because of something that a new plan would make again: blocks behind kept partitions that
    /// were lost, or results that were lost before they were fetched.
    fn needs_new_plan(&self) -> bool {
        match &self.end {
            // Its plan is the hub's, and its results are all with it.
            _ if self.is_detached() => false,
            Some(Err(Error::Fetch { exchange, .. })) => !self.exchanges.contains(exchange),
            Some(Ok(())) => self.results.is_empty() && !self.missing().is_empty(),
            _ => false,
        }
    }

    /// Takes in results, each partition once.
    pub(super) fn take_in(&mut self, attempt: AttemptId, parts: Vec<(u32, Part)>) {
        for (partition, part) in parts {
            if self.received.insert(partition) {
                self.results.push_back((attempt, partition, part));
            }
        }
    }
}

impl Session {
    /// What there is to do for whoever waits for the results of a job.
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
            return Ok(Next::PlanAnew(job.missing()));
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
        job.spent = true;
        let missing = job.missing();
        match missing.is_empty() {
            true => Ok(Next::End),
            false => Err(Error::Bug(format!("a job ended without its results {missing:?}"))),
        }
    }

    /// A job was planned anew and submitted by another ticket, which counts from now on. What was received stays.
    pub fn replaced(&mut self, old: u64, new: u64) {
        let Some(before) = self.jobs.remove(&old) else { return };
        if let Some(job) = self.jobs.get_mut(&new) {
            job.lost = before.lost;
            let newer = std::mem::replace(&mut job.results, before.results);
            job.results.extend(newer);
        }
        self.outbox.push(FromDriver::Close { ticket: old });
    }

    /// A result was fetched from where it was.
    pub fn fetched(&mut self, attempt: AttemptId) {
        self.received.push(attempt);
    }

    /// A result could not be fetched from where it was. It is wanted again, once the job has ended.
    ///
    /// # Errors
    /// The same, if it is not to be made again: it is of a detached job, or too much was lost already.
    pub fn unfetched(&mut self, ticket: u64, partition: u32, error: Error) -> Result<()> {
        match self.jobs.get_mut(&ticket) {
            Some(job) if job.lost < PLANS && !job.is_detached() => {
                job.received.remove(&partition);
                Ok(())
            }
            _ => Err(error),
        }
    }
}
