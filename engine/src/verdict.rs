//! The scheduler's reasons as the errors that users meet.

use crate::scheduler::Reason;
use tryworks_core::Error;

/// The scheduler's reason why a job failed, as the error that the user meets.
pub fn told(reason: Reason<Error>) -> Error {
    match reason {
        Reason::Task { error: Error::User(mut fault), failures, .. } => {
            fault.attempts = failures;
            Error::User(fault)
        }
        Reason::Task { error, .. } | Reason::Worker { error, .. } => error,
        Reason::Limit { name, limit, value } => Error::Limit {
            name: name.into_owned(),
            value: limit,
            needed: format!("the results of the job take {value} bytes"),
            advice: "collect less, save to files, or raise the limit".into(),
        },
        Reason::Fetch { failures, stage } => {
            let message =
                format!("stage {stage} began anew {} times because its input was lost each time", failures.len());
            match failures.first() {
                Some(lost) => Error::Fetch { exchange: lost.output.0, map: lost.partition, message },
                None => Error::Bug(message),
            }
        }
        other => Error::Bug(other.to_string()),
    }
}
