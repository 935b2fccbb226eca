//! Fetches the program of a driver on another machine from the hub's data port.

use crate::arrive::{Arrival, Expected};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::{Error, Result, codec, disk};
use tryworks_protocol::program::Program;
use tryworks_store::programs::{ANOTHER, Programs, make_directory};
use tryworks_transport::{DataClient, DataError, Role, while_away};

/// Fetches a program from another machine. While the hub is away, it retries for as long as `patience`.
pub(crate) async fn fetch(
    programs: &Programs,
    program: &Program,
    data: Option<&DataClient>,
    address: Option<&str>,
    patience: Duration,
) -> Result<PathBuf> {
    let advice = "can this machine reach the hub? start the cluster with `--listen` and an address that others reach";
    let (Some(data), Some(address)) = (data, address) else {
        let what = "the driver's program is on another machine, and the hub has no data port";
        return Err(Error::cluster(what, advice));
    };
    let lost = |error: DataError| Error::cluster(error, advice);
    let failed = |error: io::Error| disk::storage("fetching the program", programs.directory(), program.bytes, &error);
    let mut request = Vec::new();
    codec::encode(&program.id, &mut request)?;
    let on_failure =
        |error: &DataError| tracing::warn!("a program cannot be fetched now, and the engine tries again: {error}");
    make_directory(programs.directory()).map_err(failed)?;
    let place = programs.place(&program.id);
    let (request, landed) = (&request, &place);
    let attempt = || async move {
        let stream = data.get(address, Role::Hub, request).await?;
        let (new, hash) = (programs.unfinished(&program.id), program.id);
        let expected = Expected { new, place: landed.clone(), mode: 0o500, hash, other: ANOTHER };
        Arrival::take(expected, stream).await
    };
    while_away(patience, on_failure, attempt).await.map_err(lost)?.map_err(failed)?;
    programs.arrived(&program.id).map_err(failed)?;
    Ok(place)
}
