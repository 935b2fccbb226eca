//! Every decoder of messages on good ones that were spoilt, and on bytes that nobody wrote. About two seconds; for longer:
//!
//!     TRYWORKS_FUZZ_SECONDS=600 cargo test -p tryworks-engine fuzz

use super::admin::{Answer, LogRow, Question, Status};
use super::driver::{self, FromDriver, NewJob, Part, Program, ToDriver, Written};
use super::engine::{
    self, Assignment, BlockPlace, CodeBytes, CodeId, FromEngine, HeldBlock, Offer, ResultPart, StorePlace, ToEngine,
};
use super::worker::{self, BlockPart, FromWorker, Piece, ToWorker, Wanted};
use super::{Hello, HostInfo, Opening, Purpose, decode, encode, opening, refusal, welcome};
use crate::scheduler::{Failure, FetchFailure, JobSpec, Limits, Move, Packing, Partitions, Report, StageSpec, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};
use tryworks_core::ids::{AttemptId, EngineId, JobId, OutputId, SessionId};
use tryworks_core::runner::Progress;
use tryworks_core::{Error, codec};
use tryworks_io::blocks::{Room, Sealed};

/// Without a time that is asked for, each decoder has this many tries, always the same.
const TRIES: u64 = 30_000;

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A good message with up to three faults, or now and then none of it.
    fn spoilt(&mut self, good: &[u8]) -> Vec<u8> {
        if self.below(16) == 0 {
            return (0..self.below(200)).map(|_| self.next() as u8).collect();
        }
        let mut bytes = good.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 250, 251, 252, 253, 254, 255][self.below(9)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 if at < bytes.len() => drop(bytes.remove(at)),
                // A length where there may be one.
                _ => {
                    let mut length = Vec::new();
                    let claimed = [1u64 << 60, u64::MAX, 1 << 32, 1 << 29][self.below(4)];
                    codec::encode(&claimed, &mut length).unwrap();
                    let end = (at + 1).min(bytes.len());
                    bytes.splice(at..end, length);
                }
            }
        }
        bytes
    }
}

/// Tries a decoder. Both answers have to occur, or nothing was tried.
fn fuzz(name: &str, good: &[u8], takes: impl Fn(&[u8]) -> bool) {
    let seconds = std::env::var("TRYWORKS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let begun = Instant::now();
    assert!(takes(good), "{name}: the good one was refused");
    let (mut tries, mut taken) = (0, 0);
    while match seconds {
        None => tries < TRIES,
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
    } {
        taken += u64::from(takes(&Dice(tries).spoilt(good)));
        tries += 1;
    }
    eprintln!("{name}: {tries} tries, {taken} taken");
    assert!(taken > 0 && taken < tries, "{name}: {taken} of {tries} taken");
}

fn batch<M: Serialize + DeserializeOwned>(name: &str, good: Vec<M>) {
    fuzz(name, &encode(&good).unwrap(), |bytes| decode::<M>(bytes).is_ok());
    // A claim of 2^60 messages is refused before there is room for them.
    let mut claim = Vec::new();
    codec::encode(&(1u64 << 60), &mut claim).unwrap();
    assert!(decode::<M>(&claim).is_err());
    // Bytes behind the end are not passed over.
    assert!(decode::<M>(&[encode(&good).unwrap(), vec![0]].concat()).is_err());
}

fn place() -> StorePlace {
    let key = codec::decode(&[7; 32]).unwrap().0;
    StorePlace { host: "h".into(), directory: "/d".into(), address: Some("a:1".into()), socket: "/s".into(), key }
}

fn program() -> Program {
    let words = || vec!["one".to_string(), "two".to_string()];
    let environment = vec![("NAME".into(), "value".into())];
    Program { id: [1; 32], path: "/p".into(), bytes: 9, arguments: words(), environment, directory: "/".into() }
}

fn written() -> Written {
    let name = "engine-1".to_string();
    Written {
        engine: EngineId(1),
        name,
        run: 5,
        worker: 7,
        stderr: true,
        offset: 9,
        attempt: None,
        bytes: vec![1, 2, 3],
    }
}

fn some() -> Partitions {
    Partitions::from(2..9)
}

fn report() -> Report {
    Report { partitions: vec![Default::default(); 3], bucket_bytes: vec![1, 2, 3] }
}

fn moved() -> Move {
    Move { output: OutputId(1), partitions: some(), made_by: AttemptId(2), from: EngineId(1), to: EngineId(2) }
}

fn error() -> Error {
    Error::Lost { what: "it".into(), details: "how".into() }
}

fn assignment() -> Assignment {
    let task = Task {
        attempt: AttemptId(1),
        job: JobId(1),
        stage: 0,
        stage_attempt: 0,
        tries: 0,
        alone: false,
        partitions: some(),
        copy_of: Some(AttemptId(9)),
    };
    Assignment { task, session: SessionId(1), code: CodeId::Output(OutputId(3)) }
}

fn failures() -> [Failure<Error>; 3] {
    let lost = FetchFailure { output: OutputId(1), partition: 2, engine: EngineId(1), made_by: AttemptId(3) };
    [Failure::User(error()), Failure::Fetch(vec![lost; 2]), Failure::Killed]
}

fn spec() -> JobSpec {
    let stage = |output, parents| StageSpec {
        output,
        partitions: 3,
        buckets: 2,
        parents,
        deterministic: true,
        pack: Packing::Fixed(1),
        near: Vec::new(),
    };
    let stages = vec![stage(Some(OutputId(1)), vec![]), stage(None, vec![0])];
    JobSpec {
        label: "job".into(),
        stages,
        wanted: some(),
        limits: Limits::default(),
        pool: "p".into(),
        program: 0,
        delivered: 1,
    }
}

#[test]
fn fuzz_between_driver_and_hub() {
    let job = NewJob {
        ticket: 1,
        job: Some(JobId(1)),
        detached: Some("night".into()),
        spec: spec(),
        codes: vec![(0, CodeBytes::Here(vec![1; 40])), (1, CodeBytes::AtHub { id: [7; 32], bytes: 1 << 30 })],
        caches: vec![(0, 1)],
    };
    let ask = FromDriver::Ask { number: 1, question: Question::Why { name: "1".into() } };
    let release = FromDriver::Release { outputs: vec![1], caches: vec![2] };
    let received = FromDriver::Received { attempts: vec![AttemptId(1)] };
    let heard = FromDriver::Heard(vec![written().heard(); 2]);
    batch("FromDriver", vec![FromDriver::Submit(Box::new(job)), received, heard, release, ask, FromDriver::Leave]);
    let at = BlockPlace { store: place(), output: 1, partition: 2, attempt: AttemptId(3) };
    let parts = vec![(0, Part::Here(vec![1; 30])), (1, Part::At { place: at, len: 7 })];
    let logs = Answer::Logs(vec![LogRow { engine: "e".into(), worker: 1, stderr: false, text: "t".into() }]);
    let answers = [Answer::Status(Status::default()), logs, Answer::No("no".into())];
    let answers = answers.into_iter().map(|answer| ToDriver::Answer { number: 1, answer: Box::new(answer) });
    let mut messages = vec![
        ToDriver::Results { ticket: 1, attempt: AttemptId(1), parts },
        ToDriver::Progress { ticket: 1, progress: Progress::default() },
        ToDriver::Ended { ticket: 1, end: Err(error()) },
        ToDriver::Output(written()),
        ToDriver::Notice("text".into()),
    ];
    messages.extend(answers);
    batch("ToDriver", messages);
}

#[test]
fn fuzz_between_hub_and_engine() {
    let host = "h".to_string();
    let session = SessionId(1);
    batch(
        "ToEngine",
        vec![
            ToEngine::Session { session, program: Box::new(program()), host, address: None },
            ToEngine::Code { session, code: CodeId::Results(JobId(1)), bytes: CodeBytes::Here(vec![1; 30]) },
            ToEngine::Peer { engine: EngineId(1), store: Box::new(place()) },
            ToEngine::Places { output: OutputId(1), places: vec![(0, EngineId(1), AttemptId(1)); 2] },
            ToEngine::Launch { tasks: vec![assignment(); 2] },
            ToEngine::Received { attempts: vec![AttemptId(1)] },
            ToEngine::Heard { session, run: 7, stderr: true, offset: 12 },
            ToEngine::Unheard { session },
            ToEngine::Move(moved()),
        ],
    );
    let attempt = AttemptId(1);
    let results = vec![(0, ResultPart::Here(vec![1; 20])), (1, ResultPart::Kept(4))];
    let done = FromEngine::Done { attempt, report: report(), results, kept: vec![(1, 2)], span: (1, 2) };
    let died = FromEngine::WorkerDied { session, suspects: vec![attempt], waiting: vec![attempt], error: error() };
    let failed = failures().map(|failure| FromEngine::Failed { attempt, failure, span: (1, 2) });
    let more = [FromEngine::Moved { what: moved(), here: true }, FromEngine::Wrote { session, written: written() }];
    batch("FromEngine", [done, died].into_iter().chain(failed).chain(more).collect());
}

#[test]
fn fuzz_between_engine_and_worker() {
    let block = place().key.id(1, 2, 3);
    let pieces = vec![Piece::Whole(vec![1; 9]), Piece::Table(vec![2; 9]), Piece::Missing("why".into())];
    let code = CodeId::Output(OutputId(1));
    batch(
        "ToWorker",
        vec![
            ToWorker::Code { code, bytes: CodeBytes::AtHub { id: [1; 32], bytes: 30 } },
            ToWorker::Launch { tasks: vec![assignment()], room: Room { quota: Some(9), used: 1 } },
            ToWorker::Fetched { number: 1, answer: Ok(pieces) },
            ToWorker::Fetched { number: 2, answer: Err(error()) },
        ],
    );
    let wanted = Wanted { engine: EngineId(1), block, part: BlockPart::Range { start: 1, end: 2 } };
    let attempt = AttemptId(1);
    let blocks = vec![(1, 2, Sealed::Small(vec![1; 20].into())), (1, 3, Sealed::File { bytes: 7 })];
    let results = vec![(1, ResultPart::Kept(4))];
    let done = FromWorker::Done { attempt, report: report(), blocks, results, kept: vec![(1, 2)], span: (1, 2) };
    let failed = failures().map(|failure| FromWorker::Failed { attempt, failure, span: (1, 2) });
    let fetch = FromWorker::Fetch { number: 1, wanted: vec![wanted; 2] };
    batch("FromWorker", [FromWorker::Beat, done, fetch].into_iter().chain(failed).collect());
}

#[test]
fn fuzz_hellos_and_their_answers() {
    let held = HeldBlock { output: OutputId(1), attempt: AttemptId(1), partitions: some(), report: report() };
    let name = "engine-1".to_string();
    let offer = Offer {
        name,
        slots: 1,
        memory: 2,
        store: place(),
        held: vec![held],
        results: Vec::new(),
        sessions: vec![SessionId(1)],
        kept: vec![(1, 2)],
    };
    let host = HostInfo { id: "id".into(), name: "n".into(), ..HostInfo::default() };
    for purpose in [
        Purpose::Drive { again: Some((SessionId(1), [1; 16])), program: program() },
        Purpose::Serve(Box::new(offer)),
        Purpose::Work { worker: 1, program: [1; 32] },
    ] {
        let hello = Hello { version: "0".into(), host: host.clone(), purpose };
        fuzz("Hello", &hello.to_bytes().unwrap(), |bytes| Hello::from_bytes(bytes, "0").is_ok());
    }
    let for_driver = driver::Welcome {
        session: SessionId(1),
        secret: [1; 16],
        epoch: 1,
        host: "h".into(),
        send_program: false,
        cluster: "default".into(),
        engines: 1,
        slots: 2,
        warning: Some("text".into()),
    };
    fuzz("driver's Welcome", &welcome(&for_driver).unwrap(), |bytes| opening::<driver::Welcome>(bytes).is_ok());
    let for_engine = engine::Welcome { engine: EngineId(1), beat_ms: 1_000 };
    fuzz("engine's Welcome", &welcome(&for_engine).unwrap(), |bytes| opening::<engine::Welcome>(bytes).is_ok());
    let for_worker = worker::Welcome {
        session: SessionId(1),
        engine: EngineId(1),
        name: "engine-1".into(),
        slots: 1,
        memory: 2,
        spill_directory: "/".into(),
        store: place(),
        room: Room { quota: None, used: 0 },
        running: "engine-1/running".into(),
    };
    fuzz("worker's Welcome", &welcome(&for_worker).unwrap(), |bytes| opening::<worker::Welcome>(bytes).is_ok());
    fuzz("refusal", &refusal("no"), |bytes| matches!(opening::<engine::Welcome>(bytes), Ok(Opening::Refused(_))));
}
