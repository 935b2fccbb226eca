//! The scheduler alone, with more tasks than any test cluster has: how fast it decides, and how much time and memory a
//! task costs it.

use std::time::Instant;
use tryworks_base::ids::{EngineId, JobId, OutputId};
use tryworks_scheduler::*;

/// The figures of a run at scale.
#[derive(Clone, Copy, Debug)]
pub struct ScaleReport {
    /// Engines, each of four slots.
    pub engines: u32,
    /// Tasks; half of them make what the other half reads.
    pub tasks: u32,
    /// Events handled; each takes one decision.
    pub events: u64,
    /// Events handled in a second.
    pub events_per_second: f64,
    /// The scheduler's time for a task, from its launch to its end.
    pub nanos_per_task: f64,
    /// The most bytes that the scheduler held, by its own count.
    pub peak_bytes: usize,
    /// The same for each task, less what the scheduler holds without tasks. Finished partitions are known by place and
    /// checksum (24 bytes); waiting ones are a run; each slot has a seat for what it runs.
    pub bytes_per_task: f64,
    /// The bytes that it holds when the job is over and its output released.
    pub bytes_after: usize,
}

/// The same engines with 10,000, 100,000 and 1,000,000 tasks: the cost of a task should not grow with their number.
pub fn growth(engines: u32) -> [ScaleReport; 3] {
    [10_000, 100_000, 1_000_000].map(|tasks| run(engines, tasks))
}

/// Runs one job of two stages on `engines` fake engines, which finish their tasks in the order in which they got them.
pub fn run(engines: u32, tasks: u32) -> ScaleReport {
    let mut scheduler = Scheduler::<()>::new(Config::default());
    let mut actions = Vec::new();
    for engine in 0..engines {
        scheduler.handle(Time(0), Event::EngineJoined { engine: EngineId(engine), slots: 4 }, &mut actions);
    }
    let idle = scheduler.footprint();
    let half = (tasks / 2).max(1);
    let (output, job, buckets) = (OutputId(1), JobId(1), half);
    let map = StageSpec {
        output: Some(output),
        partitions: half,
        buckets,
        parents: vec![],
        deterministic: true,
        pack: Packing::Fixed(1),
        local_to: vec![],
    };
    let reduce = StageSpec { output: None, buckets: 0, parents: vec![0], ..map.clone() };
    let spec = JobSpec {
        label: "scale".into(),
        stages: vec![map, reduce],
        wanted: (0..half).into(),
        limits: Limits::default(),
        pool: String::new(),
        program: 0,
        delivered: 0,
    };
    let mut running = std::collections::VecDeque::new();
    let (mut events, mut peak, mut now) = (0u64, idle, 0);
    let started = Instant::now();
    scheduler.handle(Time(1), Event::JobSubmitted { job, spec }, &mut actions);
    loop {
        for action in actions.drain(..) {
            if let Action::Launch { tasks, .. } = action {
                running.extend(tasks.iter().map(|task| (task.attempt, task.partitions.len())));
            }
        }
        let Some((attempt, partitions)) = running.pop_front() else { break };
        now += 1_000;
        let report = Report {
            partitions: vec![PartitionReport { bytes: 8, rows: 1, checksum: 1 }; partitions as usize],
            bucket_bytes: Vec::new(),
        };
        scheduler.handle(Time(now), Event::TaskDone { attempt, report }, &mut actions);
        events += 1;
        if events.is_multiple_of(u64::from(half)) || events.is_multiple_of(1 << 16) {
            peak = peak.max(scheduler.footprint());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(events, u64::from(half) * 2, "every task ran once");
    scheduler.handle(Time(now), Event::OutputReleased { output }, &mut actions);
    ScaleReport {
        engines,
        tasks: half * 2,
        events,
        events_per_second: events as f64 / seconds,
        nanos_per_task: seconds * 1e9 / events as f64,
        peak_bytes: peak,
        bytes_per_task: peak.saturating_sub(idle) as f64 / f64::from(half * 2),
        bytes_after: scheduler.footprint(),
    }
}
