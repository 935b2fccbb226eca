//! How a process reaches a hub: by its unix sockets on the same machine, through its gateway from others.

use crate::{Connection, Link, LinkError, LinkReceiver, LinkSender};
use std::path::Path;
use tryworks_base::private::PrivateDir;

/// Dials the hub that wrote this connection file; `socket` is the name of the socket for this kind of process.
///
/// # Errors
/// If the hub does not run, or does not trust the connection file.
pub async fn dial(connection: &Connection, socket: &str) -> Result<(LinkSender, LinkReceiver), LinkError> {
    let afar = || async { Link::tls(&connection.gateway, &connection.credentials()?).await };
    if !is_here(connection) {
        return afar().await;
    }
    match Link::unix(connection.sockets.join(socket)).await {
        Ok(link) => Ok(link),
        // Other machines see a directory on a shared disk, too.
        Err(error) => afar().await.map_err(|_| error),
    }
}

/// Whether the hub's directory is on this machine. Another machine may have one of the same path, which belongs to
/// another cluster or another user.
pub fn is_here(connection: &Connection) -> bool {
    let same = |there: Connection| there.cluster_id == connection.cluster_id;
    PrivateDir::open(&connection.sockets)
        .is_ok_and(|directory| Connection::read(&directory.through("driver.json")).is_ok_and(same))
}

/// Dials the hub of the cluster that has this directory or connection file.
///
/// # Errors
/// As [`dial`], or if the connection file cannot be used.
pub async fn dial_place(place: &Path, socket: &str) -> Result<(LinkSender, LinkReceiver), String> {
    let text = |error: LinkError| error.to_string();
    if place.is_dir() {
        return Link::unix(place.join(socket)).await.map_err(text);
    }
    let connection = Connection::read(place).map_err(|error| error.to_string())?;
    dial(&connection, socket).await.map_err(text)
}
