//! Files that a driver gives along: engines of other machines get them from the hub's data port, by their hashes.

use super::cluster::Cluster;
use crate::apart;
use crate::protocol::driver::{FromDriver, GivenFile};
use std::fs::{self, File};
use std::path::Path;
use tryworks_core::runner::Shipment;
use tryworks_core::{Error, Result, codec};
use tryworks_transport::{Role, chunks};

impl Cluster {
    /// Lets the hub have a file: one on its own machine where the file is, any other its bytes.
    pub(super) fn give(&self, path: &Path) -> Result<Shipment> {
        let unreadable = |error: std::io::Error| Error::input(path.display(), None, error);
        let id = tryworks_io::program::hash(path).map_err(unreadable)?;
        let bytes = fs::metadata(path).map_err(unreadable)?.len();
        let host = crate::host::here().id;
        let hub = {
            let state = self.shared.lock();
            if state.given.contains_key(&id) {
                return Ok(Shipment { host, id, bytes });
            }
            state.hub.clone()
        };
        if hub != host {
            self.put(path, id, bytes)?;
        }
        let file = GivenFile { id, path: path.to_string_lossy().into_owned(), bytes };
        self.shared.lock().given.insert(id, file.clone());
        self.shared.send([FromDriver::Give(file)]);
        Ok(Shipment { host, id, bytes })
    }

    fn put(&self, path: &Path, id: [u8; 32], bytes: u64) -> Result<()> {
        let advice = "is the address of the hub's data port in the connection file reachable from here?";
        let Some(port) = self.shared.lock().port.clone() else {
            return Err(Error::cluster("the connection file has no certificate", "copy it again from the cluster"));
        };
        let file = File::open(path).map_err(|error| Error::input(path.display(), None, error))?;
        let mut request = Vec::new();
        codec::encode(&id, &mut request)?;
        // Connections of the client that is shared belong to the runtime of the driver's own thread.
        let data = port.client.apart();
        let sent = apart::block_on(|| data.put(&port.address, Role::Hub, &request, bytes, chunks(file)));
        let sent = sent.map_err(|error| Error::storage("sending a file", path, &error))?;
        sent.map_err(|error| Error::cluster(format!("{} cannot be sent: {error}", path.display()), advice))
    }
}
