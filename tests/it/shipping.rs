//! Stages as they would travel to another process: how large they are, and that they are the same at the other end.

use crate::support::{cx, sorted};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tryworks::prelude::*;
use tryworks::runner::{JobControl, JobRequest, Kept, PlanForm, Runner};
use tryworks_base::ids::{AttemptId, JobId};
use tryworks_core::lineage::{Input, Node};
use tryworks_core::stage::Stage;
use tryworks_runtime::ship::{open, send};
use tryworks_scheduler::Task;

/// A runner that sends every last stage through bytes before it runs it, and notes how many bytes it were.
struct Through {
    runner: Arc<dyn Runner>,
    sent: Mutex<Vec<usize>>,
}

/// What the map tasks of all shuffles before a dataset run.
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

/// The context of such a runner.
struct Shipping(Arc<Through>);

impl Shipping {
    fn new() -> Self {
        Shipping(Arc::new(Through { runner: cx().runner(), sent: Mutex::default() }))
    }

    /// The bytes of the stage that was sent last.
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

    fn release(&self, what: Kept) {
        self.runner.release(what);
    }
}

#[test]
fn every_narrow_operator_gives_the_same_after_a_journey() -> Result<()> {
    let cx = Shipping::new();
    let n = cx.range_in(0..1000, 3);
    let all: Vec<u64> = (0..1000).collect();
    let even: Vec<u64> = (0..1000).filter(|n| n % 2 == 0).collect();
    assert_eq!(n.map(|n| n + 1).map(|n| n - 1).collect()?, all);
    assert_eq!(n.filter(|n| n % 2 == 0).collect()?, even);
    assert_eq!(n.flat_map(|n| (n % 2 == 0).then_some(n)).collect()?, even);
    assert_eq!(
        n.flat_map_into(|n, out| if n % 2 == 0 {
            out.push(n)
        })
        .collect()?,
        even
    );
    assert_eq!(n.try_map(Ok).try_filter(|n| Ok(n % 2 == 0)).try_flat_map(|n| Ok([n])).collect()?, even);
    assert_eq!(n.key_by(|n| n % 2).map_values(|n| n).filter(|(odd, _)| *odd == 0).values().collect()?, even);
    assert_eq!(n.map(|n| (n, ())).keys().collect()?, all);
    assert_eq!(n.map_partitions(|items| items.filter(|n| n % 2 == 0)).collect()?, even);
    assert_eq!(n.map_partitions_with_index(|_, items| items).collect()?, all);
    assert_eq!(n.coalesce(2).collect()?, all);
    assert_eq!(n.zip(&n.map(|n| n * 2)).collect()?, all.iter().map(|n| (*n, n * 2)).collect::<Vec<_>>());
    assert_eq!(n.union(&n).collect()?, [&all[..], &all[..]].concat());
    assert_eq!(n.cache().collect()?, all);
    assert_eq!(cx.parallelize_in(all.clone(), 4).collect()?, all);
    let plain = crate::support::cx();
    assert_eq!(n.sample(0.3, 9).collect()?, plain.range_in(0..1000, 3).sample(0.3, 9).collect()?);
    Ok(())
}

#[test]
fn given_values_and_boxed_chains_travel_along() -> Result<()> {
    let cx = Shipping::new();
    let n = cx.range_in(0..1000, 3);
    let words = vec!["call".to_string(), "me".to_string()];
    let lengths: Vec<u64> = (0..1000).map(|n| n + words[n as usize % 2].len() as u64).collect();
    let by = |words: &Vec<String>, n: u64| n + words[n as usize % 2].len() as u64;
    assert_eq!(n.with(words.clone()).map(by).collect()?, lengths);
    assert_eq!(n.boxed().with(words).map(by).boxed().map(|n| n).boxed().collect()?, lengths);
    let made = n.with_init("7".to_string(), |text| text.parse::<u64>());
    assert_eq!(made.map(|seven, n| n * seven).sum()?, 499_500 * 7);
    // What was made where the tasks ran is made on the driver too, which orders what they found.
    let made = n.with_init("7".to_string(), |text| text.parse::<u64>());
    assert_eq!(made.take_ordered_by(3, |seven, n| n ^ seven)?, [7, 6, 5]);
    let parts: Vec<Data<u64>> = (0..10).map(|k| cx.range_in(k..k + 5, 2).map(|n| n * 2).boxed()).collect();
    let many = Dataset::union_all(cx.runner(), parts);
    assert_eq!(many.collect()?, (0..10).flat_map(|k| (k..k + 5).map(|n| n * 2)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn every_wide_operator_gives_the_same_after_a_journey() -> Result<()> {
    let cx = Shipping::new();
    let pairs = cx.range_in(0..1000, 3).map(|n| (n % 10, n));
    let sum = |key: u64| (0..1000).filter(|n| n % 10 == key).sum::<u64>();
    let sums: Vec<(u64, u64)> = (0..10).map(|key| (key, sum(key))).collect();
    let reduced = pairs.reduce_by_key(|a, b| a + b);
    assert_eq!(sorted(reduced.collect()?), sums);
    assert_eq!(sorted(pairs.group_by_key().map(|(key, all)| (key, all.iter().sum())).collect()?), sums);
    assert_eq!(pairs.with(1u64).reduce_by_key(|k, a, b| a * k + b).values().sum()?, 499_500);
    assert_eq!(reduced.sort_by_key().collect()?, sums);
    assert_eq!(sorted(reduced.join(&reduced).map(|(key, (a, _))| (key, a)).collect()?), sums);
    assert_eq!(sorted(pairs.keys().distinct().collect()?), (0..10).collect::<Vec<_>>());
    assert_eq!(sorted(pairs.values().repartition(4).collect()?), (0..1000).collect::<Vec<_>>());
    assert_eq!(pairs.sort_by(|pair| std::cmp::Reverse(pair.1)).first()?, (9, 999));
    Ok(())
}

#[test]
fn every_action_gives_the_same_after_a_journey() -> Result<()> {
    let cx = Shipping::new();
    let n = cx.range_in(0..1000, 3);
    assert_eq!((n.count()?, n.sum()?, n.min()?, n.max()?), (1000, 499_500, 0, 999));
    assert_eq!((n.reduce(|a, b| a + b)?, n.fold(0, |a, b| a + b)?), (499_500, 499_500));
    assert_eq!(n.aggregate((0, 0), |(s, c), n| (s + n, c + 1), |a, b| (a.0 + b.0, a.1 + b.1))?, (499_500, 1000));
    assert_eq!(n.take_ordered_by(2, |n| std::cmp::Reverse(*n))?, [999, 998]);
    assert_eq!((n.take(2)?, n.first()?), (vec![0, 1], 0));
    n.for_each(|n| assert!(n < 1000))?;
    let error = n.with(500u64).for_each(|end, n| assert!(n < *end)).unwrap_err();
    assert_eq!(crate::support::fault(error).operator, "for_each");
    let scratch = tempfile::tempdir().unwrap();
    n.save_as_text_file(scratch.path().join("out"))?;
    assert_eq!(cx.text_file(scratch.path().join("out")).count()?, 1000);
    Ok(())
}

#[test]
fn a_partition_that_does_not_exist_is_refused_before_anything_runs() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    /// Asks for one partition more than there are.
    struct Beyond(Arc<dyn Runner>);
    impl Runner for Beyond {
        fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
            self.0.submit(JobRequest { partitions: job.partitions.start..job.partitions.end + 1, ..job })
        }
        fn explain(&self, node: &Arc<Node>, form: PlanForm) -> Result<String> {
            self.0.explain(node, form)
        }
        fn release(&self, what: Kept) {
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
    // An operator is its name and the place of its call.
    assert!(cx.last() - bare < 5 * 100, "{} bytes for five operators", cx.last() - bare);

    let large = vec![7u8; 1 << 20];
    n.with(large).filter(|bytes, n| bytes.len() as u64 > *n).count()?;
    let with_large = cx.last() - bare;
    assert!((1 << 20..(1 << 20) + 1000).contains(&with_large), "{with_large} bytes for a value of 1 MiB");
    Ok(())
}

#[test]
fn a_task_stays_small_however_large_the_plan() -> Result<()> {
    // The plan goes out once for each worker; a task says which partitions of which stage.
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
fn what_another_program_sent_or_a_hand_damaged_is_refused() -> Result<()> {
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
        fn release(&self, _: Kept) {}
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
    // The first 32 bytes say which program it is.
    let mut other = bytes.clone();
    other[0] ^= 1;
    let error = open(&other).map(|stages| stages.len()).unwrap_err().to_string();
    assert!(error.contains("another program") && error.contains("driver") && error.contains("worker"), "{error}");
    for cut in 0..bytes.len() {
        assert!(open(&bytes[..cut]).is_err(), "cut at byte {cut}");
    }
    // The place of the code and the hash of its type come behind.
    for at in 33..bytes.len().min(48) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        if let Ok(stages) = open(&damaged) {
            assert_ne!(send(&stages)?, bytes, "byte {at} means nothing");
        }
    }
    Ok(())
}
