//! A thread of the local runtime: it takes a task, runs its partitions, and reports.

use super::state::{Ended, Launch, Shared};
use crate::caller::mark_task_thread;
use crate::event_log::Record;
use crate::execute::{Product, execute, failure};
use crate::shielded::Shielded;
use std::sync::Arc;
use tryworks_base::ids::OutputId;
use tryworks_base::{Error, Result};
use tryworks_core::host::{Host, MadeBlock};
use tryworks_scheduler::{Event, Failure, FetchFailure};

/// Runs tasks until the runtime stops.
pub(super) fn work(shared: &Arc<Shared>) {
    mark_task_thread();
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
    let host: Arc<dyn Host> = shared.host.clone();
    let result = execute(&task, &code, &host, &cancelled);
    let outcome = if logs { result.as_ref().err().map(ToString::to_string) } else { None };
    let value = |(map, block): (u32, Shielded<MadeBlock>)| Ok((map, Shielded::new(block.into_inner().value()?)));
    let blocks = |blocks: Vec<_>| blocks.into_iter().map(value).collect::<Result<Vec<_>>>();
    let result = result.and_then(|Product { report, results, blocks: made }| Ok((report, results, blocks(made)?)));
    let (report, parts, blocks) = match result {
        Ok((report, results, blocks)) => (Ok(report), results, blocks),
        Err(error) => (Err(error), Vec::new(), Vec::new()),
    };
    let made = report.as_ref().map_or(&[][..], |report| &report.partitions);
    let (rows, bytes) = made.iter().fold((0, 0), |sum, made| (sum.0 + made.rows, sum.1 + made.bytes));
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
    let event = match report {
        Ok(report) => {
            if let Some(exchange) = code.exchange {
                for (map, block) in blocks {
                    shared.host.put(exchange, map, attempt, block);
                }
            }
            Event::TaskDone { attempt, report }
        }
        Err(Error::Fetch { exchange, map, .. }) => {
            // `Shared::report` fills in where it was.
            let failure = FetchFailure { output: OutputId(exchange.0), partition: map, at: None };
            let failure = Failure::Fetch(vec![failure]);
            Event::TaskFailed { attempt, failure }
        }
        Err(error) => Event::TaskFailed { attempt, failure: failure(error) },
    };
    Ended { task, parts, event, record }
}
