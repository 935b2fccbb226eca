//! The driver's side of a job that a cluster runs.

use super::shared::Shared;
use super::state::Next;
use crate::shielded::Shielded;
use crate::{apart, panics};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks_base::frames::Frames;
use tryworks_base::ids::AttemptId;
use tryworks_base::lock::{Lock, none_held};
use tryworks_base::{Error, Progress, Result, TaskSite};
use tryworks_core::runner::{JobControl, JobRequest, Tie};
use tryworks_core::stage::{Encoded, ResultValue};
use tryworks_planner::Plan;
use tryworks_protocol::blocks;
use tryworks_protocol::driver::Part;
use tryworks_protocol::engine::BlockPlace;
use tryworks_protocol::worker::{BlockPart, Piece};
use tryworks_scheduler::Partitions;
use tryworks_store::blocks::{BlockId, MOST_AT_ONCE, OpenBlock};
use tryworks_transport::DataClient;

/// The handle of a job.
pub(super) struct ClusterJob {
    ticket: AtomicU64,
    request: Shielded<JobRequest>,
    /// The plans keep alive the exchanges that the job makes.
    plans: Lock<Vec<Shielded<Plan>>>,
    shared: Arc<Shared>,
}

impl ClusterJob {
    pub(super) fn new(ticket: u64, request: JobRequest, plan: Plan, shared: Arc<Shared>) -> Self {
        let (request, plans) = (Shielded::new(request), Lock::new(vec![Shielded::new(plan)]));
        ClusterJob { ticket: AtomicU64::new(ticket), request, plans, shared }
    }

    fn ticket(&self) -> u64 {
        self.ticket.load(Relaxed)
    }

    /// Waits until the hub has taken the job.
    ///
    /// # Errors
    /// Why it refused.
    pub(super) fn accepted(&self) -> Result<()> {
        let ticket = self.ticket();
        let mut state = self.shared.lock();
        loop {
            if let Some(accepted) = state.accepted(ticket) {
                return accepted;
            }
            state = state.wait(&self.shared.news);
        }
    }

    /// Plans what is still wanted again, and submits it.
    fn resubmit(&self, wanted: Partitions) -> Result<()> {
        let (ticket, plan) = self.shared.submit(&self.request, wanted)?;
        self.plans.lock().push(Shielded::new(plan));
        let old = self.ticket.swap(ticket, Relaxed);
        self.shared.say(|state| state.replaced(old, ticket));
        Ok(())
    }

    /// Fetches a large result from the engine that has it.
    fn fetch(&self, attempt: AttemptId, place: &BlockPlace, len: u64) -> Result<Vec<u8>> {
        none_held("fetching a result");
        let id = place.store.key.id(place.output, place.partition, place.attempt);
        let own = tryworks_protocol::host::here().id == place.store.host;
        let bytes = if own {
            OpenBlock::file(&id.path_in(&PathBuf::from(&place.store.directory))).and_then(|block| whole(&block, len))
        } else {
            let port = self.shared.port.lock().clone();
            let (Some(port), Some(address)) = (port, &place.store.address) else {
                let message = "a large result is on an engine that does not listen to other machines";
                return Err(Error::cluster(message, "start engines with `--listen` and an address that others reach"));
            };
            let data = port.client.apart();
            let fetched = apart::block_on(|| fetch_afar(&data, address, id, len));
            fetched.map_err(|error| Error::storage("fetching a result", "this process", &error))?
        };
        if bytes.is_ok() {
            self.shared.say(|state| state.fetched(self.ticket(), attempt, place.partition));
        }
        bytes
    }
}

impl ClusterJob {
    /// Waits for the next result, or for the place where it can be fetched.
    fn next_part(&self) -> Result<Option<(AttemptId, u32, Part)>> {
        let mut state = self.shared.lock();
        loop {
            match state.next(self.ticket())? {
                Next::Part { attempt, partition, part } => return Ok(Some((attempt, partition, part))),
                Next::End => return Ok(None),
                Next::Wait => state = state.wait(&self.shared.news),
                Next::Replan(wanted) => {
                    drop(state);
                    self.resubmit(wanted)?;
                    state = self.shared.lock();
                }
            }
        }
    }
}

/// Joins all frames of a result.
fn whole(block: &Arc<OpenBlock>, len: u64) -> Result<Vec<u8>> {
    let frames = block.sequence(0)?;
    let mut scratch = Vec::new();
    let mut all = Vec::new();
    for frame in 0..frames.len() {
        all.extend_from_slice(frames.view(frame, &mut scratch)?);
    }
    if all.len() as u64 == len {
        Ok(all)
    } else {
        Err(Error::Bug("a large result does not have the announced length".into()))
    }
}

/// Fetches a result from the data port of an engine on another machine.
async fn fetch_afar(data: &DataClient, address: &str, id: BlockId, len: u64) -> Result<Vec<u8>> {
    let block = match ask(data, address, id, BlockPart::Contents).await? {
        Piece::Whole(bytes) => OpenBlock::memory("a large result", bytes.into())?,
        Piece::Table(bytes) => OpenBlock::remote("a large result", &bytes)?,
        other => return Err(lost(address, blocks::range(other).err().unwrap_or_default())),
    };
    let frames = block.sequence(0)?.len();
    for gap in block.missing(0, 0..frames)? {
        for start in (gap.start..gap.end).step_by(MOST_AT_ONCE as usize) {
            let end = gap.end.min(start + MOST_AT_ONCE);
            let piece = ask(data, address, id, BlockPart::Range { start, end }).await?;
            block.supply(start, &blocks::range(piece).map_err(|why| lost(address, why))?)?;
        }
    }
    whole(&block, len)
}

async fn ask(data: &DataClient, address: &str, id: BlockId, part: BlockPart) -> Result<Piece> {
    let got = blocks::fetch(data, address, &[(id, part)]).await.map_err(|error| lost(address, error.to_string()))?;
    got.into_iter().next().ok_or_else(|| lost(address, "there is no answer".into()))
}

fn lost(address: &str, why: String) -> Error {
    let what = format!("a large result cannot be fetched from the engine at {address}");
    let advice = "can this machine reach that address? start engines with `--listen` and an address that others reach";
    Error::Lost { what, details: format!("{why}\n{advice}") }
}

impl JobControl for ClusterJob {
    fn id(&self) -> u64 {
        let ticket = self.ticket();
        let mut state = self.shared.lock();
        while state.number(ticket).is_none() && state.is_open(ticket) {
            state = state.wait(&self.shared.news);
        }
        state.number(ticket).map_or(0, |job| job.0)
    }

    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>> {
        loop {
            let next = self.next_part();
            if !matches!(next, Ok(Some(_)) | Err(Error::Stopped)) {
                // All output of the job's tasks must be printed before the job's end is seen.
                self.shared.spool.drained();
            }
            let Some((attempt, partition, part)) = next? else { return Ok(None) };
            let bytes = match part {
                Part::Here(bytes) => bytes,
                Part::At { place, len } => match self.fetch(attempt, &place, len) {
                    Ok(bytes) => bytes,
                    // The result may come again after the job has ended, or be recomputed before.
                    Err(error) => {
                        self.shared.say(|state| state.unfetched(self.ticket(), attempt, partition, error))?;
                        continue;
                    }
                },
            };
            return Ok(Some((partition, Box::new(Encoded(bytes)))));
        }
    }

    fn cancel(&self) {
        self.shared.say(|state| state.cancel(self.ticket()));
    }

    fn abandon(&self) {
        if self.request.tie == Tie::Bound {
            self.cancel();
        }
    }

    fn has_failed(&self) -> bool {
        self.shared.lock().has_failed(self.ticket())
    }

    fn keep(&self) {
        self.shared.lock().keep(self.ticket());
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        panics::guard(self.request.op, TaskSite::default(), code)
    }

    fn progress(&self) -> Progress {
        self.shared.lock().progress(self.ticket())
    }
}

impl Drop for ClusterJob {
    fn drop(&mut self) {
        self.shared.say(|state| state.close(self.ticket()));
        self.shared.screen.job_over();
    }
}
