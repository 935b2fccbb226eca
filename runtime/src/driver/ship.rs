//! Files that a driver gives to its tasks: engines on other machines fetch them from the hub's data port by their
//! hashes.

use super::cluster::Cluster;
use super::shared::Shared;
use crate::apart;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tryworks_base::lock::none_held;
use tryworks_base::{Error, Result, Shipment, codec};
use tryworks_protocol::driver::GivenFile;
use tryworks_transport::{Chunks, DataError, Role, chunks, while_away};

impl Cluster {
    /// Gives the hub a file. A hub on this machine gets the file's path, any other hub gets its bytes.
    pub(super) fn give(&self, path: &Path) -> Result<Shipment> {
        let unreadable = |error: std::io::Error| Error::input(path.display(), None, error);
        let id = tryworks_store::program::hash(path).map_err(unreadable)?;
        let bytes = fs::metadata(path).map_err(unreadable)?.len();
        let host = tryworks_protocol::host::here().id;
        let hub = {
            let state = self.shared.lock();
            if state.is_given(&id) {
                return Ok(Shipment { host, id, bytes });
            }
            state.hub().to_string()
        };
        if hub != host {
            self.put(path, id, bytes)?;
        }
        let file = GivenFile { id, path: path.to_string_lossy().into_owned(), bytes };
        self.shared.say(|state| state.give(file));
        Ok(Shipment { host, id, bytes })
    }

    fn put(&self, path: &Path, id: [u8; 32], bytes: u64) -> Result<()> {
        self.shared.put(&path.display().to_string(), id, bytes, || File::open(path).map(chunks))
    }
}

impl Shared {
    /// Uploads bytes to the hub's data port under their hash. Each attempt reads them from the start.
    pub(super) fn put(
        &self,
        what: &str,
        id: [u8; 32],
        bytes: u64,
        chunks: impl Fn() -> io::Result<Chunks> + Sync,
    ) -> Result<()> {
        none_held("sending bytes");
        let advice = "is the hub's data port in the connection file reachable from here, and is the hub's disk full?";
        let mut request = Vec::new();
        codec::encode(&id, &mut request)?;
        let patience = self.settings.patience;
        let on_failure = |error: &DataError| {
            let line = format!("tryworks: {what} cannot be sent: {error}; trying again for up to {patience:?}\n");
            self.spool.push(true, line.as_bytes());
        };
        let sent = apart::block_on(|| {
            while_away(patience, on_failure, async || {
                // A restarted hub may have another port. A stopped context waits for no hub.
                let usable = self.usable().is_ok();
                let port = usable.then(|| self.port.lock().clone()).flatten();
                let source = |error: String| DataError::Source { address: what.into(), message: error };
                let port = port.ok_or_else(|| source("there is no hub to send it to".into()))?;
                let chunks = chunks().map_err(|error| source(error.to_string()))?;
                // The shared client's connections belong to the runtime of the driver's own thread.
                port.client.apart().put(&port.address, Role::Hub, &request, bytes, chunks).await
            })
        });
        let sent = sent.map_err(|error| Error::storage("sending", what, &error))?;
        sent.map_err(|error| Error::cluster(format!("{what} cannot be sent: {error}"), advice))
    }
}
