//! Engines that cannot run a program for now: its tasks go to other engines, and are tried there again after a while.

use super::{
    Scheduler, Time,
    action::{Action, Reason},
    jobs::End,
    slab::StageKey,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tryworks_base::ids::{AttemptId, EngineId, JobId};

/// The engines that cannot run a program: until when this is assumed, and why.
pub(super) type Unfit<E> = BTreeMap<EngineId, (Time, E)>;

impl<E: Clone> Scheduler<E> {
    /// A program cannot be run on an engine. Its tasks there go to other engines, and do not count as failed. If this
    /// was the last engine that could run it, its jobs fail, and the next job starts with all engines again.
    pub(super) fn engine_unfit(
        &mut self,
        engine: EngineId,
        program: u64,
        error: E,
        lasts: Duration,
        out: &mut Vec<Action<E>>,
    ) {
        let Some(row) = self.engines.row_of(engine) else { return };
        let until = self.now + lasts;
        self.unfit.entry(program).or_default().insert(engine, (until, error));
        out.push(Action::WakeAt { time: until });
        self.engines.set_reserved(row, false);
        let running = self.engines.get(row).map_or(&[][..], |engine| &engine.running);
        let there: Vec<AttemptId> = running.iter().copied().filter(|&id| self.is_of(id, program)).collect();
        let stages = there.iter().filter_map(|id| self.attempts.get(*id).map(|attempt| attempt.stage));
        let stages: BTreeSet<StageKey> = stages.collect();
        self.call_back(there, out);
        self.wait_again(Some(row));
        // Some of what the tasks read may be lost since they were launched.
        self.demand(stages.into_iter().collect(), out);
        if self.any_fit(program) {
            return;
        }
        let engines = self.unfit.remove(&program).unwrap_or_default();
        let engines: Vec<(EngineId, E)> = engines.into_iter().map(|(engine, (_, error))| (engine, error)).collect();
        let jobs: Vec<JobId> = self.jobs.iter().filter(|(_, job)| job.program == program).map(|(&id, _)| id).collect();
        for job in jobs {
            self.end_job(job, End::Failed(Reason::Unfit { engines: engines.clone() }), out);
        }
    }

    fn is_of(&self, attempt: AttemptId, program: u64) -> bool {
        let attempt = self.attempts.get(attempt).filter(|attempt| !attempt.stopping);
        attempt.is_some_and(|attempt| self.stages[attempt.stage].program == program)
    }

    /// Whether some engine that takes tasks, now or soon, could run this program.
    fn any_fit(&self, program: u64) -> bool {
        let unfit = self.unfit.get(&program);
        let mut able = self.engines.iter().filter(|engine| engine.gate.is_able());
        able.any(|engine| unfit.is_none_or(|unfit| !unfit.contains_key(&engine.id)))
    }

    /// The engines that get no tasks of this stage.
    pub(super) fn unfit_for(&self, key: StageKey) -> Vec<EngineId> {
        if self.unfit.is_empty() {
            return Vec::new();
        }
        let unfit = self.unfit.get(&self.stages[key].program);
        unfit.map_or_else(Vec::new, |unfit| unfit.keys().copied().collect())
    }

    /// Tries a program again on the engines where its time is over. If no engine is left that could run it, all engines
    /// are tried again.
    pub(super) fn try_unfit_again(&mut self) {
        let before: usize = self.unfit.values().map(BTreeMap::len).sum();
        let mut unfit = std::mem::take(&mut self.unfit);
        unfit.retain(|_, engines| {
            engines.retain(|engine, (until, _)| *until > self.now && self.engines.row_of(*engine).is_some());
            !engines.is_empty()
        });
        self.unfit = unfit;
        let stuck: Vec<u64> = self.unfit.keys().copied().filter(|&program| !self.any_fit(program)).collect();
        stuck.iter().for_each(|program| drop(self.unfit.remove(program)));
        if self.unfit.values().map(BTreeMap::len).sum::<usize>() < before {
            self.wait_again(None);
        }
    }

    /// Until when an engine gets no tasks of a program, since it could not run it; `None` if it gets tasks.
    pub fn unfit_until(&self, engine: EngineId, program: u64) -> Option<Time> {
        self.unfit.get(&program)?.get(&engine).map(|&(until, _)| until)
    }
}
