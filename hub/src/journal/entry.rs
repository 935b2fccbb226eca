//! The entries that the hub notes in its journal.

use std::sync::Arc;
use tryworks_base::ids::{AttemptId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Progress, Result};
use tryworks_protocol::admin::TaskRow;
use tryworks_protocol::driver::NewJob;
use tryworks_protocol::engine::ResultPart;
use tryworks_protocol::program::Program;
use tryworks_scheduler::Change;

/// Something that happened. All times are microseconds since 1970.
///
/// The legal order, for one session, one job and one output:
///
/// ```text
/// session = Session, [ SessionEnded ] ;
/// job     = Job, { Job | Progress | StageBegan | StageEnded | Task | Result }, [ JobEnded, { Task }, [ Collected ] ] ;
/// output  = { Made | Changed }, [ Forgotten ] ;
/// ```
///
/// Entries about a job that the journal does not know are ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An engine joined.
    EngineJoined {
        /// Its name.
        name: String,
    },
    /// An engine is gone.
    EngineLost {
        /// Its name.
        name: String,
    },
    /// A driver has begun a session, or has reconnected to one.
    Session {
        /// The session's number.
        session: SessionId,
        /// What its secret is compared with.
        proof: Proof,
        /// The machine of its driver, as in [`HostInfo`](tryworks_protocol::HostInfo).
        host: String,
        /// When it said hello.
        at: u64,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// When it ended.
        at: u64,
    },
    /// A job was submitted, or was submitted again by its driver after the hub restarted.
    Job(Box<Submitted>),
    /// The progress of a job.
    Progress {
        /// The job.
        job: JobId,
        /// Its progress.
        progress: Progress,
    },
    /// A job is over. The journal deletes what was needed only to run the job again. That is its codes, and its program
    /// with the environment, unless another detached job of the session needs it.
    JobEnded {
        /// The job.
        job: JobId,
        /// When it ended.
        at: u64,
        /// Its progress at the end.
        progress: Progress,
        /// How it ended.
        end: Result<(), Box<Error>>,
    },
    /// A driver has the results of a detached job: they are deleted, and the job's name is free.
    Collected {
        /// The job.
        job: JobId,
        /// When it was collected.
        at: u64,
    },
    /// A stage began to run.
    StageBegan {
        /// The job for which it runs.
        job: JobId,
        /// Its index in the plan.
        stage: u32,
        /// How many times it began before.
        attempt: u32,
        /// When it began.
        at: u64,
        /// How many tasks it has.
        tasks: u32,
    },
    /// A stage is finished.
    StageEnded {
        /// The job for which it ran.
        job: JobId,
        /// Its index in the plan.
        stage: u32,
        /// How many times it began before.
        attempt: u32,
        /// When it finished.
        at: u64,
    },
    /// An attempt at a task ended. Only entries of this kind may be dropped, when the disk does not keep up.
    Task {
        /// The job for which it ran.
        job: JobId,
        /// The attempt.
        row: TaskRow,
    },
    /// A result of a detached job was accepted. The first result of a partition stays, unless an engine has its bytes:
    /// then a later one replaces it.
    Result {
        /// The job.
        job: JobId,
        /// The partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
        /// The result, or its length if an engine keeps it.
        part: ResultPart,
    },
    /// Partitions of an output were made and accepted. If a partition is recomputed, its latest checksum counts.
    Made {
        /// The output.
        output: OutputId,
        /// The partitions, each with its checksum.
        partitions: Vec<(u32, u64)>,
    },
    /// An output came out different when it was recomputed.
    Changed {
        /// The output.
        output: OutputId,
        /// The partition that showed it, and when.
        change: Change,
        /// The outputs that were made from its first version. They count as never made.
        recomputed: Vec<OutputId>,
    },
    /// An output is no longer needed.
    Forgotten {
        /// The output.
        output: OutputId,
    },
}

/// A job as it was submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// Its number.
    pub job: JobId,
    /// The session that submitted it.
    pub session: SessionId,
    /// The driver's ticket for it.
    pub ticket: u64,
    /// The action and the place of its call.
    pub label: String,
    /// When it was submitted.
    pub at: u64,
    /// What a restarted hub needs to run it without its driver.
    pub detached: Option<Detached>,
}

/// A job that continues without its driver.
#[derive(Clone, Debug, PartialEq)]
pub struct Detached {
    /// Its name. No other detached job has the same name until this one is collected.
    pub name: String,
    /// The job, with the codes of all of its stages.
    pub submission: NewJob,
    /// The program that its workers run. Its environment may hold secrets, so the journal keeps it only while an
    /// unfinished detached job of the session needs it. Afterwards nothing of it is left in the file.
    pub program: Arc<Program>,
}

/// What a session's secret is compared with. The journal does not keep the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(pub(super) [u8; 32]);

impl Proof {
    /// The proof of a secret.
    pub fn of(secret: &[u8; 16]) -> Self {
        Proof(*blake3::hash(secret).as_bytes())
    }

    /// Whether this is the proof of `secret`. The time of the comparison does not reveal how much of the secret is
    /// right.
    pub fn is_of(&self, secret: &[u8; 16]) -> bool {
        blake3::Hash::from(self.0) == blake3::hash(secret)
    }
}

/// When a job ran, and the session whose workers ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The job.
    pub job: JobId,
    /// The session of its workers.
    pub session: SessionId,
    /// When it was submitted, in microseconds since 1970.
    pub from: u64,
    /// When it ended, if it has.
    pub to: Option<u64>,
}
