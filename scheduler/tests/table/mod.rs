//! Drives the scheduler by hand: a test says what happens, and looks at the scheduler's actions.
#![allow(dead_code)]

use std::time::Duration;
use tryworks_base::ids::{AttemptId, EngineId, JobId, OutputId};
use tryworks_scheduler::*;

/// The scheduler, and its actions since the test last looked.
pub struct Table {
    pub scheduler: Scheduler<String>,
    pub actions: Vec<Action<String>>,
    /// Launches that are not reported yet, with their engines, in the order of launching.
    pub out: Vec<(EngineId, Task)>,
    pub now: Time,
}

/// A map stage that makes output `n`.
pub fn map(n: u64, partitions: u32, parents: &[usize]) -> StageSpec {
    let pack = Packing::Fixed(1);
    StageSpec {
        output: Some(OutputId(n)),
        partitions,
        buckets: 2,
        parents: parents.to_vec(),
        deterministic: true,
        pack,
        local_to: vec![],
    }
}

/// A result stage.
pub fn result(partitions: u32, parents: &[usize]) -> StageSpec {
    StageSpec { output: None, buckets: 0, ..map(0, partitions, parents) }
}

/// A job that wants all of its last stage.
pub fn job(stages: Vec<StageSpec>) -> JobSpec {
    let wanted = (0..stages.last().unwrap().partitions).into();
    JobSpec {
        label: "test".into(),
        stages,
        wanted,
        limits: Limits::default(),
        pool: String::new(),
        program: 0,
        delivered: 0,
    }
}

impl Table {
    /// Engines 1 to `engines`, each with `slots` slots.
    pub fn with(engines: u32, slots: u32) -> Self {
        let scheduler = Scheduler::new(Config::default());
        let mut table = Self { scheduler, actions: Vec::new(), out: Vec::new(), now: Time(0) };
        (1..=engines).for_each(|engine| table.join(engine, slots));
        table
    }

    pub fn tell(&mut self, event: Event<String>) {
        match &event {
            Event::TaskDone { attempt, .. } | Event::TaskFailed { attempt, .. } => {
                self.out.retain(|(_, task)| task.attempt != *attempt);
            }
            Event::WorkerDied { suspects, .. } => self.out.retain(|(_, task)| !suspects.contains(&task.attempt)),
            Event::EngineLost { engine, .. } => self.out.retain(|(on, _)| on != engine),
            _ => {}
        }
        let before = self.actions.len();
        self.now = Time(self.now.0 + 1);
        self.scheduler.handle(self.now, event, &mut self.actions);
        for action in &self.actions[before..] {
            if let Action::Launch { engine, tasks } = action {
                self.out.extend(tasks.iter().map(|task| (*engine, task.clone())));
            }
        }
    }

    pub fn join(&mut self, engine: u32, slots: u32) {
        self.tell(Event::EngineJoined { engine: EngineId(engine), slots });
    }

    pub fn lose(&mut self, engine: u32) {
        self.tell(Event::EngineLost { engine: EngineId(engine), error: "cut off".into() });
    }

    pub fn submit(&mut self, id: u64, spec: JobSpec) {
        self.tell(Event::JobSubmitted { job: JobId(id), spec });
    }

    pub fn cancel(&mut self, id: u64) {
        self.tell(Event::JobCancelled { job: JobId(id) });
    }

    pub fn release(&mut self, output: u64) {
        self.tell(Event::OutputReleased { output: OutputId(output) });
    }

    /// The running launch of partition `partition` of stage `stage`, of any job.
    pub fn task(&self, stage: u32, partition: u32) -> (EngineId, Task) {
        let found = self.out.iter().find(|(_, task)| task.stage == stage && task.partitions.contains(partition));
        found.unwrap_or_else(|| panic!("stage {stage} partition {partition} is not out: {}", self.running())).clone()
    }

    pub fn attempt(&self, stage: u32, partition: u32) -> AttemptId {
        self.task(stage, partition).1.attempt
    }

    /// Finishes a task; `checksum` stands for what it made.
    pub fn done_with(&mut self, attempt: AttemptId, partitions: u32, bytes: u64, checksum: u64) {
        let partition = PartitionReport { bytes, rows: 1, checksum };
        let report = Report { partitions: vec![partition; partitions as usize], bucket_bytes: vec![] };
        self.tell(Event::TaskDone { attempt, report });
    }

    pub fn done(&mut self, stage: u32, partition: u32) {
        let (_, task) = self.task(stage, partition);
        self.done_with(task.attempt, task.partitions.len(), 1, 7);
    }

    /// Finishes the running tasks, and those that are launched then, until none is running.
    pub fn finish_all(&mut self) {
        while let Some((_, task)) = self.out.first().cloned() {
            self.done_with(task.attempt, task.partitions.len(), 1, 7);
        }
    }

    pub fn fail(&mut self, stage: u32, partition: u32, error: &str) {
        let attempt = self.attempt(stage, partition);
        self.tell(Event::TaskFailed { attempt, failure: Failure::User(error.into()) });
    }

    /// The block of this partition is lost.
    pub fn lose_block(&mut self, output: u64, partition: u32) {
        let place = self.scheduler.places(OutputId(output))[partition as usize];
        let BlockLocation { engine, made_by } = place.location().expect("the block exists");
        self.tell(Event::BlockLost { engine, output: OutputId(output), partition, made_by });
    }

    /// The task could not read partition `lost` of output `output` at its present place.
    pub fn cannot_fetch(&mut self, attempt: AttemptId, output: u64, lost: u32) {
        let place = self.scheduler.places(OutputId(output))[lost as usize].location();
        self.cannot_fetch_from(attempt, output, lost, place);
    }

    pub fn cannot_fetch_from(&mut self, attempt: AttemptId, output: u64, lost: u32, at: Option<BlockLocation>) {
        let missed = vec![FetchFailure { output: OutputId(output), partition: lost, at }];
        self.tell(Event::TaskFailed { attempt, failure: Failure::Fetch(missed) });
    }

    /// The running launches, as `stage:partitions@engine`, in the order of launching.
    pub fn running(&self) -> String {
        let line = |(engine, task): &(EngineId, Task)| format!("{}:{:?}@{}", task.stage, task.partitions, engine.0);
        self.out.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    /// The actions since this was last called.
    pub fn said(&mut self) -> Vec<Action<String>> {
        std::mem::take(&mut self.actions)
    }

    /// How the job ended: "done", "cancelled", or the reason; "" while it has not.
    pub fn end_of(&self, id: u64) -> String {
        let mut ends = self.actions.iter().filter_map(|action| match action {
            Action::JobDone { job } if job.0 == id => Some("done".to_owned()),
            Action::JobCancelled { job, .. } if job.0 == id => Some("cancelled".to_owned()),
            Action::JobFailed { job, reason } if job.0 == id => Some(reason.to_string()),
            _ => None,
        });
        let end = ends.next().unwrap_or_default();
        assert_eq!(ends.next(), None, "a job ends once");
        end
    }

    pub fn commits_of(&self, id: u64) -> Vec<u32> {
        let commits = self.actions.iter().filter_map(|action| match action {
            Action::Commit { job, partitions, .. } if job.0 == id => Some(partitions.iter().collect::<Vec<_>>()),
            _ => None,
        });
        commits.flatten().collect()
    }

    pub fn killed(&self) -> Vec<AttemptId> {
        let kills = |action: &Action<String>| match action {
            Action::Kill { attempt, .. } => Some(*attempt),
            _ => None,
        };
        self.actions.iter().filter_map(kills).collect()
    }

    /// Lets time pass until the scheduler's alarm is due.
    pub fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.tell(Event::Tick);
    }
}
