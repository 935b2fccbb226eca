//! The driver's side of a job that a cluster runs.

use super::cluster::{Shared, State};
use crate::{apart, execute, panics};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use tryworks_base::frames::Frames;
use tryworks_base::ids::{AttemptId, JobId};
use tryworks_base::lock::{Held, Lock, none_held};
use tryworks_base::{Error, Place, Progress, Result};
use tryworks_core::runner::{JobControl, JobRequest, Tie};
use tryworks_core::stage::Encoded;
use tryworks_planner::Plan;
use tryworks_protocol::blocks;
use tryworks_protocol::driver::{FromDriver, NewJob, Part};
use tryworks_protocol::engine::BlockPlace;
use tryworks_protocol::worker::{BlockPart, Piece};
use tryworks_scheduler::Partitions;
use tryworks_store::blocks::{BlockId, MOST_AT_ONCE, OpenBlock};
use tryworks_transport::DataClient;

/// How often a job may be planned anew because what its plan relied on was lost.
const PLANS: u32 = 4;

/// What is known of a job.
pub(super) struct JobState {
    pub(super) label: String,
    pub(super) id: Option<JobId>,
    /// What is asked of the hub.
    claim: Claim,
    /// The partitions whose results are wanted.
    wanted: Partitions,
    /// It is to be stopped.
    cancelled: bool,
    /// All of it was given out.
    spent: bool,
    /// The exchanges that it makes.
    pub(super) exchanges: Vec<u64>,
    /// Those of them whose codes it brought to the hub.
    pub(super) brought: Vec<u64>,
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
    pub(super) fn new(
        label: String,
        claim: Claim,
        wanted: Partitions,
        exchanges: Vec<u64>,
        progress: Progress,
    ) -> Self {
        JobState {
            label,
            id: None,
            claim,
            wanted,
            cancelled: false,
            spent: false,
            exchanges,
            brought: Vec::new(),
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
                    job.spec.delivered = self.received.len() as u32;
                    job.spec.wanted = self.missing();
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

    /// The partitions that have not been received.
    fn missing(&self) -> Partitions {
        self.wanted.iter().filter(|partition| !self.received.contains(partition)).collect()
    }

    /// Whether the job ended because of something that a new plan would make again: blocks behind kept partitions that
    /// were lost, or results that were lost before they were fetched.
    fn needs_new_plan(&self) -> bool {
        match &self.end {
            // Its plan is the hub's, and its results are all with it.
            _ if self.is_detached() => false,
            Some(Err(Error::Fetch { exchange, .. })) => !self.exchanges.contains(exchange),
            Some(Ok(())) => self.results.is_empty() && !self.missing().is_empty(),
            _ => false,
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
    ticket: AtomicU64,
    request: JobRequest,
    /// Keep the exchanges that the job makes.
    plans: Lock<Vec<Plan>>,
    /// How often what its plan relied on was lost.
    lost: AtomicU32,
    shared: Arc<Shared>,
}

impl ClusterJob {
    pub(super) fn new(ticket: u64, request: JobRequest, plan: Plan, shared: Arc<Shared>) -> Self {
        ClusterJob {
            ticket: AtomicU64::new(ticket),
            request,
            plans: Lock::new(vec![plan]),
            lost: AtomicU32::new(0),
            shared,
        }
    }

    fn ticket(&self) -> u64 {
        self.ticket.load(Relaxed)
    }

    /// Plans what is still wanted anew, and submits it. What was received stays.
    fn begin_anew(&self, mut state: Held<'_, State>) -> Result<()> {
        let old = self.ticket();
        let Some(job) = state.jobs.remove(&old) else { return Err(Error::Bug(format!("there is no job {old}"))) };
        let wanted = job.missing();
        drop(state);
        let (ticket, plan) = self.shared.submit(&self.request, wanted)?;
        self.plans.lock().push(plan);
        self.ticket.store(ticket, Relaxed);
        if let Some(new) = self.shared.lock().jobs.get_mut(&ticket) {
            let newer = std::mem::replace(&mut new.results, job.results);
            new.results.extend(newer);
        }
        self.shared.send([FromDriver::Close { ticket: old }]);
        Ok(())
    }

    /// A large result, from the engine that has it.
    fn fetch(&self, attempt: AttemptId, place: &BlockPlace, len: u64) -> Result<Vec<u8>> {
        none_held("fetching a result");
        let id = place.store.key.id(place.output, place.partition, place.attempt.0);
        let own = tryworks_protocol::host::here().id == place.store.host;
        let bytes = if own {
            OpenBlock::file(&id.path_in(&PathBuf::from(&place.store.directory))).and_then(|block| whole(&block, len))
        } else {
            let port = self.shared.lock().port.clone();
            let (Some(port), Some(address)) = (port, &place.store.address) else {
                let message = "a large result is on an engine that does not listen to other machines";
                return Err(Error::cluster(message, "start engines with `--listen` and an address that others reach"));
            };
            let data = port.client.apart();
            let fetched = apart::block_on(|| fetch_afar(&data, address, id, len));
            fetched.map_err(|error| Error::storage("fetching a result", "this process", &error))?
        };
        if bytes.is_ok() {
            self.shared.send([FromDriver::Received { attempts: vec![attempt] }]);
        }
        bytes
    }
}

impl ClusterJob {
    /// Waits for the next result, be it only the news where it is.
    fn next_part(&self) -> Result<Option<(AttemptId, u32, Part)>> {
        let mut state = self.shared.lock();
        loop {
            if state.stopped {
                return Err(Error::Stopped);
            }
            let Some(job) = state.jobs.get_mut(&self.ticket()) else {
                return Err(Error::Bug(format!("there is no job {}", self.ticket())));
            };
            if job.needs_new_plan() && self.lost.fetch_add(1, Relaxed) < PLANS {
                self.begin_anew(state)?;
                state = self.shared.lock();
                continue;
            }
            if let Some(Err(error)) = &job.end {
                job.spent = true;
                return Err(error.clone());
            }
            if let Some(next) = job.results.pop_front() {
                return Ok(Some(next));
            }
            if job.end.is_some() {
                job.spent = true;
                let missing = job.missing();
                return match missing.is_empty() {
                    true => Ok(None),
                    false => Err(Error::Bug(format!("a job ended without its results {missing:?}"))),
                };
            }
            state = state.wait(&self.shared.news);
        }
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
        let mut state = self.shared.lock();
        loop {
            match state.jobs.get(&self.ticket()) {
                Some(job) if job.id.is_none() && job.end.is_none() => {}
                job => return job.and_then(|job| job.id).map_or(0, |id| id.0),
            }
            state = state.wait(&self.shared.news);
        }
    }

    fn next(&self) -> Result<Option<execute::Part>> {
        loop {
            let next = self.next_part();
            if !matches!(next, Ok(Some(_)) | Err(Error::Stopped)) {
                // Of all that its tasks wrote the end comes before the end of the job.
                self.shared.spool.drained();
            }
            let Some((attempt, partition, part)) = next? else { return Ok(None) };
            let bytes = match part {
                Part::Here(bytes) => bytes,
                Part::At { place, len } => match self.fetch(attempt, &place, len) {
                    Ok(bytes) => bytes,
                    // It is wanted again, once the job has ended.
                    Err(error) => {
                        if self.lost.load(Relaxed) >= PLANS || self.request.tie != Tie::Bound {
                            return Err(error);
                        }
                        if let Some(job) = self.shared.lock().jobs.get_mut(&self.ticket()) {
                            job.received.remove(&partition);
                        }
                        continue;
                    }
                },
            };
            return Ok(Some((partition, Box::new(Encoded(bytes)))));
        }
    }

    fn cancel(&self) {
        let ticket = self.ticket();
        if let Some(job) = self.shared.lock().jobs.get_mut(&ticket) {
            job.cancelled = true;
        }
        self.shared.send([FromDriver::Cancel { ticket }]);
    }

    fn abandon(&self) {
        if self.request.tie == Tie::Bound {
            self.cancel();
        }
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        panics::catch(self.request.op, Place::default(), || {
            code();
            Ok(())
        })
    }

    fn progress(&self) -> Progress {
        self.shared.lock().jobs.get(&self.ticket()).map(|job| job.progress).unwrap_or_default()
    }
}

impl Drop for ClusterJob {
    fn drop(&mut self) {
        let ticket = self.ticket();
        let job = self.shared.lock().jobs.remove(&ticket);
        self.shared.screen.job_over();
        let Some(job) = job else { return };
        // Whoever has not seen all of a detached job has not collected it.
        self.shared.send([match job.is_detached() && !job.spent {
            true => FromDriver::Detach { ticket },
            false => FromDriver::Close { ticket },
        }]);
    }
}
