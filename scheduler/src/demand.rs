//! Works out what is needed now: which stages are wanted, which can start, and which continue when one is complete.

use super::{Scheduler, action::Action, packing::pack, partitions::Run, slab::StageKey, spec::Packing};
use tryworks_base::ids::EngineId;

impl<E: Clone> Scheduler<E> {
    pub(super) fn is_complete(&self, key: StageKey) -> bool {
        let stage = &self.stages[key];
        match stage.output {
            Some(output) => self.outputs.get(&output).is_some_and(|output| output.is_complete()),
            None => stage.results.done == stage.results.total,
        }
    }

    /// Starts what can start and wants what is missing, from these wanted stages towards the sources.
    pub(super) fn demand(&mut self, mut stack: Vec<StageKey>, out: &mut Vec<Action<E>>) {
        self.walk += 1;
        while let Some(key) = stack.pop() {
            let stage = &mut self.stages[key];
            if std::mem::replace(&mut stage.seen, self.walk) == self.walk || self.is_complete(key) {
                continue;
            }
            let stage = &self.stages[key];
            if stage.wanted && stage.missing == 0 && !stage.opened {
                self.open(key, out);
            } else if stage.missing > 0 && stage.is_hungry() {
                for at in 0..self.stages[key].parents.len() {
                    let parent = self.stages[key].parents[at];
                    if !self.is_complete(parent) {
                        let stage = &mut self.stages[parent];
                        if !std::mem::replace(&mut stage.wanted, true) {
                            // The walk may have visited it before any reader wanted it.
                            stage.seen = 0;
                        }
                        stack.push(parent);
                    }
                }
            }
            self.settle(key);
        }
    }

    /// Whether this job waits for this stage.
    pub(super) fn needs(&mut self, result: StageKey, wanted: StageKey) -> bool {
        self.walk += 1;
        let mut stack = vec![result];
        while let Some(key) = stack.pop() {
            if key == wanted {
                return true;
            }
            if std::mem::replace(&mut self.stages[key].seen, self.walk) == self.walk || self.is_complete(key) {
                continue;
            }
            if self.stages[key].is_hungry() {
                let parents = self.stages[key].parents.iter().copied();
                stack.extend(parents.filter(|&parent| !self.is_complete(parent)));
            }
        }
        false
    }

    /// A stage may launch for the first time: every partition that does not exist yet waits in it.
    fn open(&mut self, key: StageKey, out: &mut Vec<Action<E>>) {
        let stage = &mut self.stages[key];
        stage.opened = true;
        let runs = match stage.output {
            Some(output) => self.outputs.get(&output).map(|output| output.missing()).unwrap_or_default(),
            None => std::mem::take(&mut stage.results.wanted),
        };
        self.enqueue(key, runs);
        self.announce(key, out);
    }

    pub(super) fn announce(&self, key: StageKey, out: &mut Vec<Action<E>>) {
        let stage = &self.stages[key];
        let (job, index) = stage.owner();
        let (stage_attempt, tasks) = (stage.epoch, stage.waiting_tasks());
        out.push(Action::StageStarted { job, stage: index, stage_attempt, tasks });
    }

    /// Adds partitions to the tasks that wait in a stage: packed as the stage says, and for the engines that have what
    /// they read.
    pub(super) fn enqueue(&mut self, key: StageKey, runs: Vec<Run>) {
        let unfit = self.unfit_for(key);
        let stage = &self.stages[key];
        if let (Packing::Fixed(_), false) = (stage.pack, stage.queue.has_hints()) {
            return self.stages[key].queue.push(None, runs);
        }
        let sizes = match stage.pack {
            Packing::BySize { .. } => self.input_sizes(key),
            Packing::Fixed(_) => Vec::new(),
        };
        let split = |run: Run| {
            let avoid = stage.to_avoid(run.start);
            let local =
                |engine| self.engines.able_row(engine).filter(|_| !avoid.contains(&engine) && !unfit.contains(&engine));
            stage.queue.split(run, local)
        };
        let parts: Vec<(Option<u32>, Run)> = runs.into_iter().flat_map(split).collect();
        let stage = &mut self.stages[key];
        for (to, run) in parts {
            match stage.pack {
                Packing::Fixed(_) => stage.queue.push(to, [run]),
                Packing::BySize { target_bytes, max_partitions } => {
                    stage.queue.push(to, pack(run, &sizes, target_bytes, max_partitions));
                }
            }
        }
    }

    /// Decides again where tasks wait. Either an engine (its row is `gone`) is lost or unfit, and tasks that waited for
    /// it wait elsewhere. Or an engine has come or is fit again, and tasks whose inputs it has wait for it.
    pub(super) fn wait_again(&mut self, gone: Option<u32>) {
        for (_, stage) in self.stages.iter_mut().filter(|(_, stage)| stage.queue.has_hints()) {
            for run in stage.queue.take_runs(gone) {
                let unfit = self.unfit.get(&stage.program);
                let fit = |engine: &EngineId| unfit.is_none_or(|unfit| !unfit.contains_key(engine));
                let local = |engine| self.engines.able_row(engine).filter(|_| fit(&engine));
                for (to, part) in stage.queue.split(run, local) {
                    stage.queue.push(to, [part]);
                }
            }
        }
    }

    /// The size of what each partition of a stage reads, as far as it was measured.
    fn input_sizes(&self, key: StageKey) -> Vec<u64> {
        let stage = &self.stages[key];
        let mut sizes = vec![0u64; stage.partitions as usize];
        let outputs = stage.parents.iter().filter_map(|&parent| self.outputs.get(&self.stages[parent].output?));
        for output in outputs.filter(|output| output.buckets == stage.partitions) {
            for (sum, bytes) in sizes.iter_mut().zip(&output.bucket_bytes) {
                *sum = sum.saturating_add(*bytes);
            }
        }
        sizes
    }

    /// Lists a stage among those that can launch, or removes it, in the pool of the job that owns it now.
    pub(super) fn settle(&mut self, key: StageKey) {
        let stage = &mut self.stages[key];
        let can = stage.wanted && stage.missing == 0;
        let rank = stage.users.first().map(|&(job, index)| (job, index, key));
        let (listed, alone, pool) = (stage.listed, stage.listed_alone, stage.pool);
        stage.listed = rank.filter(|_| can && stage.has_tasks());
        stage.listed_alone = rank.filter(|_| can && !stage.suspects.is_empty());
        if let Some(job) = rank.and_then(|(job, ..)| self.jobs.get(&job)) {
            stage.pool = job.pool;
        }
        // The owner has changed: its pool now counts the launches.
        if stage.pool != pool {
            self.pools.ended(pool, stage.launches());
            self.pools.started(stage.pool, stage.launches());
        }
        if (stage.listed, stage.pool) != (listed, pool) {
            listed.into_iter().for_each(|rank| self.pools.unlist(pool, rank));
            stage.listed.into_iter().for_each(|rank| self.pools.list(stage.pool, rank));
        }
        if stage.listed_alone != alone {
            alone.map(|rank| self.alone.remove(&rank));
            self.alone.extend(stage.listed_alone);
        }
    }

    /// A map stage is complete: its readers may begin.
    pub(super) fn stage_complete(&mut self, key: StageKey, out: &mut Vec<Action<E>>) {
        let stage = &mut self.stages[key];
        stage.wanted = false;
        let ((job, index), stage_attempt) = (stage.owner(), stage.epoch);
        out.push(Action::StageFinished { job, stage: index, stage_attempt });
        self.settle(key);
        for at in 0..self.stages[key].children.len() {
            let child = self.stages[key].children[at];
            let reader = &mut self.stages[child];
            reader.missing -= 1;
            if reader.missing == 0 && reader.wanted && !reader.opened {
                self.open(child, out);
            }
            self.settle(child);
        }
    }
}
