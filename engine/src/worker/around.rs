//! What a worker knows of where it is, and the files of its driver's that it gets by way of its engine.

use super::questions::Questions;
use crate::protocol::worker::{FromWorker, Welcome};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tryworks_core::Result;
use tryworks_core::lock::Lock;
use tryworks_core::runner::Shipment;
use tryworks_io::shipped::Surroundings;
use tryworks_transport::LinkSender;

/// The place of this worker.
pub(super) struct Around {
    place: String,
    host: String,
    pub(super) questions: Questions<String>,
    here: Lock<HashMap<[u8; 32], PathBuf>>,
}

impl Around {
    pub(super) fn new(welcome: &Welcome, to: LinkSender) -> Arc<Self> {
        let place = format!("{} on {}", welcome.name, crate::host::here().name);
        let host = welcome.store.host.clone();
        Arc::new(Around { place, host, questions: Questions::new(to), here: Lock::default() })
    }
}

/// The same, for the tasks of this process.
pub(super) struct Shared(pub(super) Arc<Around>);

impl Surroundings for Shared {
    fn fetch(&self, shipment: &Shipment) -> Result<Option<PathBuf>> {
        let Around { host, questions, here, .. } = &*self.0;
        if shipment.host == *host {
            return Ok(None);
        }
        let known = here.lock().get(&shipment.id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let path = questions.ask(|number| FromWorker::GetFile { number, shipment: shipment.clone() })?;
        let path = PathBuf::from(path);
        here.lock().insert(shipment.id, path.clone());
        Ok(Some(path))
    }

    fn place(&self) -> String {
        self.0.place.clone()
    }
}
