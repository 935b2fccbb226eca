//! How a job begins and ends. What remains of it are outputs that a driver holds.

use super::{
    Scheduler, Time,
    action::{Action, Cancelled, Reason},
    outputs::Output,
    slab::StageKey,
    spec::{JobSpec, Limits, Packing, StageSpec},
    speculation::Pace,
    stage::{Results, Stage},
    waiting::Waiting,
};
use std::collections::{BTreeMap, VecDeque};
use tryworks_base::ids::{JobId, OutputId};

#[derive(Debug)]
pub(super) struct Job {
    /// By their index in the job.
    pub stages: Vec<StageKey>,
    pub limits: Limits,
    pub pool: u32,
    pub program: u64,
    pub submitted: Time,
    pub result_bytes: u64,
}

impl Job {
    pub fn result_stage(&self) -> Option<StageKey> {
        self.stages.last().copied()
    }

    /// When the job fails if there has been no engine since `since`.
    fn patience_ends(&self, since: Time) -> Time {
        since.max(self.submitted) + self.limits.no_engine_grace
    }
}

/// How a job ends.
pub(super) enum End<E> {
    Done,
    Failed(Reason<E>),
    Cancelled,
}

impl<E: Clone> Scheduler<E> {
    pub(super) fn submit(&mut self, job: JobId, spec: JobSpec, out: &mut Vec<Action<E>>) {
        if self.jobs.contains_key(&job) {
            return;
        }
        if let Err(what) = spec.check().and_then(|()| self.agrees(&spec)) {
            out.push(Action::JobFailed { job, reason: Reason::Invalid { what: what.into() } });
            return;
        }
        let Some(pool) = self.pools.find(&spec.pool) else {
            let reason = Reason::NoPool { asks: spec.label, pool: spec.pool, known: self.pools.names() };
            out.push(Action::JobFailed { job, reason });
            return;
        };
        if spec.wanted.is_empty() {
            out.push(Action::JobDone { job });
            return;
        }
        if let Some(reason) = self.delivered_before_a_change(&spec) {
            out.push(Action::JobFailed { job, reason });
            return;
        }
        let mut keys: Vec<StageKey> = Vec::with_capacity(spec.stages.len());
        for (stage, index) in spec.stages.iter().zip(0u32..) {
            let mut parents: Vec<StageKey> = stage.parents.iter().map(|&parent| keys[parent]).collect();
            parents.sort_unstable();
            parents.dedup();
            let shared = stage.output.and_then(|output| self.making.get(&output).copied());
            let key = shared.unwrap_or_else(|| self.add_stage(stage, &spec, pool, parents));
            self.stages[key].users.push((job, index));
            self.stages[key].users.sort_unstable();
            keys.push(key);
        }
        let JobSpec { limits, program, .. } = spec;
        let record = Job { stages: keys, limits, pool, program, submitted: self.now, result_bytes: 0 };
        let (roots, keys) = (record.result_stage(), record.stages.clone());
        if let Some(since) = self.no_engine_since {
            self.patience.insert((record.patience_ends(since), job));
        }
        self.jobs.insert(job, record);
        // A job that is submitted again may be older than the jobs that have a stage, and owns the stage now.
        keys.into_iter().for_each(|key| self.settle(key));
        self.demand(roots.into_iter().collect(), out);
        self.wake_when_patience_ends(out);
    }

    /// A job that is submitted again may have delivered results that depend on an answer which has changed since.
    fn delivered_before_a_change(&self, spec: &JobSpec) -> Option<Reason<E>> {
        let delivered = Some(spec.delivered).filter(|&delivered| delivered > 0)?;
        spec.stages.iter().zip(0..).find_map(|(read, stage)| {
            let partition = self.outputs.get(&read.output?)?.shows?;
            Some(Reason::Nondeterministic { stage, partition, delivered })
        })
    }

    /// Whether the job describes the outputs that it shares in the same way. What a stage reads may differ: a plan ends
    /// where blocks exist, and at partitions that have been cached since.
    fn agrees(&self, spec: &JobSpec) -> Result<(), &'static str> {
        let same = |stage: &StageSpec| {
            let Some(output) = stage.output.and_then(|output| self.outputs.get(&output)) else { return true };
            // Its parents may differ: a stage that reads cached partitions reads nothing else.
            output.partitions == stage.partitions && output.buckets == stage.buckets
        };
        match spec.stages.iter().all(same) {
            true => Ok(()),
            false => Err("an output is described differently than it was before"),
        }
    }

    fn add_stage(&mut self, stage: &StageSpec, spec: &JobSpec, pool: u32, parents: Vec<StageKey>) -> StageKey {
        let missing = parents.iter().filter(|&&parent| !self.is_complete(parent)).count() as u32;
        let results = match stage.output {
            Some(_) => Results::default(),
            None => Results {
                wanted: spec.wanted.runs().to_vec(),
                total: spec.wanted.len(),
                delivered: spec.delivered,
                ..Results::default()
            },
        };
        let cut = match stage.pack {
            Packing::Fixed(partitions) => Some(partitions),
            Packing::BySize { .. } => None,
        };
        let key = StageKey(self.stages.insert(Stage {
            output: stage.output,
            users: Vec::new(),
            parents,
            children: Vec::new(),
            partitions: stage.partitions,
            pack: stage.pack,
            deterministic: stage.deterministic,
            wanted: stage.output.is_none(),
            missing,
            opened: false,
            epoch: 0,
            barren: BTreeMap::new(),
            queue: Waiting::new(cut, stage.partitions, &stage.local_to),
            suspects: VecDeque::new(),
            running: 0,
            running_partitions: 0,
            copies: 0,
            pace: spec.limits.speculation.map(|rule| Box::new(Pace::new(rule))),
            tasks_done: 0,
            tasks_failed: 0,
            results,
            troubles: BTreeMap::new(),
            program: spec.program,
            pool,
            listed: None,
            listed_alone: None,
            seen: 0,
        }));
        for at in 0..self.stages[key].parents.len() {
            let parent = self.stages[key].parents[at];
            self.stages[parent].children.push(key);
        }
        if let Some(output) = stage.output {
            self.making.insert(output, key);
            let parents = parent_outputs(spec, stage);
            let described = || Output::new(stage.partitions, stage.buckets, Vec::new());
            self.outputs.entry(output).or_insert_with(described).add_parents(parents);
        }
        key
    }

    pub(super) fn cancel(&mut self, job: JobId, out: &mut Vec<Action<E>>) {
        self.end_job(job, End::Cancelled, out);
    }

    /// Ends a job, stops what only this job needed, and frees all of its memory.
    pub(super) fn end_job(&mut self, id: JobId, end: End<E>, out: &mut Vec<Action<E>>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(since) = self.no_engine_since {
            self.patience.remove(&(job.patience_ends(since), id));
        }
        let report = match end {
            End::Cancelled => self.cancel_report(&job),
            _ => Vec::new(),
        };
        for &key in &job.stages {
            self.stages[key].users.retain(|&(user, _)| user != id);
        }
        let (orphans, shared): (Vec<StageKey>, Vec<StageKey>) =
            job.stages.iter().partition(|&&key| self.stages[key].users.is_empty());
        // Tasks of stages that other jobs use go on.
        if orphans.iter().any(|&key| self.stages[key].running > 0) {
            for attempt in self.attempts.iter_mut().filter(|attempt| !attempt.stopping) {
                if self.stages[attempt.stage].users.is_empty()
                    && let Some(engine) = self.engines.get(attempt.engine)
                {
                    attempt.stopping = true;
                    out.push(Action::Kill { engine: engine.id, attempt: attempt.id });
                }
            }
        }
        for &key in &orphans {
            self.drop_stage(key, out);
        }
        self.hand_over(&shared, out);
        out.push(match end {
            End::Done => Action::JobDone { job: id },
            End::Failed(reason) => Action::JobFailed { job: id, reason },
            End::Cancelled => Action::JobCancelled { job: id, report },
        });
    }

    fn drop_stage(&mut self, key: StageKey, out: &mut Vec<Action<E>>) {
        let Some(stage) = self.stages.remove(key.0) else { return };
        if let Some(rank) = stage.listed {
            self.pools.unlist(stage.pool, rank);
        }
        // Its running launches were asked to stop. Their reports change no counts, so they leave the pool here.
        self.pools.ended(stage.pool, stage.launches());
        if let Some(time) = stage.pace.and_then(|pace| pace.next_look) {
            self.looks.remove(&(time, key));
        }
        stage.listed_alone.map(|rank| self.alone.remove(&rank));
        for parent in stage.parents {
            if let Some(parent) = self.stages.get_mut(parent.0) {
                parent.children.retain(|&child| child != key);
            }
        }
        if let Some(output) = stage.output {
            self.making.remove(&output);
            if self.outputs.get(&output).is_some_and(|output| output.released) {
                self.delete(output, out);
            }
        }
    }

    /// Stages that outlive the job go on only if another of their jobs needs them now.
    fn hand_over(&mut self, shared: &[StageKey], out: &mut Vec<Action<E>>) {
        let mut heirs: Vec<JobId> = Vec::new();
        for &key in shared {
            self.stages[key].wanted = false;
            self.settle(key);
            heirs.extend(self.stages[key].users.iter().map(|&(user, _)| user));
        }
        heirs.sort_unstable();
        heirs.dedup();
        let roots = heirs.iter().filter_map(|heir| self.jobs.get(heir)?.result_stage()).collect();
        self.demand(roots, out);
    }

    fn cancel_report(&self, job: &Job) -> Vec<Cancelled> {
        let line = |(&key, stage): (&StageKey, u32)| {
            let s = &self.stages[key];
            let (total, done) = match s.output {
                Some(output) => (s.partitions, self.outputs.get(&output).map_or(0, Output::here)),
                None => (s.results.total, s.results.done),
            };
            let shared = s.users.len() > 1;
            let stopped = if shared { 0 } else { s.running_partitions };
            Cancelled { stage, not_started: total - done - s.running_partitions, stopped, done, shared }
        };
        job.stages.iter().zip(0u32..).map(line).collect()
    }

    pub(super) fn release(&mut self, output: OutputId, out: &mut Vec<Action<E>>) {
        match self.outputs.get_mut(&output) {
            Some(record) if self.making.contains_key(&output) => record.released = true,
            Some(_) => self.delete(output, out),
            None => {}
        }
    }

    fn delete(&mut self, output: OutputId, out: &mut Vec<Action<E>>) {
        if let Some(record) = self.outputs.remove(&output) {
            out.extend(record.engines().map(|engine| Action::DeleteOutput { engine, output }));
        }
    }

    /// Looks for stragglers, and fails the jobs that have waited long enough for an engine.
    pub(super) fn tick(&mut self, out: &mut Vec<Action<E>>) {
        self.look_round(out);
        let Some(since) = self.no_engine_since else { return };
        let mut late: Vec<JobId> = self.patience.range(..=(self.now, JobId(u64::MAX))).map(|&(_, job)| job).collect();
        late.sort_unstable();
        for id in late {
            let Some(job) = self.jobs.get(&id) else { continue };
            let waited = self.now.since(since.max(job.submitted));
            self.end_job(id, End::Failed(Reason::NoEngine { waited }), out);
        }
        self.wake_when_patience_ends(out);
    }

    /// Records since when no engine takes tasks. While an engine that takes none still runs some, jobs make progress.
    pub(super) fn look_for_engines(&mut self, out: &mut Vec<Action<E>>) {
        let none = !self.engines.any_able() && self.attempts.len() == 0;
        if none && self.no_engine_since.is_none() {
            self.no_engine_since = Some(self.now);
            self.patience = self.jobs.iter().map(|(&id, job)| (job.patience_ends(self.now), id)).collect();
            self.wake_when_patience_ends(out);
        } else if !none {
            self.no_engine_since = None;
            self.patience.clear();
        }
    }

    pub(super) fn wake_when_patience_ends(&self, out: &mut Vec<Action<E>>) {
        out.extend(self.patience.first().map(|&(time, _)| Action::WakeAt { time }));
    }
}

fn parent_outputs(spec: &JobSpec, stage: &StageSpec) -> Vec<OutputId> {
    stage.parents.iter().filter_map(|&parent| spec.stages[parent].output).collect()
}
