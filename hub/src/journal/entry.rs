//! What the hub tells its journal.

use std::sync::Arc;
use tryworks_base::ids::{AttemptId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Progress, Result};
use tryworks_protocol::admin::TaskRow;
use tryworks_protocol::driver::{NewJob, Program};
use tryworks_protocol::engine::ResultPart;
use tryworks_scheduler::Change;

/// Something that happened. Times are microseconds since 1970.
///
/// The legal order, of one session, of one job and of one output:
///
/// ```text
/// session = Session, [ SessionEnded ] ;
/// job     = Job, { Job | Progress | StageBegan | StageEnded | Task | Result }, [ JobEnded, { Task }, [ Collected ] ] ;
/// output  = { Made | Changed }, [ Forgotten ] ;
/// ```
///
/// What is said of a job that the journal does not know is passed over.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An engine is there.
    EngineJoined {
        /// What it is called.
        name: String,
    },
    /// An engine is not there any more.
    EngineLost {
        /// What it is called.
        name: String,
    },
    /// A driver has a session, or has it again.
    Session {
        /// Its number.
        session: SessionId,
        /// What its secret is compared with.
        proof: Proof,
        /// The machine of its driver, as in [`HostInfo`](tryworks_protocol::HostInfo).
        host: String,
        /// When.
        at: u64,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// When.
        at: u64,
    },
    /// A job was submitted, or again by its driver to a hub that began anew.
    Job(Box<Submitted>),
    /// How far a job is.
    Progress {
        /// Which.
        job: JobId,
        /// How far.
        progress: Progress,
    },
    /// A job is over. What only running it again needs is forgotten: its codes, and the program with its environment
    /// once no other detached job of the session needs that.
    JobEnded {
        /// Which.
        job: JobId,
        /// When.
        at: u64,
        /// How far it came.
        progress: Progress,
        /// How it ended.
        end: Result<(), Box<Error>>,
    },
    /// The results of a detached job are with a driver: they are deleted, and its name is free.
    Collected {
        /// Which.
        job: JobId,
        /// When.
        at: u64,
    },
    /// A stage began to run.
    StageBegan {
        /// On whose behalf.
        job: JobId,
        /// Its place in the plan.
        stage: u32,
        /// Which time.
        attempt: u32,
        /// When.
        at: u64,
        /// How many tasks wait in it.
        tasks: u32,
    },
    /// A stage is finished.
    StageEnded {
        /// On whose behalf.
        job: JobId,
        /// Its place in the plan.
        stage: u32,
        /// Which time.
        attempt: u32,
        /// When.
        at: u64,
    },
    /// An attempt at a task ended. The only entry that may be lost, when the disk does not keep up.
    Task {
        /// On whose behalf.
        job: JobId,
        /// It.
        row: TaskRow,
    },
    /// A result of a detached job was accepted. The first of a partition stays, unless it stayed where it was made.
    Result {
        /// Of which job.
        job: JobId,
        /// Of which partition.
        partition: u32,
        /// The launch that made it.
        attempt: AttemptId,
        /// It, or how long it is where it stays.
        part: ResultPart,
    },
    /// Partitions of an output were made and accepted. Of one that was made before, the last answer counts.
    Made {
        /// Which output.
        output: OutputId,
        /// The partitions, each with its checksum.
        partitions: Vec<(u32, u64)>,
    },
    /// An output answered differently when it was made again.
    Changed {
        /// Which output.
        output: OutputId,
        /// What showed it, and when.
        change: Change,
        /// The outputs that were made from its first answer: they are as if they had never been made.
        anew: Vec<OutputId>,
    },
    /// Nobody needs an output any more.
    Forgotten {
        /// Which.
        output: OutputId,
    },
}

/// A job as it was submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// Its number.
    pub job: JobId,
    /// Whose.
    pub session: SessionId,
    /// The driver's number for it.
    pub ticket: u64,
    /// The action and the call.
    pub label: String,
    /// When.
    pub at: u64,
    /// What a hub that begins anew needs to run it without its driver.
    pub detached: Option<Detached>,
}

/// A job that goes on without its driver.
#[derive(Clone, Debug, PartialEq)]
pub struct Detached {
    /// Its name, which no other detached job that is not collected has.
    pub name: String,
    /// The job, with the codes of all of its stages.
    pub submission: NewJob,
    /// What its workers run. Programs are kept for sessions with unfinished detached jobs alone, since their
    /// environments may hold what is nobody's business; nothing of them is left in the file then.
    pub program: Arc<Program>,
}

/// What the secret of a session is compared with. The secret itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(pub(super) [u8; 32]);

impl Proof {
    /// The proof of a secret.
    pub fn of(secret: &[u8; 16]) -> Self {
        Proof(*blake3::hash(secret).as_bytes())
    }

    /// Whether it is the proof of this secret; how long that takes does not tell how much of it is right.
    pub fn is_of(&self, secret: &[u8; 16]) -> bool {
        blake3::Hash::from(self.0) == blake3::hash(secret)
    }
}
