//! Losses: an engine or a block is gone, or an earlier answer is no longer valid.

use super::{
    Scheduler,
    action::{Action, Reason},
    event::FetchFailure,
    jobs::End,
    outputs::{BlockLocation, MapPartition},
    partitions::{Partitions, Run},
    slab::StageKey,
};
use std::collections::BTreeSet;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};

impl<E: Clone> Scheduler<E> {
    /// All blocks of an engine are lost at once; only those still needed will be recomputed.
    pub(super) fn engine_lost(&mut self, id: EngineId, out: &mut Vec<Action<E>>) {
        let Some((row, engine)) = self.engines.leave(id) else { return };
        self.drain_without(row, id);
        self.wait_again(Some(row));
        let mut stack = Vec::new();
        let ids: Vec<OutputId> = self.outputs.keys().copied().collect();
        for output in ids {
            let Some(record) = self.outputs.get_mut(&output) else { continue };
            let was_complete = record.is_complete();
            let lost = record.lose_engine(id);
            self.missing_again(output, lost, was_complete, &mut stack);
        }
        let mut running = engine.running;
        running.sort_unstable();
        let mut lost: Vec<(StageKey, Partitions, u32)> = Vec::new();
        for attempt in running {
            let Some(attempt) = self.attempts.remove(attempt) else { continue };
            if attempt.stopping {
                continue;
            }
            self.forget_running(&attempt);
            self.put_back(&attempt);
            let (key, task) = (attempt.stage, attempt.partitions);
            let trouble = self.stages[key].trouble(&task);
            trouble.losses += 1;
            lost.push((key, task, trouble.losses));
            self.settle(key);
            stack.push(key);
        }
        self.demand(stack, out);
        for (key, task, losses) in lost {
            // The step before may have ended the jobs of this stage.
            if self.stages.get(key.0).is_some() {
                self.too_many_losses(key, task, losses, out);
            }
        }
    }

    /// A launch leaves one block: if a part of it is gone, all of it is.
    pub(super) fn block_lost(&mut self, block: &FetchFailure, out: &mut Vec<Action<E>>) {
        let mut stack = Vec::new();
        self.lose_block(block, &mut stack, out);
        self.demand(stack, out);
    }

    pub(super) fn lose_block(&mut self, block: &FetchFailure, stack: &mut Vec<StageKey>, out: &mut Vec<Action<E>>) {
        let id = block.output;
        let Some(BlockLocation { made_by, engine }) = block.at.filter(|_| self.is_there(block)) else { return };
        let Some(output) = self.outputs.get_mut(&id) else { return };
        let was_complete = output.is_complete();
        let lost = output.lose(|at| at.made_by == made_by);
        out.push(Action::Discard { engine, attempt: made_by });
        if let Some(&key) = self.making.get(&id) {
            // A task that could not read there may fail to do so again.
            for partition in lost.iter().flat_map(|run| run.iter()) {
                let trouble = self.stages[key].troubles.entry(partition).or_default();
                trouble.unread += 1;
                trouble.avoid(engine);
            }
        }
        self.missing_again(id, lost, was_complete, stack);
    }

    /// Whether a block is where a task expected it, as far as the scheduler knows.
    pub(super) fn is_there(&self, block: &FetchFailure) -> bool {
        let place = self.places(block.output).get(block.partition as usize);
        place.and_then(MapPartition::location).is_some_and(|at| block.at == Some(at))
    }

    /// Puts lost partitions back to waiting, holds back the stages that read them, and adds stages that may want them
    /// to `stack`.
    fn missing_again(&mut self, output: OutputId, lost: Vec<Run>, was_complete: bool, stack: &mut Vec<StageKey>) {
        let Some(&key) = self.making.get(&output) else { return };
        if lost.is_empty() {
            return;
        }
        if self.stages[key].opened {
            self.enqueue(key, lost);
        }
        self.settle(key);
        for at in 0..self.stages[key].children.len() {
            let child = self.stages[key].children[at];
            // A reader counts an incomplete parent once, however many of its partitions are lost.
            self.stages[child].missing += u32::from(was_complete);
            self.settle(child);
            if self.stages[child].wanted {
                stack.push(child);
            }
        }
        if self.stages[key].wanted {
            stack.push(key);
        }
    }

    /// A partition was recomputed and came out different. Everything made from the first answer is recomputed
    /// completely. If results were delivered, this is no longer possible and the job fails.
    pub(super) fn roll_back(&mut self, changed: OutputId, key: StageKey, partition: u32, out: &mut Vec<Action<E>>) {
        let (job, stage) = self.stages[key].owner();
        let declared = !self.stages[key].deterministic;
        out.push(Action::Nondeterministic { job, stage, partition, declared });

        // Attempts launched so far may have read the first answer.
        let launched = self.attempts.launched();
        if let Some(record) = self.outputs.get_mut(&changed) {
            record.change(partition, launched);
        }
        let mut stale = BTreeSet::new();
        let mut readers = BTreeSet::new();
        let mut stack = Vec::new();
        let mut todo = vec![changed];
        while let Some(output) = todo.pop() {
            if let Some(&maker) = self.making.get(&output) {
                readers.extend(self.stages[maker].children.iter().copied());
            }
            // An output may be reached in several ways; it is handled once.
            let made_from = self.outputs.iter().filter(|(_, record)| record.parents.contains(&output));
            let made_from: Vec<OutputId> = made_from.map(|(&id, _)| id).filter(|&id| stale.insert(id)).collect();
            todo.extend(&made_from);
            for id in made_from {
                let Some(record) = self.outputs.get_mut(&id) else { continue };
                let was_complete = record.is_complete();
                // Reports of attempts up to this number are refused from now on, however late they arrive.
                (record.stale, record.changed) = (launched, launched);
                let (blocks, lost) = record.forget();
                out.extend(blocks.into_iter().map(|(engine, attempt)| Action::Discard { engine, attempt }));
                self.missing_again(id, lost, was_complete, &mut stack);
            }
        }
        let mut ending: Vec<(JobId, u32)> = Vec::new();
        for &reader in &readers {
            let stage = &mut self.stages[reader];
            stage.epoch += 1;
            // Fetch failures of the attempt before do not count against this one.
            stage.barren.clear();
            let delivered = stage.results.done + stage.results.delivered;
            if delivered > 0 {
                ending.push((stage.owner().0, delivered));
            }
        }
        self.stop_attempts_of(&readers, out);
        stack.extend(readers.into_iter().filter(|&reader| self.stages[reader].wanted));
        self.demand(stack, out);
        // Last, because ending a job can drop stages that the steps above use.
        for (job, delivered) in ending {
            let Some(stage) = self.stages.get(key.0).and_then(|stage| stage.index_in(job)) else { continue };
            self.end_job(job, End::Failed(Reason::Nondeterministic { stage, partition, delivered }), out);
        }
    }

    fn stop_attempts_of(&mut self, stages: &BTreeSet<StageKey>, out: &mut Vec<Action<E>>) {
        let theirs = self.attempts.iter().filter(|a| !a.stopping && stages.contains(&a.stage)).map(|a| a.id);
        self.call_back(theirs.collect(), out);
        stages.iter().for_each(|&key| self.settle(key));
    }

    /// Stops launches, and puts their tasks back to waiting.
    pub(super) fn call_back(&mut self, attempts: Vec<AttemptId>, out: &mut Vec<Action<E>>) {
        for id in attempts {
            let Some(attempt) = self.attempts.get_mut(id) else { continue };
            attempt.stopping = true;
            let (key, twin, row) = (attempt.stage, attempt.twin.take(), attempt.engine);
            let task = attempt.partitions.clone();
            self.attempts.part(twin);
            self.count_out(key, task.len(), twin.is_some());
            // While a twin runs, the task does not wait. If the twin is called back, it has no twin any more, and puts
            // the task back.
            if twin.is_none() {
                self.stages[key].put_back(task);
            }
            if let Some(engine) = self.engines.get(row) {
                out.push(Action::Kill { engine: engine.id, attempt: id });
            }
            self.settle(key);
        }
    }
}
