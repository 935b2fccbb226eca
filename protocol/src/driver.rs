//! Between a driver and the hub.
//!
//! The legal order, for the driver and for each of its jobs:
//!
//! ```text
//! driver  = Hello, [ ProgramSent ], [ Holds ], { job's | Give | Received | Heard | Release | Ask | Beat }, [ Leave ] ;
//! hub     = welcome, { job's | Cached | Output | Notice | Answer } ;
//! job     = ( Submit | Attach ), [ Accepted ], { Results | Progress | Cancel }, Ended, ( Close | Detach ) ;
//! ```
//!
//! `Close` and `Detach` may come before the end. A driver that lost its connection says hello again with its session,
//! then what it holds (releases sent while it was disconnected were lost), and submits again what has not ended,
//! asking for the partitions that it has not received yet. If the answer names another session, the hub had given it
//! up, with all that it held.

#![allow(missing_docs, reason = "a variant says what it is for, and the names of its fields say the rest")]

use super::admin::{Answer, Question};
use super::engine::CodeBytes;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_base::{Error, Progress};
use tryworks_scheduler::JobSpec;

/// What workers run: the driver's own program, with what it was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The hash of its bytes.
    pub id: [u8; 32],
    /// Where the driver sees it.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
    /// Its arguments, the name it was called by first.
    pub arguments: Vec<String>,
    /// What its workers get of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: String,
}

/// A file that a driver gives along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// The hash of its bytes.
    pub id: [u8; 32],
    /// Where the driver sees it.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
}

/// The answer to a driver's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub session: SessionId,
    /// What proves later that the session is its own.
    pub secret: [u8; 16],
    /// How often a hub has begun here: another number than before means that this one has none of what was sent.
    pub epoch: u64,
    /// The program is not on the hub's machine: it has to be put to the hub's data port, by its hash, and then
    /// [`ProgramSent`](FromDriver::ProgramSent) to be said, before tasks can run.
    pub send_program: bool,
    /// The hub's machine, as in [`HostInfo`](super::HostInfo).
    pub host: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The engines that are there.
    pub engines: u32,
    /// Their slots together.
    pub slots: u32,
    /// What is worth a warning, such as machines that may compute `exp` differently.
    pub warning: Option<String>,
}

/// A job as it is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// The driver's own number for it, from 1.
    pub ticket: u64,
    /// Its number, if the hub gave it one already.
    pub job: Option<JobId>,
    /// Submitted under a name of its own: it goes on when the driver leaves, and who submits the name again gets it.
    pub detached: Option<String>,
    /// Its stages.
    pub spec: JobSpec,
    /// The code of the stages that this hub has not got yet, by their place in the job. What is large was put to the hub's
    /// data port before.
    pub codes: Vec<(u32, CodeBytes)>,
    /// Stages that read or make kept partitions, and the global names of their caches.
    pub caches: Vec<(u32, u64)>,
}

/// From a driver to the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromDriver {
    /// The program is at the hub's data port.
    ProgramSent,
    /// Tasks on other machines may want this file. If the hub is on another machine too, it is at the hub's data port
    /// already.
    Give(GivenFile),
    /// After a hello with a session from before: all that the driver still holds. The hub lets go of all else.
    Holds {
        /// The tickets of its jobs.
        tickets: Vec<u64>,
        /// Exchanges, by their global names.
        outputs: Vec<u64>,
        /// Caches, by their global names.
        caches: Vec<u64>,
    },
    /// Run this.
    Submit(Box<NewJob>),
    /// Give the results of a detached job to this driver.
    Attach {
        /// The driver's number for it from now on.
        ticket: u64,
        /// The job.
        job: JobId,
        /// The action, which has to be that of the job.
        action: String,
    },
    /// Results arrived: nobody else needs to keep them.
    Received {
        /// The launches that made them.
        attempts: Vec<AttemptId>,
    },
    /// Output arrived: as much again may be on its way.
    Heard(Vec<Heard>),
    /// Stop a job.
    Cancel {
        /// Its ticket.
        ticket: u64,
    },
    /// A job is not wanted any more: it has ended, and everything of it was received, or it is to be stopped.
    Close {
        /// Its ticket.
        ticket: u64,
    },
    /// A detached job goes on, or waits to be collected, without this driver.
    Detach {
        /// Its ticket.
        ticket: u64,
    },
    /// Nobody holds these any more.
    Release {
        /// Exchanges, by their global names.
        outputs: Vec<u64>,
        /// Caches, by their global names.
        caches: Vec<u64>,
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

/// A result on its way.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// Here it is.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It is large, and is fetched from the engine that has it.
    At {
        /// Its address and key there.
        place: super::engine::BlockPlace,
        /// Its bytes.
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

/// From the hub to a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToDriver {
    /// A job has a number.
    Accepted {
        /// The driver's.
        ticket: u64,
        /// The cluster's.
        job: JobId,
    },
    /// Some results of a job.
    Results {
        ticket: u64,
        /// The launch that made them.
        attempt: AttemptId,
        /// The partitions and what they came to.
        parts: Vec<(u32, Part)>,
    },
    /// How far a job is.
    Progress {
        ticket: u64,
        /// How far.
        progress: Progress,
    },
    /// A job is over, after all of its results.
    Ended {
        ticket: u64,
        /// How.
        end: Result<(), Error>,
    },
    /// How many partitions of a cache are kept now.
    Cached {
        /// Its global name.
        cache: u64,
        /// How many.
        partitions: u32,
    },
    /// Tasks wrote something to their standard output or error output.
    Output(Written),
    /// Something that a person should see: what was lost and is made again.
    Notice(String),
    /// An answer.
    Answer {
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Box<Answer>,
    },
}

/// What a worker wrote, by offset, so that what comes twice is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Whose worker.
    pub engine: EngineId,
    /// What the engine is called.
    pub name: String,
    /// Which worker. No other ever has the same number, unlike its process.
    pub run: u64,
    /// Its process, for people.
    pub worker: u32,
    /// The standard error output, not the standard output.
    pub stderr: bool,
    /// Where in all that it wrote this begins.
    pub offset: u64,
    /// The attempt, if only one ran.
    pub attempt: Option<AttemptId>,
    /// What it wrote.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl Written {
    /// The memory that it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        // With what holds it, in a queue.
        2 * size_of::<Self>() + self.name.len() + self.bytes.len()
    }

    /// What says that it was heard.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let Written { engine, run, stderr, .. } = *self;
        Heard { engine, run, stderr, offset: self.offset.saturating_add(self.bytes.len() as u64) }
    }
}

/// How much of an output of a worker was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Whose worker.
    pub engine: EngineId,
    pub run: u64,
    /// The standard error output, not the standard output.
    pub stderr: bool,
    /// All before this was heard.
    pub offset: u64,
}
