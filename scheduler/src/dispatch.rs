//! Fills free slots. Each step takes the pool whose turn it is, its first stage, that stage's next task, and the next
//! engine in turn.

use super::{
    Scheduler,
    action::{Action, Batch},
    attempts::Attempt,
    event::Task,
    partitions::Partitions,
    slab::StageKey,
};
use tryworks_base::ids::{AttemptId, EngineId};

impl<E: Clone> Scheduler<E> {
    pub(super) fn dispatch(&mut self, out: &mut Vec<Action<E>>) {
        self.pass += 1;
        if self.engines.first_excluded().is_some() {
            self.include();
        }
        self.dispatch_alone(out);
        if !self.draining.is_empty() {
            self.drain(out);
        }
        self.pools.begin();
        while self.engines.has_capacity()
            && let Some((pool, rank)) = self.pools.next()
        {
            let (_, _, key) = rank;
            if let Some((row, task)) = self.next_task(key) {
                self.launch(key, row, task, false, None, out);
            } else if let Some((row, task, slow)) = self.next_copy(key) {
                self.launch(key, row, task, false, Some(slow), out);
            } else {
                // Tasks that wait for busy engines, and second launches, may not be able to use the free capacity.
                self.pools.pass_over(pool, rank);
            }
            if !self.stages[key].has_tasks() {
                self.settle(key);
            }
        }
    }

    /// A task of this stage and the engine to run it: one that has what the task reads, else any engine with free
    /// capacity. A task that waits for one engine goes to another only if it can begin at once.
    fn next_task(&mut self, key: StageKey) -> Option<(u32, Partitions)> {
        let unfit = self.unfit_for(key);
        if !self.stages[key].queue.has_hints() {
            return self.next_anywhere(key, &unfit);
        }
        // No task waits for an engine that is unfit.
        let queue = &mut self.stages[key].queue;
        if let Some(row) = self.engines.pick_local(queue, true) {
            return Some((row, queue.pop_local(row)?));
        }
        if let Some(found) = self.next_anywhere(key, &unfit) {
            return Some(found);
        }
        let queue = &mut self.stages[key].queue;
        if let Some(local) = queue.any_local(0)
            && let Some(row) = self.engines.pick_slot(&unfit)
        {
            return Some((row, queue.pop_local(local)?));
        }
        let row = self.engines.pick_local(queue, false)?;
        Some((row, queue.pop_local(row)?))
    }

    fn next_anywhere(&mut self, key: StageKey, unfit: &[EngineId]) -> Option<(u32, Partitions)> {
        if self.stages[key].queue.nothing_for_anywhere() {
            return None;
        }
        let local = self.local_engine(key).filter(|engine| !unfit.contains(engine));
        let local = local.and_then(|engine| self.engines.free_row(engine));
        // Where there are many stages of one task, engines hold some tasks in advance, too. No stage is looked at in
        // vain for long.
        let others = self.pools.listed(self.stages[key].pool).saturating_sub(1);
        let stage = &mut self.stages[key];
        if let Some(row) = local {
            return Some((row, stage.queue.pop_anywhere()?));
        }
        if stage.troubles.is_empty() {
            let row = self.engines.pick(stage.queue.tasks().saturating_add(others), unfit)?;
            return Some((row, stage.queue.pop_anywhere()?));
        }
        if !self.engines.has_capacity_but(unfit) {
            return None;
        }
        let task = stage.queue.pop_anywhere()?;
        let row = self.engines.pick_other(stage.to_avoid(task.first()), unfit)?;
        Some((row, task))
    }

    /// A stage of one task reads everything that its parents made: it runs best on the engine that has most of that.
    fn local_engine(&self, key: StageKey) -> Option<EngineId> {
        let stage = &self.stages[key];
        if stage.parents.is_empty() || stage.running + stage.tasks_done > 0 || stage.queue.tasks() != 1 {
            return None;
        }
        if !stage.troubles.is_empty() {
            return None;
        }
        let outputs = stage.parents.iter().filter_map(|&parent| self.outputs.get(&self.stages[parent].output?));
        outputs.filter_map(|output| output.heaviest()).max_by_key(|&(bytes, _)| bytes).map(|(_, engine)| engine)
    }

    /// Tasks that must run alone wait for an idle engine; enough engines are kept free for them.
    fn dispatch_alone(&mut self, out: &mut Vec<Action<E>>) {
        while let Some((key, row)) = self.next_alone() {
            let Some(task) = self.stages[key].suspects.pop_front() else { return };
            self.engines.set_reserved(row, false);
            self.launch(key, row, task, true, None, out);
            self.settle(key);
        }
        let waiting = self.alone.iter().map(|&(_, _, key)| self.stages[key].suspects.len()).sum();
        self.engines.unreserve(waiting);
        let first = self.alone.first().map_or_else(Vec::new, |&(_, _, key)| self.unfit_for(key));
        self.engines.reserve(waiting, &first);
    }

    /// The first stage that has a task that must run alone and an idle engine for it.
    fn next_alone(&mut self) -> Option<(StageKey, u32)> {
        for &(_, _, key) in &self.alone {
            let unfit = self.unfit_for(key);
            let stage = &self.stages[key];
            let avoid = stage.suspects.front().map_or(&[][..], |task| stage.to_avoid(task.first()));
            if let Some(row) = self.engines.pick_idle(avoid, &unfit) {
                return Some((key, row));
            }
            if unfit.is_empty() {
                // No engine is idle for any of them.
                return None;
            }
        }
        None
    }

    fn launch(
        &mut self,
        key: StageKey,
        row: u32,
        partitions: Partitions,
        alone: bool,
        copy_of: Option<AttemptId>,
        out: &mut Vec<Action<E>>,
    ) {
        let stage = &mut self.stages[key];
        let stage_attempt = stage.epoch;
        let (job, index) = stage.owner();
        let tries = stage.tries(&partitions);
        if copy_of.is_some() {
            stage.copies += 1;
        } else {
            stage.running += 1;
            stage.running_partitions += partitions.len();
        }
        let watched = stage.pace.is_some();
        self.pools.started(stage.pool, 1);
        let attempt = self.attempts.launch(|id| Attempt {
            id,
            stage: key,
            stage_attempt,
            engine: row,
            partitions: partitions.clone(),
            alone,
            launched: self.now,
            twin: copy_of,
            copied: copy_of.is_some(),
            stopping: false,
        });
        if let Some(slow) = copy_of.and_then(|slow| self.attempts.get_mut(slow)) {
            slow.twin = Some(attempt);
        }
        if watched {
            self.watch(key, out);
        }
        self.engines.started(row, attempt, alone);
        let task = Task { attempt, job, stage: index, stage_attempt, tries, alone, partitions, copy_of };
        let Some(engine) = self.engines.get_mut(row) else { return };
        // All tasks that a dispatch gives to one engine go in one `Launch`.
        match (engine.batch.0 == self.pass).then(|| out.get_mut(engine.batch.1)).flatten() {
            Some(Action::Launch { tasks, .. }) => tasks.push(task),
            _ => {
                engine.batch = (self.pass, out.len());
                out.push(Action::Launch { engine: engine.id, tasks: Batch::One(task) });
            }
        }
    }
}
