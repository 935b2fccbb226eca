//! Files from drivers' machines. They are fetched by their hashes for the tasks of one session, and deleted with the
//! session. They count against the quota of blocks.

use super::arrive::{Arrival, Expected, unfinished};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tryworks_base::ids::SessionId;
use tryworks_base::{Error, Result, Shipment, codec, disk};
use tryworks_store::blocks::{BlockStore, Claim};
use tryworks_store::programs::name_of;
use tryworks_transport::{DataClient, DataError, Role, while_away};

/// The files that are here.
pub(super) struct Files {
    directory: PathBuf,
    store: BlockStore,
    /// How long to retry while the hub is away.
    patience: Duration,
    /// Files that are being fetched, and files that are here with their part of the quota. A second task that wants a
    /// file waits until the first has fetched it.
    known: Mutex<HashMap<PathBuf, Arc<Mutex<Option<Claim>>>>>,
}

impl Files {
    pub(super) fn new(directory: &Path, store: BlockStore, patience: Duration) -> Self {
        Files { directory: directory.join("files"), store, patience, known: Mutex::default() }
    }

    fn of(&self, session: SessionId) -> PathBuf {
        self.directory.join(session.0.to_string())
    }

    /// The path of a file, after fetching it if necessary.
    pub(super) async fn get(
        &self,
        session: SessionId,
        shipment: &Shipment,
        data: Option<&DataClient>,
        address: Option<&str>,
    ) -> Result<PathBuf> {
        let place = self.of(session).join(name_of(&shipment.id));
        let known = self.known.lock().await.entry(place.clone()).or_default().clone();
        let mut here = known.lock().await;
        if here.is_none() {
            let advice = "can this machine reach the hub? start the cluster with `--listen` and an address that others \
                          reach";
            let (Some(data), Some(address)) = (data, address) else {
                return Err(Error::cluster(
                    "the driver's file is on another machine, and the hub has no data port",
                    advice,
                ));
            };
            *here = Some(self.fetch(&place, shipment, data, address, advice).await?);
        }
        Ok(place)
    }

    /// Deletes all files of a session.
    pub(super) async fn end_session(&self, session: SessionId) {
        let directory = self.of(session);
        let mut known = self.known.lock().await;
        let gone: Vec<_> = known.extract_if(|place, _| place.starts_with(&directory)).collect();
        drop(known);
        for (_, file) in &gone {
            // A file that is being fetched would otherwise be put into the removed directory.
            drop(file.lock().await);
        }
        if let Err(error) = spawn_blocking(move || fs::remove_dir_all(&directory)).await {
            tracing::error!("files of {session} were not removed: {error}");
        }
        // Their quota is freed only now.
        drop(gone);
    }

    /// Deletes one file of a session. A file that is being fetched is deleted with the session.
    pub(super) async fn drop_file(&self, session: SessionId, id: &[u8; 32]) {
        let place = self.of(session).join(name_of(id));
        if self.known.lock().await.remove(&place).is_some() {
            let _ = fs::remove_file(place);
        }
    }

    async fn fetch(
        &self,
        place: &Path,
        shipment: &Shipment,
        data: &DataClient,
        address: &str,
        advice: &str,
    ) -> Result<Claim> {
        let lost =
            |error: DataError| Error::cluster(format!("a file of the driver's cannot be fetched: {error}"), advice);
        let on_failure = |error: &DataError| {
            tracing::warn!("a file of the driver's cannot be fetched now, and the engine tries again: {error}")
        };
        let mut request = Vec::new();
        codec::encode(&shipment.id, &mut request)?;
        let request = &request;
        let attempt = || async move {
            let stream = data.get(address, Role::Hub, request).await?;
            let needed = stream.total();
            let failed = |error: io::Error| disk::storage("fetching a file of the driver's", place, needed, &error);
            // Only a hub that is away is worth another attempt. A failure of this machine ends the attempts.
            let claim = match self.store.claim(needed, "a file of the driver's") {
                Ok(claim) => claim,
                Err(error) => return Ok(Err(error)),
            };
            let expected = Expected {
                new: unfinished(place),
                place: place.into(),
                mode: 0o600,
                hash: shipment.id,
                other: "its hash differs: was the file changed after the driver hashed it?",
            };
            Ok(Arrival::take(expected, stream).await?.map(|()| claim).map_err(failed))
        };
        while_away(self.patience, on_failure, attempt).await.map_err(lost)?
    }
}
