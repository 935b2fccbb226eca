//! Runs a task: its partitions one after another, and what a failure means to the scheduler.

use crate::panics;
use crate::shielded::Shielded;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tryworks_base::ids::ExchangeId;
use tryworks_base::{Error, Op, Result, TaskSite};
use tryworks_core::host::{Host, MadeBlock};
use tryworks_core::runner::JobRequest;
use tryworks_core::stage::{Made, ResultValue, Stage};
use tryworks_core::task;
use tryworks_planner::PlannedStage;
use tryworks_scheduler::{Failure, PartitionReport, Report, Task};

/// What the tasks of a stage run.
#[derive(Clone)]
pub(crate) struct OpenedStage {
    pub(crate) stage: Shielded<Arc<dyn Stage>>,
    /// The exchange that it writes, or `None` if it gives the result.
    pub(crate) exchange: Option<ExchangeId>,
    /// The call that it belongs to: the one that shuffles, or the action.
    pub(crate) op: Op,
    /// Whether it checks every row that it hands over.
    pub(crate) checks_rows: bool,
}

impl OpenedStage {
    /// The stage of a plan: the one that writes its exchange, or the one that gives the result of `request`.
    pub(crate) fn of(planned: &PlannedStage, request: &JobRequest, checks_rows: bool) -> Self {
        let (stage, exchange, op) = match &planned.exchange {
            Some(exchange) => (&exchange.stage, Some(exchange.id), planned.reader.unwrap_or(request.op)),
            None => (&request.stage, None, request.op),
        };
        OpenedStage { stage: Shielded::new(stage.clone()), exchange, op, checks_rows }
    }
}

/// A result and its partition.
pub(crate) type Part = (u32, Shielded<Box<dyn ResultValue>>);

/// What a task made.
#[derive(Default)]
pub(crate) struct Product {
    pub(crate) report: Report,
    pub(crate) results: Vec<Part>,
    pub(crate) blocks: Vec<(u32, Shielded<MadeBlock>)>,
}

/// Where a partition of a task is run, for errors.
pub(crate) fn site(task: &Task, partition: u32) -> TaskSite {
    let (attempt, tries) = (task.attempt.sequence(), task.tries.saturating_add(1));
    TaskSite { job: task.job.0, stage: task.stage, partition, attempt, tries }
}

/// Runs a task on this thread.
pub(crate) fn execute(
    task: &Task,
    code: &OpenedStage,
    host: &Arc<dyn Host>,
    cancelled: &Arc<AtomicBool>,
) -> Result<Product> {
    let mut product = Product::default();
    let mut run_all = || -> Result<()> {
        for partition in task.partitions.iter() {
            let place = site(task, partition);
            let inside = task::TaskContext::new(place, host.clone(), cancelled.clone()).checking_rows(code.checks_rows);
            let output = panics::catch(code.op, place, || {
                inside.check()?;
                code.stage.run(partition, &inside)
            })?;
            product.report.partitions.push(PartitionReport {
                bytes: output.bytes,
                rows: output.rows,
                checksum: output.checksum,
            });
            add(&mut product.report.bucket_bytes, &output.bucket_bytes);
            match (output.made, code.exchange) {
                (Made::Block(block), Some(_)) => product.blocks.push((partition, Shielded::new(block))),
                (Made::Result(value), None) => product.results.push((partition, Shielded::new(value))),
                _ => return Err(Error::Bug("a stage made something other than planned".into())),
            }
        }
        Ok(())
    };
    run_all().map_err(|error| at_the_call(error, code.op))?;
    Ok(product)
}

fn add(sum: &mut Vec<u64>, more: &[u64]) {
    sum.resize(sum.len().max(more.len()), 0);
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// Adds the user's call to an error of a stage, where the code that failed did not know the call.
pub(crate) fn at_the_call(error: Error, op: Op) -> Error {
    match error {
        Error::Plan { message, site } if tryworks_base::is_ours(site) => op.fault(message),
        other => other.at(op.site),
    }
}

/// What an error means to the scheduler. Blocks that could not be fetched are not handled here, since this function
/// does not know which engine had them.
pub(crate) fn failure(error: Error) -> Failure<Error> {
    match error {
        Error::User(ref fault) if fault.panicked => Failure::Panic(error),
        Error::User(_) => Failure::User(error),
        Error::Cancelled => Failure::Killed,
        other => Failure::Final(other),
    }
}
