//! The driver's side of a job that a cluster runs.

use super::cluster::Shared;
use crate::execute;
use crate::panics;
use crate::protocol::driver::{FromDriver, NewJob, Part};
use crate::protocol::engine::BlockPlace;
use crate::protocol::worker::BlockPart;
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tryworks_core::host::Frames;
use tryworks_core::ids::{AttemptId, JobId};
use tryworks_core::runner::{JobControl, Progress};
use tryworks_core::stage::Encoded;
use tryworks_core::task::Op;
use tryworks_core::{Error, Place, Result, codec};
use tryworks_io::blocks::{BlockId, MOST_AT_ONCE, OpenBlock};
use tryworks_planner::Plan;
use tryworks_transport::{DataClient, DataError, Role};

/// What is known of a job.
pub(super) struct JobState {
    pub(super) label: String,
    pub(super) id: Option<JobId>,
    /// What is asked of the hub.
    claim: Claim,
    /// It is to be stopped.
    cancelled: bool,
    /// All of it was given out.
    spent: bool,
    /// The exchanges that it makes.
    pub(super) exchanges: Vec<u64>,
    pub(super) progress: Progress,
    pub(super) results: VecDeque<(AttemptId, u32, Part)>,
    received: HashSet<u32>,
    pub(super) end: Option<Result<()>>,
}

/// How a job is asked for.
pub(super) enum Claim {
    /// As it is submitted to a hub that knows nothing of it.
    Submit(Box<NewJob>),
    /// By its number, as the action that it has to be.
    Attach { job: JobId, action: String },
}

impl JobState {
    pub(super) fn new(label: String, claim: Claim, exchanges: Vec<u64>, progress: Progress) -> Self {
        JobState {
            label,
            id: None,
            claim,
            cancelled: false,
            spent: false,
            exchanges,
            progress,
            results: VecDeque::new(),
            received: HashSet::new(),
            end: None,
        }
    }

    /// What is said to have it, at first or again: what is still wanted of it.
    pub(super) fn again(&self, ticket: u64) -> Vec<FromDriver> {
        if self.end.is_some() {
            return Vec::new();
        }
        let ask = match &self.claim {
            Claim::Submit(whole) => {
                let mut job = whole.clone();
                job.job = self.id;
                // Of a detached job the hub has all results, and needs to know what they were to be.
                if job.detached.is_none() {
                    let wanted = job.spec.wanted.iter().filter(|partition| !self.received.contains(partition));
                    job.spec.wanted = wanted.collect();
                }
                FromDriver::Submit(job)
            }
            Claim::Attach { job, action } => FromDriver::Attach { ticket, job: *job, action: action.clone() },
        };
        let cancel = self.cancelled.then_some(FromDriver::Cancel { ticket });
        [ask].into_iter().chain(cancel).collect()
    }

    /// Whether the job goes on without this program.
    pub(super) fn is_detached(&self) -> bool {
        match &self.claim {
            Claim::Submit(job) => job.detached.is_some(),
            Claim::Attach { .. } => true,
        }
    }

    /// Takes in results, each partition once.
    pub(super) fn take_in(&mut self, attempt: AttemptId, parts: Vec<(u32, Part)>) {
        for (partition, part) in parts {
            if self.received.insert(partition) {
                self.results.push_back((attempt, partition, part));
            }
        }
    }
}

/// The handle of a job.
pub(super) struct ClusterJob {
    ticket: u64,
    op: Op,
    /// Keeps the exchanges that the job makes.
    _plan: Plan,
    detached: bool,
    shared: Arc<Shared>,
}

impl ClusterJob {
    pub(super) fn new(ticket: u64, op: Op, plan: Plan, detached: bool, shared: Arc<Shared>) -> Self {
        ClusterJob { ticket, op, _plan: plan, detached, shared }
    }

    /// A large result, from the engine that has it.
    fn fetch(&self, attempt: AttemptId, place: &BlockPlace, len: u64) -> Result<Vec<u8>> {
        let id = place.store.key.id(place.output, place.partition, place.attempt.0);
        let own = crate::host::here().id == place.store.host;
        let bytes = if own {
            OpenBlock::file(&id.path_in(&PathBuf::from(&place.store.directory))).and_then(|block| whole(&block, len))
        } else {
            let (Some(data), Some(address)) = (&self.shared.data, &place.store.address) else {
                let message = "a large result is on an engine that does not listen to other machines";
                return Err(Error::cluster(message, "start engines with `--listen` and an address that others reach"));
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::storage("fetching a result", "this process", &error))?;
            runtime.block_on(fetch_afar(data, address, id, len))
        };
        self.shared.send([FromDriver::Received { attempts: vec![attempt] }]);
        bytes
    }
}

/// All frames of a result one after another.
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
        Err(Error::Bug("a large result has another length than was said".into()))
    }
}

/// A result from the data port of an engine on another machine.
async fn fetch_afar(data: &DataClient, address: &str, id: BlockId, len: u64) -> Result<Vec<u8>> {
    let table = ask(data, address, id, BlockPart::Contents).await?;
    let block = match table.split_first() {
        Some((0, bytes)) => OpenBlock::memory("a large result", Bytes::copy_from_slice(bytes))?,
        Some((1, bytes)) => OpenBlock::remote("a large result", bytes)?,
        _ => return Err(Error::Bug("an engine's answer cannot be read".into())),
    };
    let frames = block.sequence(0)?.len();
    for gap in block.missing(0, 0..frames)? {
        for start in (gap.start..gap.end).step_by(MOST_AT_ONCE as usize) {
            let end = gap.end.min(start + MOST_AT_ONCE);
            let bytes = ask(data, address, id, BlockPart::Range { start, end }).await?;
            block.supply(start, &Bytes::from(bytes).slice(1..))?;
        }
    }
    whole(&block, len)
}

async fn ask(data: &DataClient, address: &str, id: BlockId, part: BlockPart) -> Result<Vec<u8>> {
    let lost =
        |error: DataError| Error::Lost { what: "a large result cannot be fetched".into(), details: error.to_string() };
    let mut request = Vec::new();
    codec::encode(&(id, part), &mut request)?;
    let mut stream = data.get(address, Role::Engine, &request).await.map_err(lost)?;
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.map_err(lost)? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

impl JobControl for ClusterJob {
    fn id(&self) -> u64 {
        let mut state = self.shared.lock();
        loop {
            match state.jobs.get(&self.ticket) {
                Some(job) if job.id.is_none() && job.end.is_none() => {}
                job => return job.and_then(|job| job.id).map_or(0, |id| id.0),
            }
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next(&self) -> Result<Option<execute::Part>> {
        let mut state = self.shared.lock();
        let (attempt, partition, part) = loop {
            if state.stopped {
                return Err(Error::Stopped);
            }
            let Some(job) = state.jobs.get_mut(&self.ticket) else {
                return Err(Error::Bug(format!("there is no job {}", self.ticket)));
            };
            if let Some(Err(error)) = &job.end {
                job.spent = true;
                return Err(error.clone());
            }
            if let Some(next) = job.results.pop_front() {
                break next;
            }
            if job.end.is_some() {
                job.spent = true;
                return Ok(None);
            }
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let bytes = match part {
            Part::Here(bytes) => bytes,
            Part::At { place, len } => self.fetch(attempt, &place, len)?,
        };
        Ok(Some((partition, Box::new(Encoded(bytes)))))
    }

    fn cancel(&self) {
        if let Some(job) = self.shared.lock().jobs.get_mut(&self.ticket) {
            job.cancelled = true;
        }
        self.shared.send([FromDriver::Cancel { ticket: self.ticket }]);
    }

    fn abandon(&self) {
        if !self.detached {
            self.cancel();
        }
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        panics::catch(self.op, Place::default(), || {
            code();
            Ok(())
        })
    }

    fn progress(&self) -> Progress {
        self.shared.lock().jobs.get(&self.ticket).map(|job| job.progress).unwrap_or_default()
    }
}

impl Drop for ClusterJob {
    fn drop(&mut self) {
        let Some(job) = self.shared.lock().jobs.remove(&self.ticket) else { return };
        let ticket = self.ticket;
        // Whoever has not seen all of a detached job has not collected it.
        self.shared.send([match self.detached && !job.spent {
            true => FromDriver::Detach { ticket },
            false => FromDriver::Close { ticket },
        }]);
    }
}
