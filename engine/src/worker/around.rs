//! What a worker knows of where it is, and the files of its driver's that it gets by way of its engine.

use crate::protocol;
use crate::protocol::worker::{FromWorker, Welcome};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tryworks_core::Result;
use tryworks_core::runner::Shipment;
use tryworks_io::shipped::Surroundings;
use tryworks_transport::LinkSender;

/// The place of this worker.
pub(super) struct Around {
    place: String,
    host: String,
    to: LinkSender,
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Default)]
struct State {
    asked: u64,
    answers: HashMap<u64, Result<String>>,
    here: HashMap<[u8; 32], PathBuf>,
}

impl Around {
    pub(super) fn new(welcome: &Welcome, to: LinkSender) -> Arc<Self> {
        let place = format!("{} on {}", welcome.name, crate::host::here().name);
        Arc::new(Around { place, host: welcome.store.host.clone(), to, state: Mutex::default(), told: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has an answer.
    pub(super) fn answered(&self, number: u64, path: Result<String>) {
        self.state().answers.insert(number, path);
        self.told.notify_all();
    }
}

/// The same, for the tasks of this process.
pub(super) struct Shared(pub(super) Arc<Around>);

impl Surroundings for Shared {
    fn fetch(&self, shipment: &Shipment) -> Result<Option<PathBuf>> {
        let Around { host, to, told, .. } = &*self.0;
        if shipment.host == *host {
            return Ok(None);
        }
        let mut state = self.0.state();
        if let Some(path) = state.here.get(&shipment.id) {
            return Ok(Some(path.clone()));
        }
        state.asked += 1;
        let number = state.asked;
        let question = protocol::encode(&[FromWorker::GetFile { number, shipment: shipment.clone() }])?;
        // If the engine is gone, this process is about to end.
        let _ = to.send(question.into());
        let path = loop {
            match state.answers.remove(&number) {
                Some(answer) => break PathBuf::from(answer?),
                None => state = told.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.here.insert(shipment.id, path.clone());
        Ok(Some(path))
    }

    fn place(&self) -> String {
        self.0.place.clone()
    }
}
