//! The I/O that the state orders, and the outcomes that the shell hands in.

use crate::journal::{Counter, Entry, Ran};
use std::collections::BTreeSet;
use std::sync::Arc;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::HostInfo;
use tryworks_protocol::admin::{Answer, JobRow, Question, Status};
use tryworks_protocol::driver::GivenFile;
use tryworks_protocol::program::Program;
use tryworks_transport::PeerId;

/// Something that takes I/O. The journal carries out its orders in the order in which they come.
#[derive(Debug)]
pub enum Order {
    /// Note something in the journal.
    Note(Entry),
    /// Note a detached job: [`OrderOutcome::Submitted`] says that it is committed, or why it is not and never will be.
    NoteJob {
        /// The entry.
        entry: Entry,
        /// The job.
        job: JobId,
    },
    /// Note the last result of a launch: [`OrderOutcome::Kept`] says when it is committed, however long it takes.
    NoteResult {
        /// The entry.
        entry: Entry,
        /// The engine that holds the result until then.
        engine: EngineId,
        /// The launch.
        attempt: AttemptId,
    },
    /// Reserve numbers up to `end`: [`OrderOutcome::Reserved`] says when that is committed, however long it takes.
    Reserve {
        /// The counter.
        counter: Counter,
        /// The last number to reserve.
        end: u64,
    },
    /// Ask the journal, after all earlier notes are committed. A question for results waits for that, however long it
    /// takes. If the journal cannot be written, other questions are answered from what is in it.
    LookUp(Lookup),
    /// Keep, or release, a driver's program or a file that a driver uploaded.
    Shelf(ShelfOrder),
    /// See whether a process of the hub's machine has ended. The outcome is [`OrderOutcome::Looked`].
    LookAt {
        /// The driver's session.
        session: SessionId,
        /// The process.
        process: HostInfo,
    },
    /// Answer with the status, after adding the hub's own memory to it: the outcome is [`OrderOutcome::Answer`].
    Status {
        /// The client that asked.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The rest of the status.
        status: Box<Status>,
    },
    /// Renew the certificates: the outcome is [`OrderOutcome::Answer`]. If they were renewed, the hub restarts.
    Renew {
        /// The client that asked.
        peer: PeerId,
        /// The number of the question.
        number: u64,
    },
    /// Stop the hub.
    Stop,
    /// Write a line to the log.
    Log(Level, String),
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Good to know.
    Info,
    /// The operator should look into it.
    Warning,
    /// Something does not work.
    Error,
}

/// Which drivers' programs and uploaded files the hub keeps.
#[derive(Clone, Debug)]
pub enum ShelfOrder {
    /// A driver has connected, and this is its program.
    UseProgram {
        /// The program.
        program: Arc<Program>,
        /// The machine and process of the driver.
        host: HostInfo,
    },
    /// A session of the previous hub continues, and this is its program.
    UseAgain(Arc<Program>),
    /// A driver has uploaded this file.
    UseFile {
        /// The file.
        file: GivenFile,
        /// Whether the driver is on the hub's machine.
        here: bool,
    },
    /// A job needs what was uploaded under this hash.
    UseSent([u8; 32]),
    /// Only these are still in use.
    Tidy(BTreeSet<[u8; 32]>),
}

/// A question to the journal.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A client's question, with the jobs that are not closed: the outcome is [`OrderOutcome::Answer`].
    Ask {
        /// The client that asks.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The question.
        question: Question,
        /// The jobs that are not closed.
        live: Vec<JobRow>,
    },
    /// When a job ran, to find what it wrote: the outcome is [`OrderOutcome::Ran`].
    Ran {
        /// The client that asks.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The engine whose output is wanted, or all engines.
        engine: Option<EngineId>,
        /// The job's name.
        name: String,
    },
    /// The results of a detached job, for the driver that asked for them: [`OrderOutcome::Result`] for each, then
    /// [`OrderOutcome::Replayed`].
    Results {
        /// The job.
        job: JobId,
        /// The number of the question.
        replay: u64,
    },
}

/// The outcome of an order, or news from the hub's own process.
#[derive(Debug)]
pub enum OrderOutcome {
    /// A detached job is committed to the journal, or why it is not and never will be.
    Submitted {
        /// The job.
        job: JobId,
        /// The outcome.
        outcome: Result<()>,
    },
    /// The journal has committed results of a detached job, which an engine holds until then.
    Kept {
        /// The engine that holds them.
        engine: EngineId,
        /// The launch that made them.
        attempt: AttemptId,
    },
    /// The journal has these numbers as reserved.
    Reserved {
        /// The counter.
        counter: Counter,
        /// The last reserved number.
        end: u64,
    },
    /// Why the journal cannot be written, or `None` if it can.
    Health(Option<Error>),
    /// An answer to a client.
    Answer {
        /// The client.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// When a job ran, for a client that asks what the job wrote.
    Ran {
        /// The client.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The engine whose output is wanted, or all engines.
        engine: Option<EngineId>,
        /// When it ran, or the answer that there is no job of this name.
        ran: std::result::Result<Ran, Answer>,
    },
    /// A result of a detached job.
    Result {
        /// The job.
        job: JobId,
        /// The number of the question.
        replay: u64,
        /// The launch that made it.
        attempt: AttemptId,
        /// Its partition.
        partition: u32,
        /// The result.
        bytes: Vec<u8>,
    },
    /// The journal has handed over all results of a detached job that it has.
    Replayed {
        /// The job.
        job: JobId,
        /// The number of the question.
        replay: u64,
        /// How many there were, or why they could not be read.
        count: Result<u64>,
    },
    /// Whether a driver's process has ended.
    Looked {
        /// The driver's session.
        session: SessionId,
        /// The process.
        process: HostInfo,
        /// Whether it has ended.
        ended: bool,
    },
    /// Something was uploaded to the data port, under this hash.
    Arrived([u8; 32]),
    /// What was uploaded under this hash is no longer there.
    Removed([u8; 32]),
}
