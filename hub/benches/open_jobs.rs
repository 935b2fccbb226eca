//! What many open jobs cost a hub. First: empty jobs a second, with few others in flight and with 30,000. Then: how
//! long the hub is silent while a session with 40,000 or 100,000 unclosed jobs ends. This program plays driver and
//! engine, so that the figures are the hub's.
//!
//!     cargo bench -p tryworks-hub --bench open_jobs

use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};
use tryworks_base::Action;
use tryworks_base::ids::{AttemptId, SessionId};
use tryworks_hub::{Limits, Options};
use tryworks_protocol as protocol;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::ask::Admin;
use tryworks_protocol::driver::{FromDriver, NewJob, ToDriver, Welcome};
use tryworks_protocol::engine::{Assignment, CodeBytes, FromEngine, Offer, ResultPart, StorePlace, ToEngine};
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, Opening, Purpose};
use tryworks_scheduler::{JobSpec, Limits as JobLimits, Packing, PartitionReport, Report, StageSpec};
use tryworks_store::blocks::BlockStore;
use tryworks_transport::{Link, LinkReceiver, LinkSender};

/// Jobs whose rate is measured.
const JOBS: u64 = 10_000;
/// How many jobs are in flight at a time.
const IN_FLIGHT: [u64; 2] = [64, 30_000];
/// Jobs that are open when their session ends.
const OPEN: [u64; 2] = [40_000, 100_000];

type Ends = (LinkSender, LinkReceiver);

async fn dial<W: serde::de::DeserializeOwned>(directory: &Path, socket: &str, purpose: Purpose) -> (Ends, W) {
    let (to, mut from) = Link::unix(directory.join(socket)).await.unwrap();
    let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: tryworks_protocol::host::here(), purpose };
    to.send(hello.to_bytes().unwrap().into()).unwrap();
    match protocol::opening(&from.recv().await.unwrap()).unwrap() {
        Opening::Welcome(welcome) => ((to, from), welcome),
        Opening::Refused(why) => panic!("{why}"),
    }
}

async fn driver(directory: &Path) -> (Ends, SessionId) {
    let purpose = Purpose::Drive { again: None, program: Program::default() };
    let (ends, welcome) = dial::<Welcome>(directory, "drivers.sock", purpose).await;
    (ends, welcome.session)
}

fn say(to: &LinkSender, batch: &[FromDriver]) {
    to.send(protocol::encode(batch).unwrap().into()).unwrap();
}

/// An engine that completes every task at once.
async fn engine(directory: &Path) {
    let store = BlockStore::open(&directory.join("blocks"), None).unwrap();
    let offer = Offer {
        name: "one".into(),
        slots: 16,
        memory: 1 << 30,
        store: StorePlace {
            host: "here".into(),
            directory: String::new(),
            address: None,
            socket: String::new(),
            key: store.key().clone(),
        },
        held: Vec::new(),
        results: Vec::new(),
        sessions: Vec::new(),
        kept: Vec::new(),
    };
    let purpose = Purpose::Serve(Box::new(offer));
    let ((to, mut from), _) = dial::<tryworks_protocol::engine::Welcome>(directory, "engines.sock", purpose).await;
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    loop {
        let said = tokio::select! {
            said = from.recv() => said,
            _ = beat.tick() => {
                let beat = FromEngine::Beat { resident: 0, blocks: 0, short: false };
                to.send(protocol::encode(&[beat]).unwrap().into()).unwrap();
                continue;
            }
        };
        let Ok(bytes) = said else { return };
        let mut done = Vec::new();
        for message in protocol::decode::<ToEngine>(&bytes).unwrap() {
            if let ToEngine::Launch { tasks } = message {
                done.extend(tasks.iter().map(report));
            }
        }
        if !done.is_empty() {
            to.send(protocol::encode(&done).unwrap().into()).unwrap();
        }
    }
}

fn report(Assignment { task, .. }: &Assignment) -> FromEngine {
    FromEngine::Done {
        attempt: task.attempt,
        report: Report {
            partitions: task.partitions.iter().map(|_| PartitionReport { bytes: 1, rows: 1, checksum: 1 }).collect(),
            bucket_bytes: Vec::new(),
        },
        results: task.partitions.iter().map(|partition| (partition, ResultPart::Here(vec![0]))).collect(),
        kept: Vec::new(),
        span: (1, 2),
    }
}

fn submit(ticket: u64) -> FromDriver {
    let stage = StageSpec {
        output: None,
        partitions: 1,
        buckets: 0,
        parents: Vec::new(),
        deterministic: true,
        pack: Packing::Fixed(1),
        local_to: Vec::new(),
    };
    let spec = JobSpec {
        label: "count at open_jobs.rs:1".into(),
        stages: vec![stage],
        wanted: (0..1).into(),
        limits: JobLimits::default(),
        pool: String::new(),
        program: 0,
        delivered: 0,
    };
    let codes = vec![(0, CodeBytes::Here(vec![0; 100]))];
    let (action, token, caches) = (Action::default(), String::new(), Vec::new());
    FromDriver::Submit(Box::new(NewJob { ticket, job: None, detached: None, action, token, spec, codes, caches }))
}

/// What a driver hears of jobs that ended.
#[derive(Default)]
struct Heard {
    attempts: Vec<AttemptId>,
    ended: Vec<u64>,
}

async fn hear(from: &mut LinkReceiver) -> Heard {
    let mut heard = Heard::default();
    let mut next: Option<Bytes> = Some(from.recv().await.unwrap());
    while let Some(bytes) = next {
        for message in protocol::decode::<ToDriver>(&bytes).unwrap() {
            match message {
                ToDriver::Results { attempt, .. } => heard.attempts.push(attempt),
                ToDriver::Ended { ticket, end } => {
                    end.unwrap();
                    heard.ended.push(ticket);
                }
                _ => {}
            }
        }
        next = from.ready();
    }
    heard
}

/// Jobs a second with `in_flight` jobs in flight: a new one is submitted for each that ends.
async fn rate(directory: &Path, in_flight: u64) -> f64 {
    let ((to, mut from), _) = driver(directory).await;
    let mut tickets = 1..;
    let first: Vec<_> = tickets.by_ref().take(in_flight as usize).map(submit).collect();
    first.chunks(1000).for_each(|some| say(&to, some));
    let (mut ended, mut begun) = (0, None);
    loop {
        let heard = hear(&mut from).await;
        ended += heard.ended.len() as u64;
        // All of the first jobs have been taken in by then.
        let begun = *begun.get_or_insert_with(|| (Instant::now(), ended));
        if ended - begun.1 >= JOBS {
            say(&to, &[FromDriver::Leave]);
            return (ended - begun.1) as f64 / begun.0.elapsed().as_secs_f64();
        }
        let mut batch = vec![FromDriver::Received { attempts: heard.attempts }];
        batch.extend(heard.ended.iter().map(|ticket| FromDriver::Close { ticket: *ticket }));
        batch.extend(tickets.by_ref().take(heard.ended.len()).map(submit));
        say(&to, &batch);
    }
}

/// How long the hub is silent while a session with `open` open jobs ends.
async fn silence(directory: &Path, open: u64) -> Duration {
    let ((to, mut from), _) = driver(directory).await;
    let jobs: Vec<_> = (1..=open).map(submit).collect();
    jobs.chunks(1000).for_each(|some| say(&to, some));
    let mut accepted = 0;
    while accepted < open {
        for message in protocol::decode::<ToDriver>(&from.recv().await.unwrap()).unwrap() {
            accepted += u64::from(matches!(message, ToDriver::Accepted { .. }));
        }
    }
    say(&to, &[FromDriver::Leave]);
    let begun = Instant::now();
    while from.recv().await.is_ok() {}
    begun.elapsed()
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(directory.path(), private).unwrap();
    let options = Options {
        cluster: "bench".into(),
        directory: directory.path().into(),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        pools: Vec::new(),
        // This driver says nothing while it waits.
        limits: Limits { driver_silence: Duration::from_secs(3600), ..Limits::default() },
    };
    let hub = std::thread::spawn(move || tryworks_hub::run(options));
    while !directory.path().join("engine.json").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for open in OPEN {
            let time = silence(directory.path(), open).await;
            println!("{:45} {:8.3} s", format!("{open} open jobs end with their session"), time.as_secs_f64());
        }
        let place = directory.path().to_path_buf();
        let engine = tokio::spawn(async move { engine(&place).await });
        for in_flight in IN_FLIGHT {
            let rate = rate(directory.path(), in_flight).await;
            println!("{:45} {rate:8.0} a second", format!("empty jobs, {in_flight} in flight"));
        }
        engine.abort();
    });
    let mut admin = Admin::connect(directory.path()).unwrap();
    assert!(matches!(admin.ask(Question::Stop), Ok(Answer::Done(_))));
    hub.join().unwrap().unwrap();
}
