//! Converts the scheduler's reasons into the errors that users see.

use crate::Reason;
use tryworks_base::Error;

impl From<Reason<Error>> for Error {
    fn from(reason: Reason<Error>) -> Error {
        match reason {
            Reason::Task { error: Error::User(mut fault), failures, .. } => {
                fault.attempts = failures;
                Error::User(fault)
            }
            Reason::Task { error, .. } => error,
            Reason::Worker { stage, partitions, deaths, error } => {
                let task = match (partitions.first(), partitions.len()) {
                    (first, 1) => format!("partition {first}"),
                    (first, len) => format!("{len} partitions from {first} on"),
                };
                let what = format!(
                    "the task for {task} of stage {stage} killed its worker {deaths} times, the last time alone"
                );
                Error::Lost { what, details: error.to_string() }
            }
            Reason::Losses { .. } => Error::Lost {
                what: reason.to_string(),
                details: "engines were lost again and again: see their logs".into(),
            },
            Reason::NoEngine { .. } => Error::cluster(
                reason.to_string(),
                "start engines (`tryworks cluster status` shows those that are there), or wait longer: TRYWORKS_PATIENCE",
            ),
            // Each error names its engine itself.
            Reason::Unfit { mut engines } if engines.len() == 1 => engines.remove(0).1,
            Reason::Unfit { engines } => {
                let errors: Vec<_> = engines.iter().map(|(_, error)| error.to_string()).collect();
                let what = format!("the program starts on none of the {} engines", errors.len());
                Error::Lost { what, details: errors.join("\n") }
            }
            Reason::Nondeterministic { .. } => Error::Lost {
                what: reason.to_string(),
                details: "mark what gives another answer each time as `nondeterministic()`".into(),
            },
            Reason::Limit { name, limit, value } => Error::Limit {
                name: name.into_owned(),
                value: limit,
                needed: format!("the results of the job take {value} bytes"),
                advice: "collect less, save to files, or raise the limit".into(),
            },
            Reason::Fetch { failures, stage } => {
                let message =
                    format!("stage {stage} began again {} times because its input was lost each time", failures.len());
                let Some(lost) = failures.last() else { return Error::Bug(message) };
                let message = match lost.at {
                    Some(at) => format!("{message}; last by {} from {}", at.made_by, at.engine),
                    None => message,
                };
                Error::Fetch { exchange: lost.output.exchange(), map: lost.partition, message }
            }
            Reason::NoPool { .. } => Error::cluster(
                reason.to_string(),
                "set TRYWORKS_POOL or `Builder::pool` to one of the cluster's pools, or leave it out; a cluster has those \
             that `--pool` named when it was started",
            ),
            Reason::Invalid { .. } => Error::Bug(reason.to_string()),
        }
    }
}
