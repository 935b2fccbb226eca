//! The jobs that are not closed. Indexes find a job without a walk over all of them, because a driver may have a
//! hundred thousand.

use super::jobs::{Job, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_protocol::driver::Part;

/// The jobs that are not closed. Code that runs for each message must find its jobs by a key.
#[derive(Default)]
pub(crate) struct Jobs {
    all: BTreeMap<JobId, Job>,
    /// The jobs of each session's workers.
    owned: BTreeSet<(SessionId, JobId)>,
    /// Detached jobs, by name.
    names: BTreeMap<String, JobId>,
    /// Jobs that may be in [`Phase::Waiting`].
    waiting: BTreeSet<JobId>,
    /// The jobs of launches whose results the driver has not acknowledged.
    delivered: BTreeMap<AttemptId, JobId>,
    /// Jobs whose progress may have changed since their drivers last received it.
    stirred: BTreeSet<JobId>,
    /// How many times the journal was asked for results.
    replays: u64,
    /// How many jobs all walks together have visited.
    #[cfg(test)]
    pub(crate) walked: std::cell::Cell<u64>,
}

impl Jobs {
    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.all.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.all.get_mut(id)
    }

    pub(crate) fn contains_key(&self, id: &JobId) -> bool {
        self.all.contains_key(id)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &JobId> {
        self.all.keys()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let Jobs { all, owned, names, waiting, delivered, stirred, .. } = self;
        let indices = owned.is_empty() && names.is_empty() && waiting.is_empty() && delivered.is_empty();
        assert!(!all.is_empty() || indices && stirred.is_empty(), "an index outlives its jobs");
        all.is_empty()
    }

    /// Walks over all jobs. Code that runs for each message must not use it.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&JobId, &Job)> {
        self.all.iter().inspect(|_| self.walk(1))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Job> {
        self.iter().map(|(_, job)| job)
    }

    /// Walks over all jobs: the warning at [`iter`](Self::iter) applies.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.walk(self.all.len() as u64);
        self.all.values_mut()
    }

    #[cfg(test)]
    fn walk(&self, jobs: u64) {
        self.walked.set(self.walked.get() + jobs);
    }

    #[cfg(not(test))]
    fn walk(&self, _: u64) {}

    pub(crate) fn insert(&mut self, id: JobId, job: Job) {
        self.owned.insert((job.session, id));
        if let Some(name) = &job.detached {
            self.names.entry(name.clone()).or_insert(id);
        }
        if job.phase == Phase::Waiting {
            self.waiting.insert(id);
        }
        self.stirred.insert(id);
        self.all.insert(id, job);
    }

    pub(crate) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let job = self.all.remove(id)?;
        self.owned.remove(&(job.session, *id));
        if let Some(name) = &job.detached
            && self.names.get(name) == Some(id)
        {
            self.names.remove(name);
        }
        for attempt in job.delivered.keys() {
            self.delivered.remove(attempt);
        }
        self.waiting.remove(id);
        self.stirred.remove(id);
        Some(job)
    }

    /// The jobs that the workers of a session run.
    pub(crate) fn of(&self, session: SessionId) -> impl Iterator<Item = (JobId, &Job)> {
        let owned = self.owned.range((session, JobId(0))..=(session, JobId(u64::MAX)));
        owned.filter_map(|(_, id)| Some((*id, self.all.get(id)?))).inspect(|_| self.walk(1))
    }

    /// The detached job with this name.
    pub(crate) fn named(&self, name: &str) -> Option<JobId> {
        self.names.get(name).copied()
    }

    /// Makes a job wait until it may begin.
    pub(crate) fn wait(&mut self, id: JobId) {
        if let Some(job) = self.all.get_mut(&id) {
            job.phase = Phase::Waiting;
            self.waiting.insert(id);
        }
    }

    /// Takes the jobs that wait; none waits afterwards.
    pub(crate) fn take_waiting(&mut self) -> Vec<JobId> {
        let waiting = std::mem::take(&mut self.waiting);
        let waits = |id: &JobId| self.all.get(id).is_some_and(|job| job.phase == Phase::Waiting);
        waiting.into_iter().filter(waits).collect()
    }

    /// Notes results that a driver of the job receives, until the driver acknowledges them.
    pub(crate) fn deliver(&mut self, id: JobId, attempt: AttemptId, engine: EngineId, parts: Vec<(u32, Part)>) {
        if let Some(job) = self.all.get_mut(&id) {
            job.delivered.insert(attempt, (engine, parts));
            self.delivered.insert(attempt, id);
        }
    }

    /// The driver of this session acknowledges the results of a launch. Returns the engine that holds them.
    pub(crate) fn receive(&mut self, session: SessionId, attempt: AttemptId) -> Option<EngineId> {
        let job = self.delivered.get(&attempt).and_then(|id| self.all.get_mut(id));
        let job = job.filter(|job| job.session == session)?;
        self.delivered.remove(&attempt);
        job.delivered.remove(&attempt).map(|(engine, _)| engine)
    }

    /// Notes that the progress of a job may have changed.
    pub(crate) fn stir(&mut self, id: JobId) {
        if self.all.contains_key(&id) {
            self.stirred.insert(id);
        }
    }

    /// Notes it for all jobs of a session, because several jobs may share a stage.
    pub(crate) fn stir_session(&mut self, session: SessionId) {
        let owned = self.owned.range((session, JobId(0))..=(session, JobId(u64::MAX)));
        self.stirred.extend(owned.map(|(_, id)| *id));
    }

    /// The jobs that have not ended.
    pub(crate) fn not_ended(&self) -> Vec<JobId> {
        self.iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id).collect()
    }

    /// A driver has reconnected. Messages on its previous connection may be lost, and later messages must not arrive
    /// without them. So the hub sends nothing about the job until the driver asks for it.
    pub(crate) fn pause_reports(&mut self, id: JobId, session: SessionId) {
        let drivers = self.all.get_mut(&id).into_iter().flat_map(|job| &mut job.drivers);
        for driver in drivers.filter(|driver| driver.session == session) {
            (driver.paused, driver.replay) = (true, None);
        }
    }

    /// An engine is gone. Results of detached jobs that stay with it count again when an engine offers them.
    pub(crate) fn lose_engine(&mut self, id: EngineId) {
        for job in self.values_mut().filter(|job| job.detached.is_some()) {
            job.delivered.retain(|_, (engine, _)| *engine != id);
        }
    }

    /// The next number of a question to the journal for results.
    pub(crate) fn next_replay(&mut self) -> u64 {
        self.replays += 1;
        self.replays
    }

    pub(crate) fn take_stirred(&mut self) -> BTreeSet<JobId> {
        std::mem::take(&mut self.stirred)
    }
}

impl Index<&JobId> for Jobs {
    type Output = Job;

    fn index(&self, id: &JobId) -> &Job {
        &self.all[id]
    }
}
