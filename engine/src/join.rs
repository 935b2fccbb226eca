//! The connection to the hub, and the data port for other machines. Both open when an engine joins, and again after new
//! certificates.

use super::Options;
use super::give::Giver;
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tryworks_base::{Error, Result};
use tryworks_protocol as protocol;
use tryworks_protocol::engine::{Offer, Welcome};
use tryworks_protocol::{Hello, Opening, Purpose};
use tryworks_transport::{Connection, DataClient, DataLimits, Door, LinkReceiver, LinkSender, serve_data};

/// How often the engine tries to reach a hub that is gone.
pub(super) const KNOCK: Duration = Duration::from_millis(100);
/// How long the hub may take to answer a hello.
const ANSWER: Duration = Duration::from_secs(10);
/// How long another machine may be silent when blocks are fetched from it.
const SILENCE: Duration = Duration::from_secs(10);

/// A connection to the hub.
pub(super) struct Hub {
    pub(super) to: LinkSender,
    pub(super) from: LinkReceiver,
}

/// Opens the data port, and a client for those of other machines.
pub(super) async fn open_port(
    connection: &Connection,
    options: &Options,
    giver: Giver,
) -> Result<(Option<Door>, Option<DataClient>)> {
    let refused = |error: tryworks_transport::LinkError| {
        Error::cluster(error, "choose another address with --listen, or copy the connection file again")
    };
    let credentials = connection.credentials().map_err(refused)?;
    let listen = options.listen.unwrap_or_else(|| address_towards(connection));
    let door = serve_data(SocketAddr::new(listen, 0), &credentials, Default::default(), giver).await;
    let door = door.map_err(refused)?;
    let limits = DataLimits { silence: SILENCE, ..DataLimits::default() };
    Ok((Some(door), Some(DataClient::new(credentials, limits))))
}

/// The address of this machine at which the hub's machine reaches it.
fn address_towards(connection: &Connection) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if tryworks_transport::is_here(connection) {
        return loopback;
    }
    // Nothing is sent: the system only looks up its route.
    let look = || -> std::io::Result<IpAddr> {
        let gateway = connection.gateway.parse::<SocketAddr>().map_err(std::io::Error::other)?;
        let any: IpAddr = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(gateway)?;
        Ok(socket.local_addr()?.ip())
    };
    look().unwrap_or(loopback)
}

/// The connection file, if it has changed since it was read: other certificates, or another address of the hub.
pub(super) fn renewed(connection: &Connection, options: &Options) -> Option<Connection> {
    let now = Connection::read(&options.connect).ok()?;
    (now != *connection).then_some(now)
}

/// Says hello to the hub. If the hub cannot be reached for now, returns why.
pub(super) async fn knock(connection: &Connection, offer: Offer) -> Result<Result<(Hub, Welcome), String>> {
    let opened = tokio::time::timeout(ANSWER, greet(connection, offer)).await;
    let opened = opened.unwrap_or_else(|_| Err(format!("it does not answer within {ANSWER:?}")));
    let (hub, answer) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            tokio::time::sleep(KNOCK).await;
            return Ok(Err(why));
        }
    };
    match protocol::opening::<Welcome>(&answer)? {
        Opening::Welcome(welcome) => Ok(Ok((hub, welcome))),
        Opening::Refused(why) => Err(Error::cluster(format!("the hub refused this engine: {why}"), "see above")),
    }
}

async fn greet(connection: &Connection, offer: Offer) -> Result<(Hub, Bytes), String> {
    let text = |error: tryworks_transport::LinkError| error.to_string();
    let (to, mut from) = tryworks_transport::dial(connection, "engines.sock").await.map_err(text)?;
    let purpose = Purpose::Serve(Box::new(offer));
    let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: tryworks_protocol::host::here(), purpose };
    to.send(hello.to_bytes().map_err(|error| error.to_string())?.into()).map_err(text)?;
    let answer = from.recv().await.map_err(text)?;
    Ok((Hub { to, from }, answer))
}
