//! A thread of the local runtime: takes a task, runs its partitions, reports.

use super::host::LocalHost;
use super::job::Part;
use super::state::{Ended, HERE, Launch, Shared};
use crate::event_log::Record;
use crate::panics;
use crate::scheduler::{Event, Failure, FetchFailure, PartitionReport, Report, Task};
use std::sync::Arc;
use tryworks_core::ids::{AttemptId, OutputId};
use tryworks_core::stage::Made;
use tryworks_core::task::Op;
use tryworks_core::{Error, Place, Result, task};

/// Runs tasks until the runtime stops.
pub(super) fn work(shared: &Arc<Shared>) {
    let logs = shared.logs();
    let mut ended = None;
    while let Some(launch) = shared.next(ended.take()) {
        ended = Some(run(shared, launch, logs));
    }
}

fn run(shared: &Shared, launch: Launch, logs: bool) -> Ended {
    let Launch { task, code, cancelled, span } = launch;
    let span = tracing::debug_span!(parent: &span, "task", job = task.job.0, stage = task.stage, attempt = task.attempt.sequence());
    let _entered = span.enter();
    let begun = if logs { shared.micros() } else { 0 };
    let mut report = Report::default();
    let mut parts: Vec<Part> = Vec::new();
    let mut run_all = || -> Result<()> {
        for partition in task.partitions.iter() {
            let place = Place { job: task.job.0, stage: task.stage, partition, attempt: task.attempt.sequence() };
            let inside = task::Task::new(place, shared.host.clone(), cancelled.clone());
            let output = panics::catch(code.op, place, || {
                inside.check()?;
                code.stage.run(partition, &inside)
            })?;
            report.partitions.push(PartitionReport {
                bytes: output.bytes,
                rows: output.rows,
                checksum: output.checksum,
            });
            add(&mut report.bucket_bytes, &output.bucket_bytes);
            match (output.made, code.exchange) {
                (Made::Block(block), Some(exchange)) => shared.host.put(exchange, partition, task.attempt, block),
                (Made::Result(value), None) => parts.push((partition, value)),
                _ => return Err(Error::Bug("a stage made something else than it was planned to".into())),
            }
        }
        Ok(())
    };
    let result = run_all().map_err(|error| at_the_call(error, code.op));
    let outcome = if logs { result.as_ref().err().map(ToString::to_string) } else { None };
    let (rows, bytes) = report.partitions.iter().fold((0, 0), |sum, made| (sum.0 + made.rows, sum.1 + made.bytes));
    let record = Record::Task {
        at: begun,
        until: if logs { shared.micros() } else { 0 },
        job: task.job.0,
        stage: task.stage,
        attempt: task.attempt.sequence(),
        first: task.partitions.first(),
        partitions: task.partitions.len(),
        rows,
        bytes,
        error: outcome,
    };
    let attempt = task.attempt;
    let event = match result {
        Ok(()) => Event::TaskDone { attempt, report },
        Err(error) => {
            parts.clear();
            undo(&shared.host, &task, code.exchange, attempt);
            Event::TaskFailed { attempt, failure: failure(error) }
        }
    };
    Ended { task, parts, event, record }
}

/// Deletes the blocks of a task that was not done whole.
fn undo(host: &LocalHost, task: &Task, exchange: Option<u64>, attempt: AttemptId) {
    if let Some(exchange) = exchange {
        host.discard(exchange, task.partitions.iter(), attempt);
    }
}

fn add(sum: &mut Vec<u64>, more: &[u64]) {
    sum.resize(sum.len().max(more.len()), 0);
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// What a stage cannot do is told with the user's call that it is for, where the code that met it knew of none.
fn at_the_call(error: Error, op: Op) -> Error {
    match error {
        Error::Plan { message, site } if panics::is_ours(site) => Error::Plan { message, site: op.site },
        other => other,
    }
}

fn failure(error: Error) -> Failure<Error> {
    match error {
        Error::Fetch { exchange, map, .. } => {
            // Which launch made it is filled in where that is known.
            Failure::Fetch(vec![FetchFailure {
                output: OutputId(exchange),
                partition: map,
                engine: HERE,
                made_by: AttemptId(0),
            }])
        }
        Error::User(ref fault) if fault.panicked => Failure::Panic(error),
        Error::User(_) => Failure::User(error),
        Error::Cancelled => Failure::Killed,
        other => Failure::Final(other),
    }
}
