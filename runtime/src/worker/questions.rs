//! Questions of a worker's tasks to its engine. Each has a number, and the asking thread waits for the answer with that
//! number.

use std::collections::HashMap;
use std::sync::Condvar;
use tryworks_base::lock::{Lock, none_held};
use tryworks_base::{Error, Result};
use tryworks_protocol as protocol;
use tryworks_protocol::worker::FromWorker;
use tryworks_transport::LinkSender;

/// Questions of one kind.
pub(super) struct Questions<T> {
    to: LinkSender,
    state: Lock<State<T>>,
    answered: Condvar,
}

struct State<T> {
    asked: u64,
    /// The questions that threads wait for, each with its answer once that is there.
    waiting: HashMap<u64, Option<Result<T>>>,
}

impl<T> Questions<T> {
    pub(super) fn new(to: LinkSender) -> Self {
        Questions { to, state: Lock::new(State { asked: 0, waiting: HashMap::new() }), answered: Condvar::new() }
    }

    /// Asks, and waits for the answer. The caller must hold no lock: the thread that receives the answer may need it
    /// first.
    #[track_caller]
    pub(super) fn ask(&self, question: impl FnOnce(u64) -> FromWorker) -> Result<T> {
        none_held("asking the engine");
        let number = {
            let mut state = self.state.lock();
            state.asked += 1;
            let number = state.asked;
            state.waiting.insert(number, None);
            number
        };
        let gone = |error| Error::cluster(error, "the engine of this worker is gone");
        let sent = protocol::encode(&[question(number)]).and_then(|bytes| self.to.send(bytes.into()).map_err(gone));
        if let Err(error) = sent {
            self.state.lock().waiting.remove(&number);
            return Err(error);
        }
        let mut state = self.state.lock();
        loop {
            if let Some(Some(_)) = state.waiting.get(&number)
                && let Some(Some(answer)) = state.waiting.remove(&number)
            {
                return answer;
            }
            state = state.wait(&self.answered);
        }
    }

    /// Takes in an answer from the engine.
    pub(super) fn answered(&self, number: u64, answer: Result<T>) {
        if let Some(slot) = self.state.lock().waiting.get_mut(&number) {
            *slot = Some(answer);
        }
        self.answered.notify_all();
    }
}
