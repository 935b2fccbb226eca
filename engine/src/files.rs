//! Files of drivers' machines, fetched by their hashes for tasks of one session and deleted with it. They count against
//! the quota of blocks.

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
    /// How long the hub is waited for.
    patience: Duration,
    /// What is being fetched, or is here with its part of the quota; who comes second waits for who came first.
    known: Mutex<HashMap<PathBuf, Arc<Mutex<Option<Claim>>>>>,
}

impl Files {
    pub(super) fn new(directory: &Path, store: BlockStore, patience: Duration) -> Self {
        Files { directory: directory.join("files"), store, patience, known: Mutex::default() }
    }

    fn of(&self, session: SessionId) -> PathBuf {
        self.directory.join(session.0.to_string())
    }

    /// The path of a file, once it is here.
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

    /// Deletes what was fetched for a session.
    pub(super) async fn end_session(&self, session: SessionId) {
        let directory = self.of(session);
        let mut known = self.known.lock().await;
        let gone: Vec<_> = known.extract_if(|place, _| place.starts_with(&directory)).collect();
        drop(known);
        for (_, file) in &gone {
            // What is being fetched would be put into the directory after it was removed.
            drop(file.lock().await);
        }
        if let Err(error) = spawn_blocking(move || fs::remove_dir_all(&directory)).await {
            tracing::error!("files of {session} were not removed: {error}");
        }
        // They counted until now.
        drop(gone);
    }

    /// Deletes one file of a session. One that is just being fetched goes with the session.
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
        let lost = |error: DataError| Error::cluster(format!("a file of the driver's cannot be had: {error}"), advice);
        let told =
            |error: &DataError| tracing::warn!("a file of the driver's cannot be had, and is tried again: {error}");
        let mut request = Vec::new();
        codec::encode(&shipment.id, &mut request)?;
        let request = &request;
        let attempt = || async move {
            let stream = data.get(address, Role::Hub, request).await?;
            let needed = stream.total();
            let failed = |error: io::Error| disk::storage("fetching a file of the driver's", place, needed, &error);
            let claim = match self.store.claim(needed, "a file of the driver's") {
                Ok(claim) => claim,
                Err(error) => return Ok(Err(error)),
            };
            let expected = Expected {
                new: unfinished(place),
                place: place.into(),
                mode: 0o600,
                hash: shipment.id,
                other: "its hash is another one: was the file changed since it was given along?",
            };
            Ok(Arrival::take(expected, stream).await?.map(|()| claim).map_err(failed))
        };
        while_away(self.patience, told, attempt).await.map_err(lost)?
    }
}
