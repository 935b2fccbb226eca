//! An example of every message and of every case within it. Decoders are fuzzed with them, and the bytes of the
//! protocol are pinned by them.

mod admin;

pub(crate) use admin::{answers, questions};

use super::admin::{Answer, Question};
use super::driver::{self, FromDriver, GivenFile, NewJob, Part, Sought, ToDriver};
use super::engine::{
    self, Assignment, BlockPlace, CodeBytes, CodeId, FromEngine, HeldBlock, HeldResult, Offer, Places, ResultPart,
    StorePlace, ToEngine,
};
use super::output::Written;
use super::program::Program;
use super::worker::{self, BlockPart, FromWorker, Piece, ToWorker, Wanted};
use super::{Hello, HostInfo, Purpose};
use tryworks_base::ids::{AttemptId, EngineId, ExchangeId, GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_base::{Action, Aspect, Error, Progress, Shipment, Site, TaskSite, UserFault, codec};
use tryworks_scheduler::{
    BlockLocation, Failure, FetchFailure, JobSpec, Limits, Move, Packing, PartitionReport, Partitions, Report, Run,
    Speculation, StageSpec, Task, Why,
};
use tryworks_store::blocks::{Quota, Sealed};

/// The cases of an enum, by name.
pub(crate) trait Cases {
    /// All cases.
    const ALL: &[&str];
    /// The case of this value.
    fn case(&self) -> &'static str;
}

/// A case that is not listed here does not compile, and a listed case must have an example.
macro_rules! cases {
    ($($type:ty: $($case:ident)*;)*) => {$(
        impl Cases for $type {
            const ALL: &[&str] = &[$(stringify!($case)),*];
            fn case(&self) -> &'static str {
                match self {
                    $(Self::$case { .. } => stringify!($case)),*
                }
            }
        }
    )*};
}

cases! {
    Purpose: Drive Administer Serve Work Fetch;
    FromDriver: ProgramSent Give Holds Submit Attach Seek Received Heard Cancel Detach Close Release Ask Beat Leave;
    Sought: Name Number;
    ToDriver: Accepted Found Results Progress Ended Cached Output Notice Answer;
    ToEngine: Session EndSession Code ForgetCode Peer Places Launch Kill Discard DeleteOutput DeleteCache Received Heard Unheard Move Leave;
    FromEngine: Done Failed WorkerDied CannotWork Lost Unreadable Moved Wrote Beat Leaving;
    ToWorker: Code ForgetCode Peer Places Launch Kill DeleteOutput DeleteCache File Fetched;
    FromWorker: Beat Done Failed Unreadable GetFile Fetch;
    Question: Status Jobs Job Cancel Why Logs Drain Rotate Stop;
    Answer: Status Jobs Job Done Why Logs No;
    Part: Here At;
    CodeBytes: Here AtHub;
    CodeId: Output Results;
    ResultPart: Here Kept;
    Piece: Whole Table Range Note Missing;
    BlockPart: Contents Note Range;
    Sealed: Small File;
    Failure<Error>: User Panic Fetch Killed Final;
    Packing: Fixed BySize;
    Why: Dependency NoEngine Queue Share Alone Excluded Unfit Draining Memory NotNeeded;
}

fn key() -> tryworks_store::blocks::BlockKey {
    codec::decode(&[7; 32]).unwrap().0
}

pub(crate) fn store() -> StorePlace {
    StorePlace {
        host: "h".into(),
        directory: "/d".into(),
        address: Some("a:1".into()),
        socket: "/s".into(),
        key: key(),
    }
}

fn place() -> BlockPlace {
    BlockPlace { store: store(), output: OutputId(1), partition: 2, attempt: AttemptId(3) }
}

pub(crate) fn host() -> HostInfo {
    HostInfo {
        id: "id".into(),
        name: "n".into(),
        cores: 2,
        memory: 1 << 34,
        libc: "libm, 9 bytes".into(),
        processor: "p".into(),
        pid: 77,
        began: 78,
    }
}

fn program() -> Program {
    let arguments = vec!["one".to_string(), "two".to_string()];
    let environment = vec![("NAME".into(), "value".into())];
    Program { id: [1; 32], path: "/p".into(), bytes: 9, arguments, environment, directory: "/".into() }
}

fn written() -> Written {
    let (name, attempt) = ("engine-1".to_string(), Some(AttemptId(4)));
    Written { engine: EngineId(1), name, run: 5, worker: 7, stderr: true, offset: 9, attempt, bytes: vec![1, 2, 3] }
}

fn some() -> Partitions {
    Partitions::from(2..9)
}

fn report() -> Report {
    let one = PartitionReport { bytes: 5, rows: 6, checksum: 7 };
    Report { partitions: vec![one; 3], bucket_bytes: vec![1, 2, 3] }
}

fn location() -> BlockLocation {
    BlockLocation { made_by: AttemptId(3), engine: EngineId(1) }
}

fn places() -> Places {
    Places { partitions: 9, runs: vec![(Run { start: 1, end: 4 }, location()); 2] }
}

fn moved() -> Move {
    Move { output: OutputId(1), partitions: some(), made_by: AttemptId(2), from: EngineId(1), to: EngineId(2) }
}

pub(crate) fn progress() -> Progress {
    Progress { stages: 2, stages_done: 1, partitions: 9, partitions_done: 8, running: 3, failed: 1 }
}

fn error() -> Error {
    Error::Lost { what: "it".into(), details: "how".into() }
}

fn task() -> Task {
    Task {
        attempt: AttemptId(1),
        job: JobId(1),
        stage: 2,
        stage_attempt: 3,
        tries: 4,
        alone: true,
        partitions: some(),
        copy_of: Some(AttemptId(9)),
    }
}

fn assignment() -> Assignment {
    Assignment { task: task(), session: SessionId(1), code: CodeId::Output(OutputId(3)) }
}

pub(crate) fn spec() -> JobSpec {
    let stage = |output, parents, pack| StageSpec {
        output,
        partitions: 3,
        buckets: 2,
        parents,
        deterministic: true,
        pack,
        local_to: vec![(Run { start: 1, end: 2 }, EngineId(5))],
    };
    let stages = vec![
        stage(Some(OutputId(1)), vec![], Packing::Fixed(1)),
        stage(None, vec![0], Packing::BySize { target_bytes: 4, max_partitions: 5 }),
    ];
    JobSpec {
        label: "job".into(),
        stages,
        wanted: some(),
        limits: Limits { speculation: Some(Speculation::default()), ..Limits::default() },
        pool: "p".into(),
        program: 0,
        delivered: 1,
    }
}

/// Every error. No case follows the last one.
pub(crate) fn errors() -> Vec<Error> {
    let site = Site { file: "main.rs", line: 1, column: 2 };
    let place = TaskSite { job: 1, stage: 2, partition: 3, attempt: 4, tries: 5 };
    let fault = UserFault {
        message: "m".into(),
        panicked: true,
        operator: "map".into(),
        site,
        source: Some(site),
        place,
        engine: Some("e".into()),
        attempts: 2,
        backtrace: Some("b".into()),
    };
    let text = || String::from("t");
    vec![
        Error::User(Box::new(fault)),
        Error::Input { path: text(), offset: Some(1), message: text(), site: Some(site) },
        Error::Plan { message: text(), site },
        Error::Fetch { exchange: ExchangeId(1), map: 2, message: text() },
        Error::Limit { name: text(), value: 1, needed: text(), advice: text() },
        Error::Storage { doing: text(), path: text(), message: text() },
        error(),
        Error::Cluster { message: text(), advice: text() },
        Error::Type { name: text(), message: text(), advice: text(), site: Some(site) },
        Error::Setting { name: text(), message: text() },
        Error::Program { message: text(), site },
        Error::Cancelled,
        Error::Stopped,
        Error::Bug(text()),
    ]
}

pub(crate) fn failures() -> Vec<Failure<Error>> {
    let lost = FetchFailure { output: OutputId(1), partition: 2, at: Some(location()) };
    vec![
        Failure::User(error()),
        Failure::Panic(error()),
        Failure::Fetch(vec![lost, FetchFailure { at: None, ..lost }]),
        Failure::Killed,
        Failure::Final(error()),
    ]
}

pub(crate) fn codes() -> Vec<CodeBytes> {
    vec![CodeBytes::Here(vec![1; 4]), CodeBytes::AtHub { id: [7; 32], bytes: 1 << 30 }]
}

pub(crate) fn code_ids() -> Vec<CodeId> {
    vec![CodeId::Output(OutputId(1)), CodeId::Results(JobId(1))]
}

pub(crate) fn parts() -> Vec<Part> {
    vec![Part::Here(vec![1; 3]), Part::At { place: place(), len: 7 }]
}

pub(crate) fn result_parts() -> Vec<ResultPart> {
    vec![ResultPart::Here(vec![1; 2]), ResultPart::Kept(4)]
}

pub(crate) fn pieces() -> Vec<Piece> {
    vec![
        Piece::Whole(vec![1; 9]),
        Piece::Table(vec![2; 9]),
        Piece::Range(vec![3; 9]),
        Piece::Note(vec![4]),
        Piece::Missing("why".into()),
    ]
}

pub(crate) fn block_parts() -> Vec<BlockPart> {
    vec![BlockPart::Contents, BlockPart::Note, BlockPart::Range { start: 1, end: 2 }]
}

pub(crate) fn sealed() -> Vec<Sealed> {
    vec![Sealed::Small(vec![1; 5].into()), Sealed::File { bytes: 7 }]
}

pub(crate) fn packings() -> Vec<Packing> {
    spec().stages.iter().map(|stage| stage.pack).collect()
}

pub(crate) fn whys() -> Vec<Why> {
    vec![
        Why::Dependency { stage: 1, missing: 2 },
        Why::NoEngine,
        Why::Queue,
        Why::Share,
        Why::Alone,
        Why::Excluded,
        Why::Unfit,
        Why::Draining,
        Why::Memory,
        Why::NotNeeded,
    ]
}

fn numbered<T>(all: Vec<T>) -> Vec<(u32, T)> {
    (0..).zip(all).collect()
}

pub(crate) fn purposes() -> Vec<Purpose> {
    let held = HeldBlock { output: OutputId(1), attempt: AttemptId(1), partitions: some(), report: report() };
    let (session, attempt) = (SessionId(1), AttemptId(2));
    let results = vec![HeldResult { job: JobId(3), session, attempt, parts: numbered(result_parts()) }];
    let offer = Offer {
        name: "engine-1".into(),
        slots: 1,
        memory: 2,
        store: store(),
        held: vec![held],
        results,
        sessions: vec![session],
        kept: vec![(GlobalCacheId(1), 2)],
    };
    vec![
        Purpose::Drive { again: Some((session, [1; 16])), program: program() },
        Purpose::Administer,
        Purpose::Serve(Box::new(offer)),
        Purpose::Work { worker: 1, program: [1; 32] },
        Purpose::Fetch,
    ]
}

pub(crate) fn hello(purpose: Purpose) -> Hello {
    Hello { version: "0".into(), host: host(), purpose }
}

pub(crate) fn driver_welcome() -> driver::Welcome {
    driver::Welcome {
        session: SessionId(1),
        secret: [1; 16],
        epoch: 1,
        host: "h".into(),
        send_program: true,
        cluster: "default".into(),
        engines: 1,
        slots: 2,
        warning: Some("text".into()),
    }
}

pub(crate) fn engine_welcome() -> engine::Welcome {
    engine::Welcome { engine: EngineId(1), beat_ms: 1_000 }
}

pub(crate) fn worker_welcome() -> worker::Welcome {
    worker::Welcome {
        session: SessionId(1),
        engine: EngineId(1),
        name: "engine-1".into(),
        driver_host: "h".into(),
        slots: 1,
        memory: 2,
        spill_directory: "/".into(),
        store: store(),
        quota: Quota { limit: Some(5), used: 4 },
        running: "engine-1/running".into(),
    }
}

fn action() -> Action {
    Action { name: "save".into(), aspects: vec![Aspect { mark: 7, ..Aspect::new("format", "Lines") }] }
}

pub(crate) fn sought() -> Vec<Sought> {
    vec![Sought::Name("night".into()), Sought::Number(JobId(2))]
}

pub(crate) fn from_driver() -> Vec<FromDriver> {
    let job = NewJob {
        ticket: 1,
        job: Some(JobId(1)),
        detached: Some("night".into()),
        action: action(),
        token: "0123".into(),
        spec: spec(),
        codes: numbered(codes()),
        caches: vec![(0, GlobalCacheId(1))],
    };
    let questions = questions().into_iter().map(|question| FromDriver::Ask { number: 1, question });
    let mut all = vec![
        FromDriver::ProgramSent,
        FromDriver::Give(GivenFile { id: [2; 32], path: "/f".into(), bytes: 3 }),
        FromDriver::Holds { tickets: vec![1], outputs: vec![OutputId(2)], caches: vec![GlobalCacheId(3)] },
        FromDriver::Submit(Box::new(job)),
        FromDriver::Attach { ticket: 1, job: JobId(2), action: action(), token: "0123".into() },
        FromDriver::Received { attempts: vec![AttemptId(1)] },
        FromDriver::Heard(vec![written().heard(); 2]),
        FromDriver::Cancel { ticket: 1 },
        FromDriver::Detach { ticket: 1 },
        FromDriver::Close { ticket: 1 },
        FromDriver::Release { outputs: vec![OutputId(1)], caches: vec![GlobalCacheId(2)] },
        FromDriver::Beat,
        FromDriver::Leave,
    ];
    all.extend(sought().into_iter().map(|by| FromDriver::Seek { ticket: 1, by, action: action() }));
    all.extend(questions.take(1));
    all
}

pub(crate) fn to_driver() -> Vec<ToDriver> {
    let mut all = vec![
        ToDriver::Accepted { ticket: 1, job: JobId(2) },
        ToDriver::Found { ticket: 1, token: Some("0123".into()) },
        ToDriver::Results { ticket: 1, attempt: AttemptId(1), parts: numbered(parts()) },
        ToDriver::Progress { ticket: 1, progress: progress() },
        ToDriver::Ended { ticket: 1, end: Err(error()) },
        ToDriver::Cached { cache: GlobalCacheId(1), partitions: 2 },
        ToDriver::Output(written()),
        ToDriver::Notice("text".into()),
    ];
    all.extend(answers().into_iter().map(|answer| ToDriver::Answer { number: 1, answer: Box::new(answer) }));
    all
}

pub(crate) fn to_engine() -> Vec<ToEngine> {
    let (session, output) = (SessionId(1), OutputId(2));
    let [code, _] = code_ids()[..] else { unreachable!() };
    vec![
        ToEngine::Session { session, program: Box::new(program()), host: "h".into(), address: Some("a:1".into()) },
        ToEngine::EndSession { session },
        ToEngine::Code { session, code, bytes: codes().remove(0) },
        ToEngine::ForgetCode { code },
        ToEngine::Peer { engine: EngineId(1), store: Box::new(store()) },
        ToEngine::Places { output, places: places() },
        ToEngine::Launch { tasks: vec![assignment(); 2] },
        ToEngine::Kill { attempt: AttemptId(1) },
        ToEngine::Discard { attempt: AttemptId(1) },
        ToEngine::DeleteOutput { output },
        ToEngine::DeleteCache { cache: GlobalCacheId(1) },
        ToEngine::Received { attempts: vec![AttemptId(1)] },
        ToEngine::Heard { session, run: 7, stderr: true, offset: 12 },
        ToEngine::Unheard { session },
        ToEngine::Move(moved()),
        ToEngine::Leave,
    ]
}

pub(crate) fn from_engine() -> Vec<FromEngine> {
    let (attempt, session, span) = (AttemptId(1), SessionId(1), (1, 2));
    let failed = failures().into_iter().map(|failure| FromEngine::Failed { attempt, failure, span });
    let mut all = vec![
        FromEngine::Done {
            attempt,
            report: report(),
            results: numbered(result_parts()),
            kept: vec![(GlobalCacheId(1), 2)],
            span,
        },
        FromEngine::WorkerDied { session, suspects: vec![attempt], waiting: vec![AttemptId(2)], error: error() },
        FromEngine::CannotWork { session, error: error() },
        FromEngine::Lost { output: OutputId(1), partition: 2, attempt },
        FromEngine::Unreadable { output: OutputId(1), why: "w".into() },
        FromEngine::Moved { what: moved(), here: true },
        FromEngine::Wrote { session, written: written() },
        FromEngine::Beat { resident: 1, blocks: 2, short: true },
        FromEngine::Leaving,
    ];
    all.extend(failed);
    all
}

pub(crate) fn to_worker() -> Vec<ToWorker> {
    let [code, _] = code_ids()[..] else { unreachable!() };
    vec![
        ToWorker::Code { code, bytes: codes().remove(1) },
        ToWorker::ForgetCode { code },
        ToWorker::Peer { engine: EngineId(1), store: Box::new(store()) },
        ToWorker::Places { output: OutputId(1), places: places() },
        ToWorker::Launch { tasks: vec![assignment()], quota: Quota { limit: Some(9), used: 1 } },
        ToWorker::Kill { attempt: AttemptId(1) },
        ToWorker::DeleteOutput { output: OutputId(1) },
        ToWorker::DeleteCache { cache: GlobalCacheId(1) },
        ToWorker::File { number: 1, path: Ok("/f".into()) },
        ToWorker::Fetched { number: 1, answer: Ok(pieces()) },
        ToWorker::Fetched { number: 2, answer: Err(error()) },
    ]
}

pub(crate) fn from_worker() -> Vec<FromWorker> {
    let (attempt, span) = (AttemptId(1), (1, 2));
    let blocks = sealed().into_iter().map(|sealed| (OutputId(1), 2, sealed)).collect();
    let block = key().id(OutputId(1), 2, AttemptId(3));
    let wanted = block_parts().into_iter().map(|part| Wanted { engine: EngineId(1), block, part }).collect();
    let shipment = Shipment { host: "h".into(), id: [3; 32], bytes: 4 };
    let results = numbered(result_parts());
    let mut all = vec![
        FromWorker::Beat,
        FromWorker::Done { attempt, report: report(), blocks, results, kept: vec![(GlobalCacheId(1), 2)], span },
        FromWorker::Unreadable { output: OutputId(1), why: "w".into() },
        FromWorker::GetFile { number: 1, shipment },
        FromWorker::Fetch { number: 1, wanted },
    ];
    all.extend(failures().into_iter().map(|failure| FromWorker::Failed { attempt, failure, span }));
    all
}
