//! Stages that are sent to another process of this program: this process plans a job, and another one runs all of it.

use crate::child::{Process, role};
use crate::support::mix;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tryworks::prelude::*;
use tryworks_base::frames::FrameWriter;
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::memory::Memory;
use tryworks_base::{Progress, TaskSite, codec};
use tryworks_core::host::{BlockValue, CachedPartition, Fetched, Host};
use tryworks_core::lineage::Node;
use tryworks_core::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner};
use tryworks_core::stage::{Encoded, Made, ResultValue, Stage};
use tryworks_core::task::TaskContext;
use tryworks_runtime::ship;
use tryworks_store::program::program_id;
use tryworks_store::spill::{SpillOptions, SpillSpace};

/// What travels: the stages, the output and the partitions of each, and the wanted partitions of the last one.
type Request = (Vec<u8>, Vec<(Option<ExchangeId>, u32)>, (u32, u32));
/// What comes back: the process that ran it, and the encoded result of each partition.
type Answer = Result<(u32, Vec<(u32, Vec<u8>)>)>;

/// The host of a worker's tasks.
struct Worker {
    memory: Arc<Memory>,
    space: SpillSpace,
    blocks: Mutex<HashMap<(ExchangeId, u32), BlockValue>>,
    cached: Mutex<HashMap<(CacheId, u32), CachedPartition>>,
}

impl Worker {
    fn new(bytes: u64) -> Self {
        let memory = Memory::new(bytes);
        let space = SpillSpace::new(std::env::temp_dir(), memory.clone(), SpillOptions::default());
        Worker { memory, space, blocks: Mutex::default(), cached: Mutex::default() }
    }
}

impl Host for Worker {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn slots(&self) -> usize {
        1
    }

    fn spill(&self) -> Result<Box<dyn FrameWriter>> {
        self.space.writer()
    }

    fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Fetched> {
        Ok(Fetched::Value(self.blocks.lock().unwrap()[&(exchange, map)].clone()))
    }

    fn cached(&self, cache: CacheId, partition: u32) -> Option<CachedPartition> {
        self.cached.lock().unwrap().get(&(cache, partition)).cloned()
    }

    fn keep(&self, cache: CacheId, partition: u32, block: CachedPartition) {
        self.cached.lock().unwrap().insert((cache, partition), block);
    }
}

/// Runs the stages that a driver sent.
fn serve((parcels, stages, wanted): Request) -> Answer {
    let opened = ship::open(&parcels)?;
    let worker = Arc::new(Worker::new(256 << 10));
    let mut results = Vec::new();
    for (at, (stage, (exchange, partitions))) in opened.iter().zip(stages).enumerate() {
        let partitions = if exchange.is_some() { 0..partitions } else { wanted.0..wanted.1 };
        for partition in partitions {
            let place = TaskSite { job: 1, stage: at as u32, partition, attempt: 0, tries: 1 };
            let task = TaskContext::new(place, worker.clone(), Arc::new(AtomicBool::new(false)));
            match (stage.run(partition, &task)?.made, exchange) {
                (Made::Block(block), Some(exchange)) => {
                    worker.blocks.lock().unwrap().insert((exchange, partition), block.value()?);
                }
                (Made::Result(value), None) => {
                    let mut bytes = Vec::new();
                    value.encode(&mut bytes)?;
                    results.push((partition, bytes));
                }
                _ => panic!("a stage made something else than it was planned to"),
            }
        }
    }
    Ok((std::process::id(), results))
}

/// In a worker: serves one request and ends.
fn serve_if_worker() -> bool {
    let Some(answer_to) = role() else { return false };
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let answer = serve(codec::decode(&bytes).unwrap().0);
    let mut bytes = Vec::new();
    codec::encode(&answer, &mut bytes).unwrap();
    std::fs::write(answer_to, bytes).unwrap();
    true
}

/// Sends a request to a worker.
fn ask(program: &Path, test: &str, request: &Request) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    let answer = dir.path().join("answer");
    let mut bytes = Vec::new();
    codec::encode(request, &mut bytes).unwrap();
    let mut process = Process::start_program(program.as_os_str(), test, answer.to_str().unwrap());
    process.stdin().write_all(&bytes).unwrap();
    let id = process.child.id();
    process.ends_well();
    let answer: Answer = codec::decode(&std::fs::read(answer).unwrap()).unwrap().0;
    if let Ok((ran_by, _)) = &answer {
        assert_eq!(*ran_by, id, "another process was to run it");
    }
    answer
}

/// Sends its jobs to another process.
struct Remote {
    test: &'static str,
    requests: Mutex<Vec<Request>>,
}

/// What exists before a job: nothing.
struct Nothing;

impl tryworks_planner::Facts for Nothing {
    fn made(&self, _: ExchangeId) -> bool {
        false
    }

    fn cached(&self, _: CacheId, _: u32) -> bool {
        false
    }
}

impl Runner for Remote {
    fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
        let plan = tryworks_planner::plan(&job.node, &Nothing)?;
        let stage = |exchange: &Option<Arc<tryworks_core::lineage::Exchange>>| {
            exchange.as_ref().map_or(job.stage.clone(), |exchange| exchange.stage.clone())
        };
        let stages: Vec<Arc<dyn Stage>> = plan.stages.iter().map(|planned| stage(&planned.exchange)).collect();
        let made =
            plan.stages.iter().map(|stage| (stage.exchange.as_ref().map(|exchange| exchange.id), stage.partitions));
        let request = (ship::send(&stages)?, made.collect(), (job.partitions.start, job.partitions.end));
        let (_, parts) = ask(&std::env::current_exe().unwrap(), self.test, &request)?;
        self.requests.lock().unwrap().push(request);
        Ok(Arc::new(Answered(Mutex::new(parts.into()))))
    }

    fn explain(&self, node: &Arc<Node>, _: PlanForm) -> Result<String> {
        Ok(tryworks_planner::text(&tryworks_planner::plan(node, &Nothing)?))
    }

    fn release(&self, _: Releasable) {}
}

struct Answered(Mutex<VecDeque<(u32, Vec<u8>)>>);

impl JobControl for Answered {
    fn id(&self) -> u64 {
        1
    }

    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>> {
        let part = self.0.lock().unwrap().pop_front();
        Ok(part.map(|(partition, bytes)| (partition, Box::new(Encoded(bytes)) as Box<dyn ResultValue>)))
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        code();
        Ok(())
    }

    fn cancel(&self) {}

    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// Makes the datasets of these tests: their jobs run in another process.
struct Driver(Arc<Remote>);

impl Driver {
    fn new(test: &'static str) -> Self {
        Driver(Arc::new(Remote { test, requests: Mutex::default() }))
    }

    /// The first job that was sent.
    fn first_request(&self) -> Request {
        self.0.requests.lock().unwrap()[0].clone()
    }
}

impl Sources for Driver {
    fn runner(&self) -> Arc<dyn Runner> {
        self.0.clone()
    }
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

#[test]
fn narrow_operators_run_elsewhere() {
    if serve_if_worker() {
        return;
    }
    let cx = Driver::new("shipping::narrow_operators_run_elsewhere");
    let pid = cx.range_in(0..3, 3).map(|_| std::process::id()).collect().unwrap();
    assert!(pid.iter().all(|pid| *pid != std::process::id()));

    let words = cx.parallelize_in((0..100).map(|n| format!("Call {n} Me")).collect::<Vec<_>>(), 4);
    let lower = words.flat_map_into(|line, out| line.split(' ').for_each(|word| out.push(Str::lower(word))));
    let found = lower.filter(|word| *word != "me").map(|word| word.len()).collect().unwrap();
    assert!(found.into_iter().eq((0..100).flat_map(|n| [4, format!("{n}").len()])));

    let stops = vec!["me".to_string(), "7".to_string()];
    let rest = lower.with(stops).filter(|stops, word| !stops.iter().any(|stop| *word == stop.as_str()));
    assert_eq!(rest.count().unwrap(), 300 - 100 - 1);

    let ranges = cx.range(0..1000).with_init("10..20".to_string(), |text: &String| {
        let (low, high) = text.split_once("..").ok_or(UserError::msg("no range"))?;
        Ok::<_, UserError>(low.parse::<u64>()?..high.parse::<u64>()?)
    });
    assert_eq!(ranges.filter(|range, n| range.contains(n)).collect().unwrap(), (10..20).collect::<Vec<_>>());
    assert_eq!(cx.range(0..1000).with((3u64, 4u64)).map(|given, n| n * given.0 + given.1).sum().unwrap(), 1_502_500);
    assert_eq!(cx.range(1..100).flat_map(|n| [n, n]).reduce(|a, b| a.max(b)).unwrap(), Some(99));
    assert_eq!(cx.range_in(0..100, 7).take(9).unwrap(), (0..9).collect::<Vec<_>>());
    // Results that are bytes themselves.
    assert_eq!(cx.parallelize_in(vec![7u8, 8, 9, 255], 2).collect().unwrap(), [7, 8, 9, 255]);
    assert_eq!(
        cx.range_in(0..4, 2).zip(&cx.parallelize_in(vec!['a', 'b', 'c', 'd'], 2)).collect().unwrap()[3],
        (3, 'd')
    );
    let parts = cx.range_in(0..10, 2).map_partitions_with_index(|index, items| [(index, items.sum::<u64>())]);
    assert_eq!(parts.union(&parts).collect().unwrap(), [(0, 10), (1, 35), (0, 10), (1, 35)]);
}

#[test]
fn text_is_read_elsewhere() {
    if serve_if_worker() {
        return;
    }
    let cx = Driver::new("shipping::text_is_read_elsewhere");
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..30_000).map(|n| format!("{:x}", mix(n))).collect();
    std::fs::write(dir.path().join("text"), lines.join("\n")).unwrap();
    let text = cx.text_file(dir.path());
    assert!(text.partitions() > 1);
    let found = text.try_map(|line| Ok(u64::from_str_radix(&line, 16)?)).collect().unwrap();
    assert!(found.into_iter().eq((0..30_000).map(mix)));
    let error = text.try_map(|line| Ok(line.parse::<i8>()?)).count().unwrap_err();
    assert!(matches!(&error, Error::User(fault) if fault.operator == "try_map"), "{error}");
    assert!(error.to_string().contains("tests/robust/shipping.rs"), "{error}");
}

#[test]
fn wide_operators_run_elsewhere() {
    if serve_if_worker() {
        return;
    }
    let cx = Driver::new("shipping::wide_operators_run_elsewhere");
    let pairs = cx.range_in(0..20_000, 5).map(|n| (mix(n) % 501, n));
    let mut expected = BTreeMap::<u64, Vec<u64>>::new();
    (0..20_000).for_each(|n| expected.entry(mix(n) % 501).or_default().push(n));

    let sums = sorted(pairs.shuffle_into(3).reduce_by_key(|a, b| a + b).collect().unwrap());
    assert!(sums.into_iter().eq(expected.iter().map(|(key, values)| (*key, values.iter().sum::<u64>()))));
    let greatest = pairs.with(7u64).reduce_by_key(|salt, a, b| if a ^ salt > b ^ salt { a } else { b });
    let greatest = sorted(greatest.collect().unwrap());
    let best = |values: &Vec<u64>| values.iter().copied().max_by_key(|n| n ^ 7).unwrap();
    assert!(greatest.into_iter().eq(expected.iter().map(|(key, values)| (*key, best(values)))));
    assert!(sorted(pairs.group_by_key().collect().unwrap()).into_iter().eq(expected.clone()));
    assert_eq!(pairs.keys().distinct().count().unwrap(), 501);

    let names = cx.parallelize_in((0..600).step_by(3).map(|key| (key, format!("name {key}"))).collect::<Vec<_>>(), 2);
    let joined = sorted(pairs.filter(|(_, n)| *n < 5_000).shuffle_into(4).join(&names).collect().unwrap());
    let matches = (0..5_000).map(|n| (mix(n) % 501, n)).filter(|(key, _)| key % 3 == 0);
    assert!(joined == sorted(matches.map(|(key, n)| (key, (n, format!("name {key}")))).collect()));

    let by_hash = pairs.shuffle_into(4).sort_by(|(_, n)| mix(*n)).values().collect().unwrap();
    let mut order: Vec<u64> = (0..20_000).collect();
    order.sort_by_key(|n| mix(*n));
    assert!(by_hash == order);
    assert_eq!(sorted(pairs.repartition(9).values().collect().unwrap()), (0..20_000).collect::<Vec<_>>());
    let kept = pairs.persist(StorageLevel::MemoryAndDisk);
    assert_eq!(kept.zip(&kept).filter(|(a, b)| a == b).count().unwrap(), 20_000);
}

#[test]
fn boxed_chains_run_elsewhere() {
    if serve_if_worker() {
        return;
    }
    let cx = Driver::new("shipping::boxed_chains_run_elsewhere");
    let mut data: Data<u64> = cx.range_in(0..1_000, 3).boxed();
    for step in 0..50u64 {
        data = data.with(step).map(|step, n| n * 3 % 1_009 + step).boxed();
    }
    let expected = (0..1_000).map(|n| (0..50).fold(n, |n, step| n * 3 % 1_009 + step));
    assert!(data.collect().unwrap().into_iter().eq(expected.clone()));
    // A keyed operator that reads its boxed input in place, and a union of boxed inputs.
    let sums = data.map(|n| (n % 10, n)).shuffle_into(2).reduce_by_key(|a, b| a + b).boxed();
    let again = sums.shuffle_into(2).reduce_by_key(|a, b| a + b);
    let mut all = BTreeMap::<u64, u64>::new();
    expected.for_each(|n| *all.entry(n % 10).or_default() += n);
    assert!(sorted(again.collect().unwrap()).into_iter().eq(all));
    let union = Dataset::union_all(cx.runner(), vec![data.filter(|n| n % 2 == 0).boxed(), data.clone()]);
    assert_eq!(union.count().unwrap(), 1_000 + data.collect().unwrap().iter().filter(|n| *n % 2 == 0).count() as u64);
}

#[test]
fn another_program_is_refused() {
    if serve_if_worker() {
        return;
    }
    let test = "shipping::another_program_is_refused";
    let cx = Driver::new(test);
    assert_eq!(cx.range(0..5).map(|n| n + 1).sum().unwrap(), 15);
    let dir = tempfile::tempdir().unwrap();
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let longer = [own.as_slice(), b"\n"].concat();
    // The names of the sections at the end are not needed to run a program.
    let mut flipped = own;
    *flipped.last_mut().unwrap() ^= 1;
    for (name, bytes) in [("longer", longer), ("flipped", flipped)] {
        let other = dir.path().join(name);
        std::fs::copy(std::env::current_exe().unwrap(), &other).unwrap();
        std::fs::write(&other, bytes).unwrap();
        let error = ask(&other, test, &cx.first_request()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Plan { .. }) && text.contains("they come from another program"), "{text}");
        let id = |whose: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(whose)).unwrap();
            line.trim().to_string()
        };
        let hex: String = program_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id("driver"), hex);
        assert!(id("worker").len() == 64 && id("worker") != hex, "{text}");
    }
}

/// The fields of a parcel: offset, hash of the type, data.
type Fields = (i64, u64, Vec<u8>);

fn fields(bytes: &[u8]) -> ([u8; 32], Vec<Fields>) {
    codec::decode(bytes).unwrap().0
}

fn opened(program: [u8; 32], parcels: &[Fields]) -> Result<usize> {
    let mut bytes = Vec::new();
    codec::encode(&(program, parcels), &mut bytes).unwrap();
    ship::open(&bytes).map(|stages| stages.len())
}

/// Stages of many kinds, as bytes.
fn stages_of_many_kinds() -> Vec<u8> {
    struct Capture(Mutex<Vec<Arc<dyn Stage>>>);
    impl Runner for Capture {
        fn submit(&self, job: JobRequest) -> Result<Arc<dyn JobControl>> {
            let plan = tryworks_planner::plan(&job.node, &Nothing)?;
            let exchanges = plan.stages.iter().filter_map(|stage| stage.exchange.as_ref());
            self.0.lock().unwrap().extend(exchanges.map(|exchange| exchange.stage.clone()).chain([job.stage]));
            Err(Error::Cancelled)
        }

        fn explain(&self, _: &Arc<Node>, _: PlanForm) -> Result<String> {
            Ok(String::new())
        }

        fn release(&self, _: Releasable) {}
    }
    struct Captured(Arc<Capture>);
    impl Sources for Captured {
        fn runner(&self) -> Arc<dyn Runner> {
            self.0.clone()
        }
    }
    let capture = Arc::new(Capture(Mutex::default()));
    let cx = Captured(capture.clone());
    let rows = cx.parallelize_in((0..50u64).map(|n| (n, format!("row {n}"))).collect::<Vec<_>>(), 4);
    let data = rows.with((vec![1u64, 2], "given".to_string())).map(|given, (n, text)| (n + given.0[0], text)).boxed();
    let data = data.filter(|(n, _)| n % 2 == 0).boxed().with_init(3u8, |n| Ok::<_, UserError>(u64::from(*n)));
    let data = data.map(|by, (n, text)| (n % *by, text));
    let joined = data.group_by_key().join(&rows.reduce_by_key(|a, b| a + &b)).sort_by_key().sample(0.5, 3);
    assert!(matches!(joined.collect(), Err(Error::Cancelled)));
    assert!(matches!(cx.range(0..9).repartition(3).persist(StorageLevel::Disk).count(), Err(Error::Cancelled)));
    let text = cx.text_file(file!()).map(|line| line.len());
    assert!(text.take_ordered_by(3, |n| *n).is_err());
    let stages = capture.0.lock().unwrap().clone();
    assert_eq!(stages.len(), 8);
    ship::send(&stages).unwrap()
}

#[test]
fn damaged_parcels_are_errors() {
    let bytes = stages_of_many_kinds();
    let all = ship::open(&bytes).unwrap().len();
    let mut random = (0..).map(mix);
    let mut next = |below: usize| (random.next().unwrap() % below as u64) as usize;

    // Cut off at any byte.
    for len in (0..bytes.len()).step_by(7) {
        assert!(ship::open(&bytes[..len]).is_err(), "cut off at {len}");
    }
    // With bits flipped, and bytes inserted, removed and doubled: the bytes are refused, or harmless.
    let mut refused = 0;
    for round in 0..4_000 {
        let mut bytes = bytes.clone();
        for _ in 0..round % 4 + 1 {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes.insert(at, next(256) as u8),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = [0, 0xfb, 0xfc, 0xfd, 0xff][next(5)],
            }
        }
        refused += u32::from(ship::open(&bytes).is_err());
    }
    assert!(refused > 2_000, "{refused}");

    // The right program in the right form, with wrong places, hashes and data.
    let (program, parcels) = fields(&bytes);
    assert_eq!(opened(program, &parcels).unwrap(), all);
    for round in 0..4_000 {
        let mut parcels = parcels.clone();
        let (at, other) = (next(parcels.len()), next(parcels.len()));
        match round % 6 {
            0 => parcels[at].0 = mix(round) as i64,
            1 => parcels[at].0 += (next(4096) as i64 - 2048) | 1,
            2 => parcels[at].0 += (next(4096) as i64 + 1) * if next(2) == 0 { 8 } else { -8 },
            3 => parcels[at].1 ^= 1 << next(64),
            // The place of another stage, with its hash or without.
            4 => parcels[at].0 = parcels[other].0,
            _ => (parcels[at].0, parcels[at].1) = (parcels[other].0, parcels[other].1),
        }
        let same = |a: &Fields, b: &Fields| (a.0, a.1) == (b.0, b.1);
        let changed = !same(&parcels[at], &fields(&bytes).1[at]);
        let answer = opened(program, &parcels);
        // Data may happen to suit a stage of another kind.
        assert!(answer.is_err() || !changed || round % 6 == 5, "round {round}");
    }
    // The anchor itself is no descriptor.
    for (_, hash, data) in &parcels {
        assert!(opened(program, &[(0, *hash, data.clone())]).is_err());
    }
    for round in 0..4_000 {
        let mut parcels = parcels.clone();
        let at = next(parcels.len());
        let data = &mut parcels[at].2;
        match round % 3 {
            0 if !data.is_empty() => {
                let byte = next(data.len());
                data[byte] = next(256) as u8;
            }
            1 => data.truncate(next(data.len() + 1)),
            _ => data.insert(next(data.len() + 1), next(256) as u8),
        }
        drop(opened(program, &parcels));
    }
}

#[test]
fn a_claimed_length_is_not_believed() {
    let (program, parcels) = fields(&stages_of_many_kinds());
    let mut huge = Vec::new();
    codec::encode(&(1u64 << 60), &mut huge).unwrap();
    for (at, parcel) in parcels.iter().enumerate() {
        let mut refused = 0;
        for byte in 0..parcel.2.len() {
            let mut parcels = parcels.clone();
            parcels[at].2.splice(byte..=byte, huge.iter().copied());
            // Where there is no length, it may be a number with another meaning.
            refused += u32::from(opened(program, &parcels).is_err());
        }
        assert!(refused > 0, "no length was found in parcel {at}");
    }
    let bytes = [program.as_slice(), &huge].concat();
    let error = ship::open(&bytes).err().unwrap();
    assert!(error.to_string().contains("cannot be decoded"), "{error}");
    let data: Result<(Vec<u64>, usize)> = codec::decode(&huge);
    assert!(data.is_err());
    assert!(codec::decode::<String>(&huge).is_err() && codec::decode::<BTreeMap<u8, u8>>(&huge).is_err());
}
