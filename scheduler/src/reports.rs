//! A task ended: its results are accepted, or it is retried, or its job fails.

use super::{
    Scheduler,
    action::{Action, Reason},
    attempts::Attempt,
    event::{Failure, FetchFailure, Report},
    jobs::End,
    partitions::Partitions,
    slab::StageKey,
    spec::Limits,
};
use std::collections::BTreeMap;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

impl<E: Clone> Scheduler<E> {
    /// Removes an attempt. `None` if it is not known (its report is late or a duplicate) or was asked to stop.
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
        self.count_out(attempt.stage, attempt.partitions.len(), attempt.twin.is_some());
    }

    /// One launch has ended. Its task is still running if the launch has a twin.
    pub(super) fn count_out(&mut self, key: StageKey, partitions: u32, twin: bool) {
        let stage = &mut self.stages[key];
        self.pools.ended(stage.pool, 1);
        if twin {
            stage.copies -= 1;
        } else {
            stage.running -= 1;
            stage.running_partitions -= partitions;
        }
    }

    /// Puts a task back to waiting, unless another launch of it is running.
    pub(super) fn put_back(&mut self, attempt: &Attempt) {
        if attempt.twin.is_none() {
            self.stages[attempt.stage].put_back(attempt.partitions.clone());
        }
    }

    pub(super) fn task_done(&mut self, id: AttemptId, report: Report, out: &mut Vec<Action<E>>) {
        let Some((attempt, engine)) = self.end_attempt(id, true, out) else { return };
        if report.partitions.len() != attempt.partitions.len() as usize {
            out.push(Action::Discard { engine, attempt: id });
            return self.lost(attempt, out);
        }
        self.stop_twin(attempt.twin, out);
        self.note_pace(attempt.stage, attempt.launched, out);
        let stage = &mut self.stages[attempt.stage];
        stage.tasks_done += 1;
        stage.barren.clear();
        if !stage.troubles.is_empty() {
            attempt.partitions.iter().for_each(|partition| drop(stage.troubles.remove(&partition)));
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
        self.placed(attempt.engine, id, &attempt.partitions, attempt.id);
        if let Some(partition) = changed {
            self.roll_back(id, attempt.stage, partition, out);
        }
        // Rolling back can end the jobs that wanted this stage.
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
        match failure {
            Failure::User(error) | Failure::Panic(error) => self.user_error(attempt, engine, error, false, out),
            Failure::Final(error) => self.user_error(attempt, engine, error, true, out),
            Failure::Killed => self.lost(attempt, out),
            Failure::Fetch(missed) => self.fetch_failed(attempt, missed, out),
        }
    }

    fn user_error(&mut self, attempt: Attempt, engine: EngineId, error: E, last: bool, out: &mut Vec<Action<E>>) {
        let key = attempt.stage;
        self.blame(attempt.engine, key, attempt.partitions.first(), out);
        let stage = &mut self.stages[key];
        stage.tasks_failed += 1;
        let trouble = stage.trouble(&attempt.partitions);
        trouble.failures += 1;
        trouble.avoid(engine);
        let failures = trouble.failures;
        let error = trouble.first.get_or_insert(error).clone();
        self.try_again(&attempt, out);
        let partitions = attempt.partitions;
        let reason = |stage| Reason::Task { stage, partitions: partitions.clone(), failures, error: error.clone() };
        self.fail_users(key, |limits| last || failures >= limits.max_attempts, reason, out);
    }

    /// The task was stopped or lost, and is not to blame. The count is separate: it only prevents endless retries.
    fn lost(&mut self, attempt: Attempt, out: &mut Vec<Action<E>>) {
        let trouble = self.stages[attempt.stage].trouble(&attempt.partitions);
        trouble.losses += 1;
        let losses = trouble.losses;
        self.try_again(&attempt, out);
        self.too_many_losses(attempt.stage, attempt.partitions, losses, out);
    }

    pub(super) fn too_many_losses(&mut self, key: StageKey, task: Partitions, losses: u32, out: &mut Vec<Action<E>>) {
        let reason = |stage| Reason::Losses { stage, partitions: task.clone(), losses };
        self.fail_users(key, |limits| losses >= limits.max_losses, reason, out);
    }

    /// Any of the suspects may have killed the worker: each runs alone next. A task that kills a worker while it runs
    /// alone is named as the cause.
    pub(super) fn worker_died(&mut self, suspects: &[AttemptId], error: &E, out: &mut Vec<Action<E>>) {
        let mut blamed = false;
        for &suspect in suspects {
            let Some((attempt, _)) = self.end_attempt(suspect, false, out) else { continue };
            let (key, alone) = (attempt.stage, attempt.alone);
            if !std::mem::replace(&mut blamed, true) {
                // This counts as one death, however many tasks the worker was running.
                self.blame(attempt.engine, key, attempt.partitions.first(), out);
            }
            let stage = &mut self.stages[key];
            stage.tasks_failed += 1;
            let trouble = stage.trouble(&attempt.partitions);
            trouble.deaths += 1;
            let deaths = trouble.deaths;
            self.try_again(&attempt, out);
            let partitions = attempt.partitions;
            let reason = |stage| Reason::Worker { stage, partitions: partitions.clone(), deaths, error: error.clone() };
            // If other tasks ran with it, nothing shows which of them killed the worker.
            self.fail_users(key, |limits| alone && deaths >= limits.max_worker_deaths, reason, out);
        }
    }

    /// The reader is not to blame: what it could not read is recomputed, and its stage begins a new attempt.
    fn fetch_failed(&mut self, attempt: Attempt, missed: Vec<FetchFailure>, out: &mut Vec<Action<E>>) {
        let key = attempt.stage;
        // A failure of an older attempt of the stage has been dealt with by the present one.
        let current = attempt.stage_attempt == self.stages[key].epoch;
        let elsewhere = |block: &FetchFailure| {
            let place = self.places(block.output).get(block.partition as usize);
            place.is_some_and(|place| place.exists() && !self.is_there(block))
        };
        // A block that has been moved by now is found at its new place when the task runs again.
        let missed: Vec<FetchFailure> = missed.into_iter().filter(|block| !current || !elsewhere(block)).collect();
        if missed.is_empty() {
            return self.lost(attempt, out);
        }
        self.put_back(&attempt);
        let stage = &mut self.stages[key];
        let mut worst: Vec<FetchFailure> = Vec::new();
        if current {
            stage.epoch += 1;
            let unique: BTreeMap<(OutputId, u32), FetchFailure> =
                missed.iter().map(|block| ((block.output, block.partition), *block)).collect();
            for (name, block) in unique {
                let times = stage.barren.entry(name).or_default();
                times.push(block);
                if times.len() > worst.len() {
                    worst.clone_from(times);
                }
            }
        }
        self.settle(key);
        let mut stack = vec![key];
        missed.iter().for_each(|block| self.lose_block(block, &mut stack, out));
        self.demand(stack, out);
        if current {
            self.announce(key, out);
            let reason = |stage| Reason::Fetch { stage, failures: worst.clone() };
            self.fail_users(key, |limits| worst.len() as u32 >= limits.max_stage_attempts, reason, out);
        }
    }

    fn try_again(&mut self, attempt: &Attempt, out: &mut Vec<Action<E>>) {
        let key = attempt.stage;
        self.put_back(attempt);
        self.settle(key);
        if self.stages[key].missing > 0 {
            self.demand(vec![key], out);
        }
    }

    /// Fails the jobs that wait for this stage and whose limit is reached. Each job has its own limits; the stage goes
    /// on for the other jobs.
    fn fail_users(
        &mut self,
        key: StageKey,
        enough: impl Fn(&Limits) -> bool,
        reason: impl Fn(u32) -> Reason<E>,
        out: &mut Vec<Action<E>>,
    ) {
        let users = &self.stages[key].users;
        let over: Vec<(JobId, u32)> = users
            .iter()
            .filter(|(job, _)| self.jobs.get(job).is_some_and(|job| enough(&job.limits)))
            .copied()
            .collect();
        for (job, index) in over {
            let result = self.jobs.get(&job).and_then(|job| job.result_stage());
            if result.is_some_and(|result| self.needs(result, key)) {
                self.end_job(job, End::Failed(reason(index)), out);
            }
        }
    }
}
