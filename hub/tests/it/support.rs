//! A cluster without a hub: its authority, the sockets that a hub would have, and a gateway to them.

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tryworks_hub::{Authority, Sockets, Validity, open_gateway};
use tryworks_transport::{
    Backlog, Connection, Credentials, Door, Limits, Link, LinkReceiver, LinkSender, PeerEvent, PeerId, Peers,
    PeersReceiver, PeersSender, Role,
};

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub fn private_dir() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// An authority in a temporary directory.
pub fn authority(validity: Validity) -> Authority {
    Authority::open(private_dir().path(), validity).unwrap()
}

pub struct Cluster {
    pub authority: Authority,
    pub gateway: Door,
    pub to_drivers: PeersSender,
    pub drivers: PeersReceiver,
    pub to_engines: PeersSender,
    pub engines: PeersReceiver,
    _directory: TempDir,
}

impl Cluster {
    pub async fn start(limits: Limits) -> Self {
        let directory = private_dir();
        let authority = Authority::open(directory.path(), Validity::default()).unwrap();
        let sockets =
            Sockets { drivers: directory.path().join("drivers.sock"), engines: directory.path().join("engines.sock") };
        let (to_drivers, drivers) = Peers::bind(&sockets.drivers, Backlog::default()).await.unwrap();
        let (to_engines, engines) = Peers::bind(&sockets.engines, Backlog::default()).await.unwrap();
        let hub = authority.connection(Role::Hub).credentials().unwrap();
        let gateway = open_gateway(LOOPBACK, &hub, limits, sockets).await.unwrap();
        Cluster { authority, gateway, to_drivers, drivers, to_engines, engines, _directory: directory }
    }

    pub fn address(&self) -> String {
        self.gateway.address().to_string()
    }

    pub fn credentials(&self, role: Role) -> Credentials {
        self.authority.connection(role).credentials().unwrap()
    }

    pub async fn link(&self, role: Role) -> (LinkSender, LinkReceiver) {
        Link::tls(&self.address(), &self.credentials(role)).await.unwrap()
    }

    /// A driver that was let in and is answered.
    pub async fn good_driver(&mut self) -> (LinkSender, LinkReceiver, PeerId) {
        let (to, mut from) = self.link(Role::Driver).await;
        to.send(Bytes::from_static(b"good")).unwrap();
        let (peer, bytes) = message(&mut self.drivers).await;
        assert_eq!(bytes, "good");
        self.to_drivers.send(&peer, Bytes::from_static(b"day")).unwrap();
        assert_eq!(from.recv().await.unwrap(), "day");
        (to, from, peer)
    }

    /// Checks that nothing was harmed: no stray message arrived, and a good driver is let in.
    pub async fn is_well(&mut self) {
        assert_eq!(self.drivers.ready(), None);
        assert_eq!(self.engines.ready(), None);
        let (_, from, peer) = self.good_driver().await;
        drop(from);
        assert_eq!(self.drivers.recv().await.unwrap(), PeerEvent::Gone { peer });
    }
}

/// A gateway with the certificates in `connection`, to a hub that does not exist.
pub async fn leading_nowhere(connection: &Connection) -> Door {
    let sockets = Sockets { drivers: "/nowhere/drivers.sock".into(), engines: "/nowhere/engines.sock".into() };
    open_gateway(LOOPBACK, &connection.credentials().unwrap(), Limits::default(), sockets).await.unwrap()
}

/// The next message. Connections that open or end in between are those of earlier peers.
pub async fn message(peers: &mut PeersReceiver) -> (PeerId, Bytes) {
    loop {
        if let PeerEvent::Message { peer, bytes } = peers.recv().await.unwrap() {
            return (peer, bytes);
        }
    }
}

/// A key. It is never displayed, but the file contains it.
pub fn key(connection: &Connection) -> String {
    serde_json::to_value(connection).unwrap()["key"].as_str().unwrap().to_owned()
}

/// Credentials that trust `authority` and show the certificate of `shown`.
pub fn mixed(authority: &Connection, shown: &Connection) -> Credentials {
    Credentials::from_pem(&authority.authority, &shown.certificate, &key(shown)).unwrap()
}

/// A plain TLS client, with or without a certificate.
pub async fn raw_tls(address: &str, connection: &Connection, show: bool, server: Role) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(connection.authority.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match show {
        false => config.with_no_client_auth(),
        true => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(connection.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key(connection).as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(server.dns_name()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}
