//! The role of a process in a cluster. Only its certificate determines it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The role of a certificate's holder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The hub.
    Hub,
    /// An engine.
    Engine,
    /// A driver: a user's program, or the command line.
    Driver,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::Hub, Role::Engine, Role::Driver];

    /// The name in a certificate of this role. Hosts and addresses play no part, since they change.
    pub fn dns_name(self) -> &'static str {
        match self {
            Role::Hub => "hub.tryworks",
            Role::Engine => "engine.tryworks",
            Role::Driver => "driver.tryworks",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Hub => "hub",
            Role::Engine => "engine",
            Role::Driver => "driver",
        })
    }
}

/// The role in a certificate (in DER), if it has exactly one. This does not check that the certificate is genuine: TLS
/// has done so before it returns one.
pub fn role_of(der: &[u8]) -> Option<Role> {
    let der = rustls::pki_types::CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    let mut roles =
        certificate.valid_dns_names().filter_map(|name| Role::ALL.into_iter().find(|r| r.dns_name() == name));
    roles.next().filter(|_| roles.next().is_none())
}
