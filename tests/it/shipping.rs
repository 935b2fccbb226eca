//! Stages in the form in which they travel to another process: how large they are, and that they are the same at the
//! other end.

use crate::support::cx;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tryworks::prelude::*;
use tryworks::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner};
use tryworks_base::ids::{AttemptId, JobId};
use tryworks_core::lineage::{Input, Node};
use tryworks_core::stage::Stage;
use tryworks_runtime::ship::{open, send};
use tryworks_scheduler::Task;
use tryworks_testing::cases;

/// A runner that encodes and decodes every last stage before it runs it, and records how many bytes that took.
struct Through {
    runner: Arc<dyn Runner>,
    sent: Mutex<Vec<usize>>,
}

/// The stages of the map tasks of all shuffles before a dataset.
fn map_stages(node: &Arc<Node>) -> Vec<Arc<dyn Stage>> {
    let (mut found, mut left) = (Vec::new(), vec![node.clone()]);
    while let Some(node) = left.pop() {
        for input in &node.inputs {
            left.push(match input {
                Input::Narrow(node) => node.clone(),
                Input::Shuffle(exchange) => {
                    found.push(exchange.stage.clone());
                    exchange.input.clone()
                }
            });
        }
    }
    found
}

/// A context with that runner.
struct Shipping(Arc<Through>);

impl Shipping {
    fn new() -> Self {
        Shipping(Arc::new(Through { runner: cx().runner(), sent: Mutex::default() }))
    }

    /// The bytes of the last stage that was sent.
    fn last(&self) -> usize {
        *self.0.sent.lock().unwrap().last().expect("no job was run")
    }
}

impl Sources for Shipping {
    fn runner(&self) -> Arc<dyn Runner> {
        self.0.clone()
    }
}

impl Runner for Through {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        let maps = map_stages(&job.node);
        let bytes = send(&maps)?;
        assert_eq!(send(&open(&bytes)?)?, bytes, "what arrives is what was sent");
        let bytes = send(std::slice::from_ref(&job.stage))?;
        self.sent.lock().unwrap().push(bytes.len());
        let stage = open(&bytes)?.pop().expect("one was sent");
        self.runner.submit(JobRequest { stage, ..job })
    }

    fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
        self.runner.explain(node, form)
    }

    fn release(&self, what: Releasable) {
        self.runner.release(what);
    }
}

#[test]
fn every_case_gives_the_same_after_a_journey() {
    let (plain, travelled) = (cx(), Shipping::new());
    let cases = cases::all().into_iter().zip(cases::all());
    for (here, there) in cases.filter(|(case, _)| !case.spills) {
        let answer = there.run(&travelled).unwrap_or_else(|error| panic!("`{}` failed: {error}", there.name));
        there.check(&answer);
        assert!(here.run(&plain).unwrap() == answer, "`{}` gives another answer after a journey", there.name);
    }
}

#[test]
fn a_partition_that_does_not_exist_is_refused_before_anything_runs() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    /// Asks for one partition more than exists.
    struct Beyond(Arc<dyn Runner>);
    impl Runner for Beyond {
        fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
            self.0.submit(JobRequest { partitions: job.partitions.start..job.partitions.end + 1, ..job })
        }
        fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
            self.0.explain(node, form)
        }
        fn release(&self, what: Releasable) {
            self.0.release(what);
        }
    }
    struct BeyondSources(Arc<dyn Runner>);
    impl Sources for BeyondSources {
        fn runner(&self) -> Arc<dyn Runner> {
            self.0.clone()
        }
    }
    let cx = BeyondSources(Arc::new(Beyond(cx().runner())));
    let counted = cx.range_in(0..10, 2).map(|n| {
        RUNS.fetch_add(1, Relaxed);
        n
    });
    let error = counted.count().unwrap_err();
    assert!(error.to_string().contains("partition does not exist"), "{error}");
    let error = counted.key_by(|n| *n).reduce_by_key(|a, _| a).count().unwrap_err();
    assert!(error.to_string().contains("partition does not exist"), "{error}");
    assert_eq!(RUNS.load(Relaxed), 0);
}

#[test]
fn code_weighs_nothing_and_values_weigh_what_they_are() -> Result<()> {
    let cx = Shipping::new();
    let n = cx.range_in(0..1000, 3);
    n.count()?;
    let bare = cx.last();
    n.map(|n| n + 1).filter(|n| n % 2 == 0).flat_map(|n| [n, n]).key_by(|n| n % 7).map_values(|n| n * 2).count()?;
    // An operator takes its name and the place of its call.
    assert!(cx.last() - bare < 5 * 100, "{} bytes for five operators", cx.last() - bare);

    let large = vec![7u8; 1 << 20];
    n.with(large).filter(|bytes, n| bytes.len() as u64 > *n).count()?;
    let with_large = cx.last() - bare;
    assert!((1 << 20..(1 << 20) + 1000).contains(&with_large), "{with_large} bytes for a value of 1 MiB");
    Ok(())
}

#[test]
fn a_task_stays_small_however_large_the_plan() -> Result<()> {
    // The plan is sent once to each worker; a task says which partitions of which stage to run.
    let task = |partitions: std::ops::Range<u32>| Task {
        attempt: AttemptId(u64::MAX),
        job: JobId(u64::MAX),
        stage: u32::MAX,
        stage_attempt: u32::MAX,
        tries: u32::MAX,
        alone: false,
        copy_of: None,
        partitions: partitions.into(),
    };
    for partitions in [0..1, 0..1_000_000, u32::MAX - 1..u32::MAX] {
        assert!(tryworks_base::codec::encoded_len(&task(partitions)) < 64);
    }
    Ok(())
}

#[test]
fn code_of_another_program_and_damaged_code_are_refused() -> Result<()> {
    static STAGE: Mutex<Option<Arc<dyn Stage>>> = Mutex::new(None);
    struct Keep;
    impl Runner for Keep {
        fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
            *STAGE.lock().unwrap() = Some(job.stage);
            Err(Error::Stopped)
        }
        fn explain(&self, _: &Arc<Node>, _: PlanForm) -> Result<String> {
            Err(Error::Stopped)
        }
        fn release(&self, _: Releasable) {}
    }
    struct Keeping;
    impl Sources for Keeping {
        fn runner(&self) -> Arc<dyn Runner> {
            Arc::new(Keep)
        }
    }
    assert_eq!(Keeping.range(0..10).map(|n| n + 1).count(), Err(Error::Stopped));
    let stage = STAGE.lock().unwrap().take().expect("a job was asked for");
    let bytes = send(&[stage])?;
    assert_eq!(open(&bytes)?.len(), 1);
    // The first 32 bytes identify the program.
    let mut other = bytes.clone();
    other[0] ^= 1;
    let error = open(&other).map(|stages| stages.len()).unwrap_err().to_string();
    assert!(error.contains("another program") && error.contains("driver") && error.contains("worker"), "{error}");
    for cut in 0..bytes.len() {
        assert!(open(&bytes[..cut]).is_err(), "cut at byte {cut}");
    }
    // The place of the code and the hash of its type follow.
    for at in 33..bytes.len().min(48) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        if let Ok(stages) = open(&damaged) {
            assert_ne!(send(&stages)?, bytes, "byte {at} means nothing");
        }
    }
    Ok(())
}
