//! What the state wants done that takes I/O, and what it is told came of that.

use crate::journal::{Counter, Entry};
use std::collections::BTreeSet;
use std::sync::Arc;
use tryworks_base::ids::{AttemptId, EngineId, JobId, SessionId};
use tryworks_base::{Error, Result};
use tryworks_protocol::HostInfo;
use tryworks_protocol::admin::{Answer, JobRow, Question, Status};
use tryworks_protocol::driver::{GivenFile, Program};
use tryworks_transport::PeerId;

/// Something that takes I/O. Orders to the journal take effect there in the order in which they come.
#[derive(Debug)]
pub enum Order {
    /// Note something in the journal.
    Note(Entry),
    /// Note a detached job: [`Told::Submitted`] says when it is committed, or why it is not.
    NoteJob {
        /// What is noted.
        entry: Entry,
        /// The job.
        job: JobId,
    },
    /// Note the last result of a launch: [`Told::Kept`] says when it is committed, or why it is not.
    NoteResult {
        /// What is noted.
        entry: Entry,
        /// Who has it meanwhile.
        engine: EngineId,
        /// The launch.
        attempt: AttemptId,
    },
    /// Reserve numbers up to `end`: [`Told::Reserved`] says when that is committed, however long it takes.
    Reserve {
        /// Of what.
        counter: Counter,
        /// The last of them.
        end: u64,
    },
    /// Ask the journal, once all that was noted is in it. For results that is waited for however long it takes; other
    /// questions are answered from what is written if the journal cannot be.
    LookUp(Lookup),
    /// Something about the programs of drivers, and what they give along.
    Shelf(ShelfOrder),
    /// See whether a process of the hub's machine has ended: the outcome is [`Told::Looked`].
    LookAt {
        /// The driver's session.
        session: SessionId,
        /// The process.
        process: HostInfo,
    },
    /// Answer with the status, once the hub's own memory is in it: the outcome is [`Told::Answer`].
    Status {
        /// Who asked.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// All else.
        status: Box<Status>,
    },
    /// Renew the certificates: the outcome is [`Told::Answer`]. If it goes well, the hub begins again.
    Renew {
        /// Who asked.
        peer: PeerId,
        /// The number of the question.
        number: u64,
    },
    /// End the hub.
    Stop,
    /// Say something in the log.
    Log(Level, String),
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Something does not work.
    Error,
}

/// Something about the programs of drivers, and what they give along.
#[derive(Clone, Debug)]
pub enum ShelfOrder {
    /// A driver is there, with this program.
    UseProgram {
        /// The program.
        program: Arc<Program>,
        /// The machine and process of the driver.
        host: HostInfo,
    },
    /// A session of the hub before this one goes on, with this program.
    UseAgain(Arc<Program>),
    /// A driver has given this file along.
    UseFile {
        /// The file.
        file: GivenFile,
        /// The driver is on the hub's machine.
        here: bool,
    },
    /// A job needs what was put under this hash.
    UseSent([u8; 32]),
    /// Only these are in use now.
    Tidy(BTreeSet<[u8; 32]>),
}

/// A question to the journal.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// What somebody asks, with the jobs that are not over: the outcome is [`Told::Answer`].
    Ask {
        /// Who asks.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The question.
        question: Question,
        /// The jobs that are not over.
        live: Vec<JobRow>,
    },
    /// When a job ran, for what it wrote: the outcome is [`Told::Ran`].
    Ran {
        /// Who asks.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// Of one engine, or of all.
        engine: Option<EngineId>,
        /// The job.
        name: String,
    },
    /// The results of a detached job, for the driver that asked for them: a [`Told::Result`] for each, then
    /// [`Told::Replayed`].
    Results {
        /// The job.
        job: JobId,
        /// The number of the question.
        replay: u64,
    },
}

/// When a job ran, and whose workers ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Which job.
    pub job: JobId,
    /// The session of its workers.
    pub session: SessionId,
    /// When it was submitted, in microseconds since 1970.
    pub from: u64,
    /// When it ended, if it has.
    pub to: Option<u64>,
}

/// What came of an order, and what else the hub's own process has to say.
#[derive(Debug)]
pub enum Told {
    /// A detached job is written down, or why it is not.
    Submitted {
        /// Which.
        job: JobId,
        /// What came of it.
        outcome: Result<()>,
    },
    /// Results of a detached job that an engine holds are written down, or are not.
    Kept {
        /// Who holds them.
        engine: EngineId,
        /// The launch that made them.
        attempt: AttemptId,
        /// What came of it.
        outcome: Result<()>,
    },
    /// The journal has numbers as reserved.
    Reserved {
        /// Of what.
        counter: Counter,
        /// The last of them.
        end: u64,
    },
    /// Why the journal cannot be written, or that it can.
    Health(Option<Error>),
    /// An answer.
    Answer {
        /// To whom.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// When a job ran, or the answer that there is none, for what it wrote.
    Ran {
        /// Who asks.
        peer: PeerId,
        /// The number of the question.
        number: u64,
        /// Of one engine, or of all.
        engine: Option<EngineId>,
        /// When it ran, or the answer that there is no such job.
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
    /// All results of a detached job that were written down have been told: how many there were.
    Replayed {
        /// The job.
        job: JobId,
        /// The number of the question.
        replay: u64,
        /// How many, or why they could not be read.
        count: Result<u64>,
    },
    /// Whether the process of a driver has ended.
    Looked {
        /// The driver's session.
        session: SessionId,
        /// The process.
        process: HostInfo,
        /// Whether it has.
        ended: bool,
    },
    /// Something was put to the data port, under its hash.
    Arrived([u8; 32]),
    /// It is not there any more.
    Removed([u8; 32]),
}
