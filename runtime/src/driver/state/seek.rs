//! Questions for detached saves, which a driver asks the hub before it prepares a place.

use super::Session;
use tryworks_base::{Action, Error, Result};
use tryworks_protocol::driver::{FromDriver, Sought};

/// A question to the hub.
pub(super) struct Seek {
    by: Sought,
    action: Action,
    /// The token of the job; `Ok(None)` if there is no job; or why there is no answer.
    answer: Option<Result<Option<String>>>,
}

impl Seek {
    fn message(&self, ticket: u64) -> FromDriver {
        FromDriver::Seek { ticket, by: self.by.clone(), action: self.action.clone() }
    }

    /// The message that repeats the question on a new connection, if that is necessary. A job that was found stays
    /// found. A name that this driver holds has to be reserved at the new hub, too.
    pub(super) fn again(&self, ticket: u64) -> Option<FromDriver> {
        matches!(self.answer, None | Some(Ok(None))).then(|| self.message(ticket))
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Distinguishes the files of the job from those of every other job.
    pub token: String,
    /// Whether the job exists. If not, this driver submits it.
    pub is_known: bool,
}

impl Session {
    /// Asks for a detached job. Returns the ticket of the question.
    ///
    /// # Errors
    /// As [`Session::usable`].
    pub fn seek(&mut self, by: Sought, action: Action) -> Result<u64> {
        self.usable()?;
        let ticket = self.new_ticket();
        let seek = Seek { by, action, answer: None };
        self.outbox.push(seek.message(ticket));
        self.seeks.insert(ticket, seek);
        Ok(ticket)
    }

    /// The answer to a question; `None` while there is none.
    ///
    /// # Errors
    /// Why the hub refused, or that the session was stopped.
    pub fn found(&self, ticket: u64) -> Option<Result<Found>> {
        if self.stopped {
            return Some(Err(Error::Stopped));
        }
        let answer = self.seeks.get(&ticket)?.answer.as_ref()?;
        Some(answer.clone().map(|token| match token {
            Some(token) => Found { token, is_known: true },
            None => Found { token: self.token(ticket), is_known: false },
        }))
    }

    /// A token that no other job has. Each session has its own secret, even if the hub began with an empty journal and
    /// numbers sessions from 1.
    fn token(&self, ticket: u64) -> String {
        let mut of = blake3::Hasher::new();
        of.update(&self.secret).update(&ticket.to_le_bytes());
        let made = of.finalize();
        made.to_hex()[..16].to_string()
    }

    /// Takes in the hub's answer. The first answer counts.
    pub(super) fn answered(&mut self, ticket: u64, answer: Result<Option<String>>) {
        if let Some(seek) = self.seeks.get_mut(&ticket) {
            seek.answer.get_or_insert(answer);
        }
    }

    /// Answers all open questions with this error.
    pub(super) fn seeks_failed(&mut self, error: &Error) {
        for seek in self.seeks.values_mut() {
            seek.answer.get_or_insert_with(|| Err(error.clone()));
        }
    }
}
