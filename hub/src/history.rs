//! Questions that the journal answers, on a thread of its own, so that the hub never waits for the disk.

use crate::journal::Reader;
use crate::recent::Ran;
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc::UnboundedSender;
use tryworks_base::Result;
use tryworks_base::ids::{AttemptId, EngineId, JobId};
use tryworks_protocol::admin::{Answer, JobDetail, JobRow, Question};
use tryworks_protocol::engine::ResultPart;
use tryworks_transport::PeerId;

/// The most tasks of a job that are shown.
const TASKS: u32 = 1_000;

/// A question to the journal.
pub(crate) enum Lookup {
    /// What somebody asks, with the jobs that are not over.
    Ask { peer: PeerId, number: u64, question: Question, live: Vec<JobRow> },
    /// When a job ran, for what it wrote, of one engine or all.
    Ran { peer: PeerId, number: u64, engine: Option<EngineId>, name: String },
    /// The results of a detached job, for the driver that asked for them.
    Results { job: JobId, replay: u64 },
}

/// What the journal and its reader tell the hub.
pub(crate) enum Told {
    /// A detached job is written down, or why it is not.
    Submitted { job: JobId, outcome: Result<()> },
    /// Results of a detached job that an engine holds are written down, or are not.
    Kept { engine: EngineId, attempt: AttemptId, outcome: Result<()> },
    /// An answer.
    Answer { peer: PeerId, number: u64, answer: Answer },
    /// When a job ran, or the answer that there is none, for what it wrote.
    Ran { peer: PeerId, number: u64, engine: Option<EngineId>, ran: std::result::Result<Ran, Answer> },
    /// A result of a detached job.
    Result { job: JobId, replay: u64, attempt: AttemptId, partition: u32, bytes: Vec<u8> },
    /// All results of a detached job that were written down have been told: how many there were.
    Replayed { job: JobId, replay: u64, count: Result<u64> },
}

/// Answers until the hub is gone.
pub(crate) fn answer(reader: &Reader, lookups: &Receiver<Lookup>, told: &UnboundedSender<Told>) {
    while let Ok(lookup) = lookups.recv() {
        look_up(reader, lookup, told);
    }
}

/// Answers one question.
pub(crate) fn look_up(reader: &Reader, lookup: Lookup, told: &UnboundedSender<Told>) {
    match lookup {
        Lookup::Ask { peer, number, question, live } => {
            let answer = asked(reader, &question, live).unwrap_or_else(|error| Answer::No(error.to_string()));
            let _ = told.send(Told::Answer { peer, number, answer });
        }
        Lookup::Ran { peer, number, engine, name } => {
            let ran = match reader.ran(&name) {
                Ok(ran) => ran.ok_or_else(|| no_job(&name)),
                Err(error) => Err(Answer::No(error.to_string())),
            };
            let _ = told.send(Told::Ran { peer, number, engine, ran });
        }
        Lookup::Results { job, replay } => {
            let mut count = Ok(0);
            for found in reader.results(job) {
                match found {
                    Ok((partition, attempt, ResultPart::Here(bytes))) => {
                        let _ = told.send(Told::Result { job, replay, attempt, partition, bytes });
                        count = count.map(|count| count + 1);
                    }
                    // The hub knows who has it.
                    Ok((_, _, ResultPart::Kept(_))) => {}
                    Err(error) => {
                        count = Err(error);
                        break;
                    }
                }
            }
            let _ = told.send(Told::Replayed { job, replay, count });
        }
    }
}

fn asked(reader: &Reader, question: &Question, live: Vec<JobRow>) -> Result<Answer> {
    let now = |row: JobRow| live.iter().find(|live| live.job == row.job).cloned().unwrap_or(row);
    Ok(match question {
        Question::Jobs { limit } => Answer::Jobs(reader.jobs(*limit)?.into_iter().map(now).collect()),
        Question::Job { name } => match reader.job(name, TASKS)? {
            Some(detail) => Answer::Job(JobDetail { job: now(detail.job), ..detail }),
            None => no_job(name),
        },
        Question::Cancel { name } | Question::Why { name } => match reader.find(name)? {
            Some(job) => Answer::No(format!("{job} has ended already")),
            None => no_job(name),
        },
        Question::Logs { .. } | Question::Status | Question::Drain { .. } | Question::Rotate | Question::Stop => {
            Answer::No("the journal knows nothing of that".into())
        }
    })
}

fn no_job(name: &str) -> Answer {
    Answer::No(format!("there is no job `{name}`: `tryworks jobs` lists them"))
}
