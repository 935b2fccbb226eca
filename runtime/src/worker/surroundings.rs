//! What a worker knows of its surroundings, and the driver's files that it gets through its engine.

use super::questions::Questions;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tryworks_base::lock::Lock;
use tryworks_base::{Error, Result, Shipment};
use tryworks_core::surroundings::Surroundings;
use tryworks_protocol::worker::{FromWorker, Welcome};
use tryworks_transport::LinkSender;

/// The surroundings of this worker.
pub(super) struct WorkerSurroundings {
    place: String,
    host: String,
    beside_driver: bool,
    pub(super) questions: Questions<String>,
    here: Lock<HashMap<[u8; 32], PathBuf>>,
}

impl WorkerSurroundings {
    pub(super) fn new(welcome: &Welcome, to: LinkSender) -> Arc<Self> {
        let place = format!("{} on {}", welcome.name, tryworks_protocol::host::here().name);
        let host = welcome.store.host.clone();
        let beside_driver = welcome.driver_host == host;
        Arc::new(WorkerSurroundings {
            place,
            host,
            beside_driver,
            questions: Questions::new(to),
            here: Lock::default(),
        })
    }

    /// Reads the bytes that are under this hash at the hub's data port.
    pub(super) fn get(&self, id: &[u8; 32], bytes: u64) -> Result<Vec<u8>> {
        let shipment = Shipment { host: String::new(), id: *id, bytes };
        let mut last = None;
        // The file of an earlier job may be deleted just now. Then the second answer names a new file.
        for _ in 0..2 {
            let path = self.questions.ask(|number| FromWorker::GetFile { number, shipment: shipment.clone() })?;
            match std::fs::read(&path) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => last = Some(Error::storage("reading the code of a stage", &path, &error)),
            }
        }
        Err(last.unwrap_or_else(|| Error::Bug("a file was not asked for".into())))
    }
}

/// The surroundings, as the tasks of this process see them.
pub(super) struct Shared(pub(super) Arc<WorkerSurroundings>);

impl Surroundings for Shared {
    fn fetch(&self, shipment: &Shipment) -> Result<Option<PathBuf>> {
        let WorkerSurroundings { host, questions, here, .. } = &*self.0;
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

    fn is_beside_driver(&self) -> bool {
        self.0.beside_driver
    }

    fn place(&self) -> String {
        self.0.place.clone()
    }
}
