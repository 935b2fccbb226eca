//! Tests of the journal: they compare what it returns with what was noted.

mod damage;
mod forgotten;
mod history;
mod kill;
mod round_trip;
mod trouble;

use super::*;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tryworks_base::ids::{EngineId, JobId, OutputId, SessionId};
use tryworks_base::{Action, Aspect, Progress};
use tryworks_protocol::admin::TaskRow;
use tryworks_protocol::driver::NewJob;
use tryworks_protocol::engine::CodeBytes;
use tryworks_protocol::program::Program;
use tryworks_scheduler::{JobSpec, Limits, Packing, StageSpec};

/// A temporary directory, and a journal's path in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.sqlite");
    (directory, path)
}

/// Uses numbers up to `last`, and returns once the journal has reserved them.
fn claim(journal: &Journal, numbers: &mut Numbers, counter: Counter, last: u64) {
    let Some(end) = numbers.claim(counter, last) else { return assert!(numbers.are_written(counter)) };
    let (sender, written) = std::sync::mpsc::channel();
    journal.reserve(counter, end, move || sender.send(()).unwrap());
    written.recv().unwrap();
    numbers.written(counter, end);
}

fn next(journal: &Journal, numbers: &mut Numbers, counter: Counter) -> u64 {
    let next = numbers.used(counter) + 1;
    claim(journal, numbers, counter, next);
    next
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// A job whose codes can be recognised by its number.
fn new_job(job: JobId, name: &str) -> NewJob {
    let stage = |output, parents| StageSpec {
        output,
        partitions: 4,
        buckets: 0,
        parents,
        deterministic: true,
        pack: Packing::Fixed(1),
        local_to: Vec::new(),
    };
    NewJob {
        ticket: job.0,
        job: Some(job),
        detached: Some(name.into()),
        action: Action { name: "count".into(), aspects: vec![Aspect::new("number of partitions", 4)] },
        token: String::new(),
        spec: JobSpec {
            label: format!("count of {job}"),
            stages: vec![stage(Some(OutputId(job.0)), vec![]), stage(None, vec![0])],
            wanted: (0..4).into(),
            limits: Limits::default(),
            pool: String::new(),
            program: 0,
            delivered: 0,
        },
        codes: vec![
            (0, CodeBytes::Here(job.0.to_le_bytes().repeat(100))),
            (1, CodeBytes::AtHub { id: [7; 32], bytes: 1 << 30 }),
        ],
        caches: vec![],
    }
}

fn program() -> Program {
    Program {
        id: [7; 32],
        path: "/bin/words".into(),
        bytes: 12,
        arguments: vec!["words".into(), "--fast".into()],
        environment: vec![("TOKEN".into(), "nobody's business".into())],
        directory: "/".into(),
    }
}

fn session(session: u32) -> Entry {
    Entry::Session { session: SessionId(session), proof: Proof::of(&[session as u8; 16]), host: "here".into(), at: 1 }
}

fn submitted(job: JobId, session: u32, label: &str, name: Option<&str>) -> Entry {
    let detached =
        name.map(|name| Detached { name: name.into(), submission: new_job(job, name), program: Arc::new(program()) });
    let (session, label) = (SessionId(session), label.to_string());
    Entry::Job(Box::new(Submitted { job, session, ticket: job.0, label, at: job.0 * 10, detached }))
}

fn ended(job: JobId, at: u64, end: Result<()>) -> Entry {
    let progress = Progress { stages: 2, stages_done: 2, partitions: 8, partitions_done: 8, running: 0, failed: 1 };
    Entry::JobEnded { job, at, progress, end: end.map_err(Box::new) }
}

fn task(stage: u32, attempt: u64) -> TaskRow {
    TaskRow {
        stage,
        attempt,
        first: attempt as u32,
        partitions: 1,
        engine: EngineId(attempt as u32 % 3),
        span: (attempt * 100, attempt * 100 + 7),
        rows: 2,
        bytes: 30,
        error: attempt.is_multiple_of(5).then(|| format!("no luck at {attempt}")),
    }
}
