//! A task ended: its results are taken in, or it is tried again, or its job fails.

use super::{
    Scheduler,
    action::{Action, Reason},
    attempts::Attempt,
    event::{Failure, FetchFailure, Report},
    jobs::End,
    partitions::Partitions,
    spec::Limits,
    stage::StageKey,
};
use tryworks_core::ids::{AttemptId, EngineId, JobId, OutputId};

impl<E: Clone> Scheduler<E> {
    /// Takes an attempt off the books. `None` if it is not on them (late, twice) or was asked to stop.
    fn end_attempt(&mut self, id: AttemptId, done: bool, out: &mut Vec<Action<E>>) -> Option<(Attempt, EngineId)> {
        let attempt = self.attempts.remove(id)?;
        let engine = self.engines.get(attempt.engine)?.id;
        self.engines.ended(attempt.engine, id);
        if attempt.stopping {
            if done {
                out.push(Action::Discard { engine, attempt: id });
            }
            return None;
        }
        self.forget_running(&attempt);
        Some((attempt, engine))
    }

    pub(super) fn forget_running(&mut self, attempt: &Attempt) {
        let stage = &mut self.stages[attempt.stage];
        stage.running -= 1;
        stage.running_partitions -= attempt.partitions.len();
    }

    pub(super) fn task_done(&mut self, id: AttemptId, report: Report, out: &mut Vec<Action<E>>) {
        let Some((attempt, engine)) = self.end_attempt(id, true, out) else { return };
        if report.partitions.len() != attempt.partitions.len() as usize {
            out.push(Action::Discard { engine, attempt: id });
            return self.lost(attempt.stage, attempt.partitions, out);
        }
        let stage = &mut self.stages[attempt.stage];
        stage.tasks_done += 1;
        stage.barren.clear();
        if !stage.troubles.is_empty() {
            stage.troubles.remove(&attempt.partitions.first());
        }
        match stage.output {
            Some(output) => self.accept(output, &attempt, engine, &report, out),
            None => self.commit(attempt, engine, &report, out),
        }
    }

    fn accept(&mut self, id: OutputId, attempt: &Attempt, engine: EngineId, report: &Report, out: &mut Vec<Action<E>>) {
        let Some(output) = self.outputs.get_mut(&id) else { return };
        output.measure(attempt.partitions.first(), &report.bucket_bytes);
        let mut changed = None;
        for (partition, made) in attempt.partitions.iter().zip(&report.partitions) {
            if !output.accept(partition, attempt.id, engine, made.bytes, made.checksum) {
                changed.get_or_insert(partition);
            }
        }
        let complete = output.is_complete();
        if let Some(partition) = changed {
            self.roll_back(id, attempt.stage, partition, out);
        }
        // Rolling back can end the jobs that wanted it.
        if complete && self.making.get(&id) == Some(&attempt.stage) {
            self.stage_complete(attempt.stage, out);
        }
    }

    fn commit(&mut self, attempt: Attempt, engine: EngineId, report: &Report, out: &mut Vec<Action<E>>) {
        let bytes: u64 = report.partitions.iter().map(|made| made.bytes).sum();
        let stage = &mut self.stages[attempt.stage];
        let (id, index) = stage.owner();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.result_bytes = job.result_bytes.saturating_add(bytes);
        let (limit, value) = (job.limits.max_result_bytes, job.result_bytes);
        if value > limit {
            out.push(Action::Discard { engine, attempt: attempt.id });
            let reason = Reason::Limit { name: "max_result_bytes".into(), limit, value };
            return self.end_job(id, End::Failed(reason), out);
        }
        for partition in attempt.partitions.iter() {
            let fresh = stage.results.committed.insert(partition);
            debug_assert!(fresh, "a partition is run by one launch at a time");
        }
        stage.results.done += attempt.partitions.len();
        let (done, stage_attempt) = (stage.results.done == stage.results.total, stage.epoch);
        out.push(Action::Commit { job: id, attempt: attempt.id, engine, partitions: attempt.partitions });
        if done {
            out.push(Action::StageFinished { job: id, stage: index, stage_attempt });
            self.end_job(id, End::Done, out);
        }
    }

    pub(super) fn task_failed(&mut self, id: AttemptId, failure: Failure<E>, out: &mut Vec<Action<E>>) {
        let Some((attempt, engine)) = self.end_attempt(id, false, out) else { return };
        let (key, task) = (attempt.stage, attempt.partitions);
        match failure {
            Failure::User(error) | Failure::Panic(error) => {
                let limit = self.limits(key).max_attempts;
                self.user_error(key, task, engine, error, limit, out);
            }
            Failure::Final(error) => self.user_error(key, task, engine, error, 0, out),
            Failure::Killed => self.lost(key, task, out),
            Failure::Fetch(failure) => self.fetch_failed(key, task, attempt.stage_attempt, failure, out),
        }
    }

    fn user_error(
        &mut self,
        key: StageKey,
        task: Partitions,
        engine: EngineId,
        error: E,
        limit: u32,
        out: &mut Vec<Action<E>>,
    ) {
        let stage = &mut self.stages[key];
        stage.tasks_failed += 1;
        let trouble = stage.trouble(&task);
        trouble.failures += 1;
        trouble.avoid.push(engine);
        let failures = trouble.failures;
        let error = trouble.first.get_or_insert(error);
        if failures < limit {
            return self.try_again(key, task, out);
        }
        let error = error.clone();
        let partitions = task.clone();
        self.give_up(
            key,
            task,
            move |stage| Reason::Task { stage, partitions: partitions.clone(), failures, error: error.clone() },
            out,
        );
    }

    /// The task was stopped or lost through no fault of its own: counted apart, and only so that nothing goes
    /// on for ever.
    pub(super) fn lost(&mut self, key: StageKey, task: Partitions, out: &mut Vec<Action<E>>) {
        let limit = self.limits(key).max_losses;
        let trouble = self.stages[key].trouble(&task);
        trouble.losses += 1;
        let losses = trouble.losses;
        if losses < limit {
            return self.try_again(key, task, out);
        }
        self.too_many_losses(key, task, losses, out);
    }

    pub(super) fn too_many_losses(&mut self, key: StageKey, task: Partitions, losses: u32, out: &mut Vec<Action<E>>) {
        let partitions = task.clone();
        self.give_up(key, task, move |stage| Reason::Losses { stage, partitions: partitions.clone(), losses }, out);
    }

    /// Any of the suspects may have killed the worker: each runs alone next, and one that kills again is named.
    pub(super) fn worker_died(&mut self, suspects: &[AttemptId], error: &E, out: &mut Vec<Action<E>>) {
        for &suspect in suspects {
            let Some((attempt, _)) = self.end_attempt(suspect, false, out) else { continue };
            let (key, task) = (attempt.stage, attempt.partitions);
            let limit = self.limits(key).max_worker_deaths;
            let stage = &mut self.stages[key];
            stage.tasks_failed += 1;
            let trouble = stage.trouble(&task);
            trouble.deaths += 1;
            let deaths = trouble.deaths;
            // In company there is no telling which of them did it.
            if deaths < limit || !attempt.alone {
                self.try_again(key, task, out);
                continue;
            }
            let (partitions, error) = (task.clone(), error.clone());
            let reason =
                move |stage| Reason::Worker { stage, partitions: partitions.clone(), deaths, error: error.clone() };
            self.give_up(key, task, reason, out);
        }
    }

    /// The reader is not to blame: what it could not read is made again, and its stage begins a new attempt.
    fn fetch_failed(
        &mut self,
        key: StageKey,
        task: Partitions,
        stage_attempt: u32,
        failure: FetchFailure,
        out: &mut Vec<Action<E>>,
    ) {
        let limit = self.limits(key).max_stage_attempts;
        let stage = &mut self.stages[key];
        let (mut anew, mut barren) = (false, None);
        // What fails late, in an older attempt of the stage, has been answered by the present one.
        if stage_attempt == stage.epoch {
            anew = true;
            stage.epoch += 1;
            stage.barren.push(failure);
            barren = (stage.barren.len() as u32 >= limit).then(|| stage.barren.clone());
        }
        stage.put_back(task.clone());
        self.settle(key);
        self.block_lost(failure.output, failure.partition, failure.made_by, out);
        match barren {
            None => {
                self.demand(vec![key], out);
                if anew {
                    self.announce(key, out);
                }
            }
            Some(failures) => {
                self.fail_users(key, move |stage| Reason::Fetch { stage, failures: failures.clone() }, out)
            }
        }
    }

    pub(super) fn try_again(&mut self, key: StageKey, task: Partitions, out: &mut Vec<Action<E>>) {
        self.stages[key].put_back(task);
        self.settle(key);
        if self.stages[key].missing > 0 {
            self.demand(vec![key], out);
        }
    }

    /// The task will not be tried again for those who want it now. A job that wants it later begins afresh.
    fn give_up(
        &mut self,
        key: StageKey,
        task: Partitions,
        reason: impl Fn(u32) -> Reason<E>,
        out: &mut Vec<Action<E>>,
    ) {
        self.stages[key].troubles.remove(&task.first());
        self.stages[key].put_back(task);
        self.settle(key);
        self.fail_users(key, reason, out);
    }

    /// Fails every job that waits for this stage.
    fn fail_users(&mut self, key: StageKey, reason: impl Fn(u32) -> Reason<E>, out: &mut Vec<Action<E>>) {
        self.stages[key].barren.clear();
        let users = self.stages[key].users.clone();
        let mut failing: Vec<(JobId, u32)> = Vec::new();
        for (job, index) in users {
            let result = self.jobs.get(&job).and_then(|job| job.result_stage());
            if result.is_some_and(|result| self.needs(result, key)) {
                failing.push((job, index));
            }
        }
        if failing.is_empty() {
            self.stages[key].wanted = false;
            self.settle(key);
        }
        for (job, index) in failing {
            self.end_job(job, End::Failed(reason(index)), out);
        }
    }

    /// The limits of the job that owns the stage.
    pub(super) fn limits(&self, key: StageKey) -> Limits {
        self.jobs.get(&self.stages[key].owner().0).map(|job| job.limits.clone()).unwrap_or_default()
    }
}
