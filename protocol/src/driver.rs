//! Messages between a driver and the hub.
//!
//! The legal order, for the driver and for each of its jobs:
//!
//! ```text
//! driver  = Hello, [ ProgramSent ], [ Holds ], { job's | save's | Give | Received | Heard | Release | Ask | Beat }, [ Leave ] ;
//! hub     = welcome, { job's | save's | Cached | Output | Notice | Answer } ;
//! save    = Seek, ( Found | Ended ), Close ;
//! job     = ( Submit | Attach ), [ Accepted ], { Results | Progress | Cancel }, Ended, ( Close | Detach ) ;
//! ```
//!
//! Before a driver prepares the place of a detached save, it asks for the job with `Seek`. If there is no such job, the
//! name is reserved for this driver until it closes the ticket. It does so when its job is accepted, or when it gives
//! the save up.
//!
//! `Close` and `Detach` may come before the end. A driver that lost its connection says hello again with its session.
//! Then it says what it holds, since releases sent while it was disconnected were lost. It submits again the jobs that
//! have not ended, and asks for the partitions that it has not received yet. If the answer names another session, the
//! hub has given up the old one with everything it held.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::admin::{Answer, Question};
use super::engine::CodeBytes;
use super::output::{Heard, Written};
use serde::{Deserialize, Serialize};
use tryworks_base::ids::{AttemptId, GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_base::{Action, Error, Progress};
use tryworks_scheduler::JobSpec;

/// A file that a driver gives to its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// The hash of its bytes.
    pub id: [u8; 32],
    /// Its path, as the driver sees it.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The answer to a driver's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub session: SessionId,
    /// The secret that later proves that the session is the driver's own.
    pub secret: [u8; 16],
    /// How many hubs have begun on this journal. If it has changed, this hub has nothing of what was sent to its
    /// predecessor.
    pub epoch: u64,
    /// Whether the hub lacks the driver's program and is on another machine. Then the driver uploads it to the hub's
    /// data port by its hash and says [`ProgramSent`](FromDriver::ProgramSent), before tasks can run.
    pub send_program: bool,
    /// The hub's machine, as in [`HostInfo`](super::HostInfo).
    pub host: String,
    /// The name of the cluster.
    pub cluster: String,
    /// How many engines are connected.
    pub engines: u32,
    /// How many slots they have together.
    pub slots: u32,
    /// A warning for the user, for example that machines may compute `exp` differently.
    pub warning: Option<String>,
}

/// A job as a driver submits it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// The driver's own number for it, from 1.
    pub ticket: u64,
    /// The hub's number for it, if the job already has one.
    pub job: Option<JobId>,
    /// The name of a detached job. Such a job continues when the driver leaves, and a driver that submits the same name
    /// gets it.
    pub detached: Option<String>,
    /// Its action. A driver gets the results of a job only if it asks for the same action.
    pub action: Action,
    /// Distinguishes the files that it saves from those of every other job; empty if it saves none.
    pub token: String,
    /// Its stages.
    pub spec: JobSpec,
    /// The codes of stages that this hub does not have yet, each with the stage's index. Large codes were uploaded to
    /// the hub's data port before.
    pub codes: Vec<(u32, CodeBytes)>,
    /// Stages that read or make cached partitions, each with the global name of its cache.
    pub caches: Vec<(u32, GlobalCacheId)>,
}

/// How a driver asks for a detached job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sought {
    /// By its name.
    Name(String),
    /// By its number.
    Number(JobId),
}

/// Messages from a driver to the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromDriver {
    /// The program is at the hub's data port.
    ProgramSent,
    /// Tasks on other machines may need this file. If the hub is on another machine too, the file is already at its
    /// data port.
    Give(GivenFile),
    /// Everything that the driver still holds, after a hello with an earlier session. The hub releases the rest.
    Holds {
        /// The tickets of its jobs.
        tickets: Vec<u64>,
        /// Exchanges, by their global names.
        outputs: Vec<OutputId>,
        /// Caches, by their global names.
        caches: Vec<GlobalCacheId>,
    },
    /// Run this job.
    Submit(Box<NewJob>),
    /// Give the results of a detached job to this driver.
    Attach {
        /// The driver's number for it from now on.
        ticket: u64,
        /// The job.
        job: JobId,
        /// The action, which has to be that of the job.
        action: Action,
        /// The token of its place, which has to be that of the job.
        token: String,
    },
    /// Is there such a detached job? If not, its name is reserved for this driver, until it submits the job or closes
    /// the ticket. Other drivers that ask for the name wait until then.
    Seek {
        /// The driver's number for the question.
        ticket: u64,
        /// The job.
        by: Sought,
        /// The action, which has to be that of the job.
        action: Action,
    },
    /// Results arrived, so engines may release them.
    Received {
        /// The launches that made them.
        attempts: Vec<AttemptId>,
    },
    /// Output arrived up to these offsets, so that more may be sent.
    Heard(Vec<Heard>),
    /// Stop a job.
    Cancel {
        /// Its ticket.
        ticket: u64,
    },
    /// A job is no longer wanted: it has ended and all of its results have arrived, or it shall stop.
    Close {
        /// Its ticket.
        ticket: u64,
    },
    /// A detached job continues, or waits to be collected, without this driver.
    Detach {
        /// Its ticket.
        ticket: u64,
    },
    /// These are no longer used.
    Release {
        /// Exchanges, by their global names.
        outputs: Vec<OutputId>,
        /// Caches, by their global names.
        caches: Vec<GlobalCacheId>,
    },
    /// A question.
    Ask {
        /// The driver's number for it.
        number: u64,
        /// What it asks.
        question: Question,
    },
    /// A sign of life.
    Beat,
    /// The session is over.
    Leave,
}

/// A result on its way to a driver.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// The result itself.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A large result, which the driver fetches from the engine that has it.
    At {
        /// The block that holds it.
        place: super::engine::BlockPlace,
        /// Its size in bytes.
        len: u64,
    },
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Here(bytes) => write!(f, "Here({} bytes)", bytes.len()),
            Part::At { len, .. } => write!(f, "At({len} bytes)"),
        }
    }
}

/// Messages from the hub to a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToDriver {
    /// A job was accepted and has a number.
    Accepted {
        /// The driver's number for the job.
        ticket: u64,
        /// The hub's number for the job.
        job: JobId,
    },
    /// The answer to `Seek`: the detached job exists, or its name is reserved for this driver.
    Found {
        /// The ticket of the question.
        ticket: u64,
        /// The token of the job, if it is there.
        token: Option<String>,
    },
    /// Some results of a job.
    Results {
        ticket: u64,
        /// The launch that made them.
        attempt: AttemptId,
        /// The partitions and their results.
        parts: Vec<(u32, Part)>,
    },
    /// The progress of a job.
    Progress {
        ticket: u64,
        /// Its progress.
        progress: Progress,
    },
    /// A job is over. This comes after all of its results.
    Ended {
        ticket: u64,
        /// How it ended.
        end: Result<(), Error>,
    },
    /// How many partitions of a cache are in memory now.
    Cached {
        /// Its global name.
        cache: GlobalCacheId,
        /// How many partitions.
        partitions: u32,
    },
    /// Output that tasks wrote to their standard output or error output.
    Output(Written),
    /// Something for the user to see, such as what was lost and is recomputed.
    Notice(String),
    /// An answer.
    Answer {
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Box<Answer>,
    },
}
