//! Questions for detached jobs that are not submitted yet. A driver prepares the directory of a save before it submits
//! the job. So the hub reserves the job's name for one driver at a time.

use super::Hub;
use super::jobs::Identity;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::ids::{JobId, SessionId};
use tryworks_base::{Action, Error, Result};
use tryworks_protocol::driver::{Sought, ToDriver};

/// A driver's question, by its session and the ticket there.
type Asker = (SessionId, u64);

/// The questions for names that no job has.
#[derive(Default)]
pub(crate) struct Names {
    /// The drivers that asked for each name, in order. The first holds the name, and the others wait for it.
    asked: BTreeMap<String, VecDeque<(Asker, Action)>>,
    names: BTreeMap<Asker, String>,
}

impl Names {
    /// Adds a question, unless it is known already. Returns the driver that holds the name.
    fn ask(&mut self, name: &str, asker: Asker, action: Action) -> Option<Asker> {
        if self.names.get(&asker).is_none_or(|known| known != name) {
            self.names.insert(asker, name.into());
            self.asked.entry(name.into()).or_default().push_back((asker, action));
        }
        Some(self.asked.get(name)?.front()?.0)
    }

    /// Removes a question. Returns the driver that holds the name from now on, if that changed.
    fn leave(&mut self, asker: Asker) -> Option<(Asker, String, Action)> {
        let name = self.names.remove(&asker)?;
        let queue = self.asked.get_mut(&name)?;
        let had = queue.front().is_some_and(|(first, _)| *first == asker);
        queue.retain(|(other, _)| *other != asker);
        match queue.front() {
            None => drop(self.asked.remove(&name)),
            Some((next, action)) if had => return Some((*next, name, action.clone())),
            Some(_) => {}
        }
        None
    }

    /// A job has this name now. Removes the questions for it, and returns the drivers that waited.
    fn taken(&mut self, name: &str) -> Vec<(Asker, Action)> {
        let asked = self.asked.remove(name).unwrap_or_default();
        asked.iter().for_each(|(asker, _)| drop(self.names.remove(asker)));
        // The first driver held the name. It submits a job of this name or has done so.
        asked.into_iter().skip(1).collect()
    }

    fn of(&self, session: SessionId) -> Vec<u64> {
        self.names.range((session, 0)..=(session, u64::MAX)).map(|((_, ticket), _)| *ticket).collect()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.names.is_empty()
    }
}

impl Hub {
    /// A driver asks for a detached job. If there is none, the driver either gets the name or waits for it.
    pub(crate) fn seek(&mut self, session: SessionId, ticket: u64, by: Sought, action: Action) {
        let (job, name) = match by {
            Sought::Name(name) => (self.detached_as(&name), name),
            Sought::Number(id) => (Some(id), String::new()),
        };
        let Some(id) = job else {
            if self.names.ask(&name, (session, ticket), action) == Some((session, ticket)) {
                self.tell_driver(session, ToDriver::Found { ticket, token: None });
            }
            return;
        };
        let message = match self.same_as(id, &action) {
            Ok(known) => ToDriver::Found { ticket, token: Some(known.token.clone()) },
            Err(error) => ToDriver::Ended { ticket, end: Err(error) },
        };
        self.tell_driver(session, message);
    }

    /// A driver no longer needs the answer to a question.
    pub(crate) fn end_seek(&mut self, session: SessionId, ticket: u64) {
        if let Some(((session, ticket), name, action)) = self.names.leave((session, ticket)) {
            self.seek(session, ticket, Sought::Name(name), action);
        }
    }

    /// A job has this name from now on: answers the drivers that waited for the name.
    pub(crate) fn name_is_taken(&mut self, name: &str) {
        for ((session, ticket), action) in self.names.taken(name) {
            self.seek(session, ticket, Sought::Name(name.into()), action);
        }
    }

    /// Ends the questions of a session, except those under the tickets in `but`.
    pub(crate) fn end_seeks(&mut self, session: SessionId, but: &BTreeSet<u64>) {
        for ticket in self.names.of(session).into_iter().filter(|ticket| !but.contains(ticket)) {
            self.end_seek(session, ticket);
        }
    }

    /// The identity of a detached job, if its action is this one.
    ///
    /// # Errors
    /// If the job does not exist, or its action differs: the error says in what, and what to do.
    pub(crate) fn same_as(&self, id: JobId, action: &Action) -> Result<&Identity> {
        let Some(job) = self.jobs.get(&id) else {
            return Err(Error::cluster(
                format!("there is no detached job with the number {} that can be collected", id.0),
                "`tryworks jobs` lists them; a job that was collected is gone",
            ));
        };
        let Some(name) = &job.detached else {
            let what = format!("{id} is not detached: it belongs to its own driver");
            return Err(Error::cluster(what, "see `detached`"));
        };
        let label = &job.spec.label;
        let Some(known) = &job.identity else {
            return Err(Error::cluster(
                format!(
                    "{id} ({label}) was submitted under another version, so its action cannot be compared with this one"
                ),
                format!("`tryworks cancel {name}` drops its results and frees the name; then run the program again"),
            ));
        };
        match known.action.difference(action) {
            None => Ok(known),
            Some(difference) => Err(Error::cluster(
                format!(
                    "the detached job `{name}` ({id}, {label}) is another one than this program asks for: {difference}"
                ),
                match job.end {
                    None => format!(
                        "ask for it as it was begun, or give this job another name; `tryworks cancel {name}` stops that \
                         one, and once it has ended another `tryworks cancel {name}` frees the name"
                    ),
                    Some(_) => format!(
                        "ask for it as it was begun, or give this job another name; that one has ended, and `tryworks \
                         cancel {name}` drops its results and frees the name"
                    ),
                },
            )),
        }
    }
}
