//! Filling free slots: the first stage in order, its next task, the next engine in turn.

use super::{
    Scheduler,
    action::{Action, Batch},
    attempts::Attempt,
    event::Task,
    partitions::Partitions,
    stage::StageKey,
};
use tryworks_core::ids::EngineId;

impl<E: Clone> Scheduler<E> {
    pub(super) fn dispatch(&mut self, out: &mut Vec<Action<E>>) {
        self.pass += 1;
        self.dispatch_alone(out);
        while let Some(&(_, _, key)) = self.ready.first() {
            let Some((row, task)) = self.next_task(key) else { return };
            self.launch(key, row, task, false, out);
            if self.stages[key].queue.is_empty() {
                self.settle(key);
            }
        }
    }

    /// A task of this stage and the engine to run it, if any has room.
    fn next_task(&mut self, key: StageKey) -> Option<(u32, Partitions)> {
        let near = self.nearest(key).and_then(|engine| self.engines.with_room(engine));
        if let Some(row) = near {
            return Some((row, self.stages[key].queue.pop()?));
        }
        if self.stages[key].troubles.is_empty() {
            let row = self.engines.pick(&[])?;
            return Some((row, self.stages[key].queue.pop()?));
        }
        if !self.engines.has_room() {
            return None;
        }
        let stage = &mut self.stages[key];
        let task = stage.queue.pop()?;
        let avoid = stage.troubles.get(&task.first()).map_or(&[][..], |trouble| &trouble.avoid);
        let row = self.engines.pick(avoid)?;
        Some((row, task))
    }

    /// A stage of one task reads everything its parents made: best where most of it is.
    fn nearest(&self, key: StageKey) -> Option<EngineId> {
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

    /// Tasks that must be alone wait for an engine that is idle; enough engines are kept free for them.
    fn dispatch_alone(&mut self, out: &mut Vec<Action<E>>) {
        while let Some(&(_, _, key)) = self.alone.first() {
            let Some(task) = self.stages[key].suspects.front().cloned() else { return };
            let avoid = self.stages[key].troubles.get(&task.first()).map_or(&[][..], |trouble| &trouble.avoid);
            let Some(row) = self.engines.pick_idle(avoid) else { break };
            self.engines.set_reserved(row, false);
            self.stages[key].suspects.pop_front();
            self.launch(key, row, task, true, out);
            self.settle(key);
        }
        let waiting = self.alone.iter().map(|&(_, _, key)| self.stages[key].suspects.len()).sum();
        self.engines.unreserve(waiting);
        self.engines.reserve(waiting);
    }

    fn launch(&mut self, key: StageKey, row: u32, partitions: Partitions, alone: bool, out: &mut Vec<Action<E>>) {
        let stage = &mut self.stages[key];
        let stage_attempt = stage.epoch;
        let (job, index) = stage.owner();
        let tries = stage.tries(&partitions);
        stage.running += 1;
        stage.running_partitions += partitions.len();
        let attempt = self.attempts.launch(|id| Attempt {
            id,
            stage: key,
            stage_attempt,
            engine: row,
            partitions: partitions.clone(),
            alone,
            stopping: false,
        });
        self.engines.started(row, attempt, alone);
        let task = Task { attempt, job, stage: index, stage_attempt, tries, alone, partitions };
        let Some(engine) = self.engines.get_mut(row) else { return };
        match (engine.batch.0 == self.pass).then(|| out.get_mut(engine.batch.1)).flatten() {
            Some(Action::Launch { tasks, .. }) => tasks.push(task),
            _ => {
                engine.batch = (self.pass, out.len());
                out.push(Action::Launch { engine: engine.id, tasks: Batch::One(task) });
            }
        }
    }
}
