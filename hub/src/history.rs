//! Questions that the journal answers, on a separate thread, so that the hub never waits for the disk.

use crate::journal::Reader;
use crate::state::{Lookup, OrderOutcome};
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc::UnboundedSender;
use tryworks_base::Result;
use tryworks_protocol::admin::{Answer, JobDetail, JobRow, Question};
use tryworks_protocol::engine::ResultPart;

/// The most tasks of a job that one answer has.
const TASKS: u32 = 1_000;

/// Answers questions until the hub is gone.
pub(crate) fn answer(reader: &Reader, lookups: &Receiver<Lookup>, outcomes: &UnboundedSender<OrderOutcome>) {
    while let Ok(lookup) = lookups.recv() {
        // A hub that is gone needs no answer.
        look_up(reader, lookup, &mut |answer| drop(outcomes.send(answer)));
    }
}

/// Answers one question of a hub.
///
/// ```
/// use tryworks_base::ids::JobId;
/// use tryworks_hub::journal::InMemory;
/// use tryworks_hub::look_up;
/// use tryworks_hub::state::{Lookup, OrderOutcome};
///
/// let mut journal = InMemory::new().unwrap();
/// journal.begin().unwrap();
/// let mut outcomes = Vec::new();
/// look_up(journal.reader(), Lookup::Results { job: JobId(1), replay: 7 }, &mut |one| outcomes.push(one));
/// assert!(matches!(outcomes[..], [OrderOutcome::Replayed { replay: 7, count: Ok(0), .. }]));
/// ```
pub fn look_up(reader: &Reader, lookup: Lookup, tell: &mut dyn FnMut(OrderOutcome)) {
    match lookup {
        Lookup::Ask { peer, number, question, live } => {
            let answer = asked(reader, &question, live).unwrap_or_else(|error| Answer::No(error.to_string()));
            tell(OrderOutcome::Answer { peer, number, answer });
        }
        Lookup::Ran { peer, number, engine, name } => {
            let ran = match reader.ran(&name) {
                Ok(ran) => ran.ok_or_else(|| no_job(&name)),
                Err(error) => Err(Answer::No(error.to_string())),
            };
            tell(OrderOutcome::Ran { peer, number, engine, ran });
        }
        Lookup::Results { job, replay } => {
            let mut count = Ok(0);
            for found in reader.results(job) {
                match found {
                    Ok((partition, attempt, ResultPart::Here(bytes))) => {
                        tell(OrderOutcome::Result { job, replay, attempt, partition, bytes });
                        count = count.map(|count| count + 1);
                    }
                    // The hub knows which engine has it.
                    Ok((_, _, ResultPart::Kept(_))) => {}
                    Err(error) => {
                        count = Err(error);
                        break;
                    }
                }
            }
            tell(OrderOutcome::Replayed { job, replay, count });
        }
    }
}

fn asked(reader: &Reader, question: &Question, live: Vec<JobRow>) -> Result<Answer> {
    // The hub's own rows of running jobs are newer than the journal's.
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
            Answer::No("the journal cannot answer that".into())
        }
    })
}

fn no_job(name: &str) -> Answer {
    Answer::No(format!("there is no job `{name}`: `tryworks jobs` lists them"))
}
