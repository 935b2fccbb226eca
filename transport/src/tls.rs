//! Mutual TLS 1.3 between the processes of one cluster: it trusts only the cluster's own authority.

use crate::error::LinkError;
use crate::role::{Role, role_of};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// How long dialling may take, until both ends trust each other.
pub(crate) const DIAL_TIME: Duration = Duration::from_secs(10);

/// How long another machine may leave sent bytes unacknowledged, in milliseconds.
const DEAF_MS: u32 = 10_000;

/// The certificate that a process shows to others, and the authority that it trusts.
#[derive(Clone)]
pub struct Credentials {
    role: Role,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Credentials {
    /// Makes credentials from the certificate of the cluster's authority, the process's own certificate, and its key,
    /// all in PEM.
    ///
    /// # Errors
    /// If one of them cannot be read, or the key belongs to another certificate. The message never contains a part of a
    /// key.
    pub fn from_pem(authority: &str, certificate: &str, key: &str) -> Result<Self, LinkError> {
        let roots = certificates(authority, "the authority's certificate")?;
        let chain = certificates(certificate, "the certificate")?;
        let role = chain.first().and_then(|der| role_of(der)).ok_or_else(|| wrong("the certificate", "has no role"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| wrong("the key", "cannot be read"))?;

        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|error| wrong("the authority's certificate", error))?;
        }
        let store = Arc::new(store);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];

        let verifier = WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone())
            .build()
            .map_err(|error| wrong("the authority's certificate", error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| wrong("the configuration", error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| wrong("the certificate and its key", error))?;
        // A resumed session would not have its certificate checked.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| wrong("the configuration", error))?
            .with_root_certificates(store)
            .with_client_auth_cert(chain, key)
            .map_err(|error| wrong("the certificate and its key", error))?;
        client.resumption = Resumption::disabled();
        Ok(Credentials { role, client: Arc::new(client), server: Arc::new(server) })
    }

    /// The role in the certificate.
    pub fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }

    /// Connects to an address, where a process of this role must answer.
    pub(crate) async fn dial(&self, address: &str, role: Role) -> Result<client::TlsStream<TcpStream>, LinkError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::InvalidData => LinkError::distrust(address, role, tls_failed(&error.to_string())),
            _ => LinkError::dial(address, role, error),
        };
        let name = ServerName::try_from(role.dns_name()).map_err(|error| LinkError::dial(address, role, error))?;
        let connect = async {
            let tcp = TcpStream::connect(address).await?;
            set_up(&tcp)?;
            TlsConnector::from(self.client.clone()).connect(name, tcp).await
        };
        match tokio::time::timeout(DIAL_TIME, connect).await {
            Ok(stream) => stream.map_err(failed),
            Err(_) => Err(LinkError::dial(address, role, format!("no answer within {DIAL_TIME:?}"))),
        }
    }
}

/// Sends small messages at once. Also detects a machine that takes nothing any more within the time in which its beats
/// would be missed: by default the system would try for a quarter of an hour.
pub(crate) fn set_up(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    Ok(rustix::net::sockopt::set_tcp_user_timeout(tcp, DEAF_MS)?)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("role", &self.role).finish_non_exhaustive()
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| wrong(what, "cannot be read"))
}

fn wrong(what: &str, message: impl fmt::Display) -> LinkError {
    LinkError::Credentials { message: format!("{what}: {message}") }
}

/// The certificate that the other end has shown, after it was found to be genuine.
pub(crate) fn shown(stream: &server::TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(|der| der.clone().into_owned())
}

/// The message of TLS, with advice.
pub(crate) fn tls_failed(message: &str) -> String {
    format!(
        "{message}: one end does not trust the other. The connection file is of another cluster or another role, or \
         its certificate has expired; copy it again"
    )
}
