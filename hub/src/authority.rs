//! The cluster's own certificate authority. It makes a certificate for each role, and no other authority is trusted.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tryworks_base::private::private_dir;
use tryworks_transport::{Connection, Role, read_private, write_private};

/// The name of the authority's file.
const FILE: &str = "authority.json";

/// The version of the file's format.
const FORMAT: u32 = 1;

/// The largest size of the file, in bytes.
const MAX_LEN: u64 = 1 << 20;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Clocks differ, so certificates are valid from this long before they are made.
const BEFORE: Duration = DAY;

/// How long certificates are valid, counted from a day before they are made.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The validity of the authority's own certificate.
    pub authority: Duration,
    /// The validity of the roles' certificates.
    pub leaves: Duration,
}

impl Default for Validity {
    fn default() -> Self {
        Validity { authority: 3650 * DAY, leaves: 365 * DAY }
    }
}

/// Why there is no authority. It never contains part of a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the cluster's authority in {}: {message}", directory.display())]
pub struct AuthorityError {
    /// The directory of the authority.
    pub directory: PathBuf,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Serialize, Deserialize)]
struct Pair {
    certificate: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    cluster_id: String,
    authority: Pair,
    hub: Pair,
    engine: Pair,
    driver: Pair,
    /// When the roles' certificates were made and when they expire, in seconds since 1970.
    made: u64,
    ends: u64,
}

/// A cluster's authority, with a certificate for each role. It is stored in a file, so that connection files outlive
/// the hub that wrote them.
pub struct Authority {
    directory: PathBuf,
    validity: Validity,
    kept: Kept,
}

impl Authority {
    /// Opens the authority in `directory`, or makes a new one. The roles' certificates are renewed after half of their
    /// validity; the old ones stay valid until they expire.
    ///
    /// # Errors
    /// If others can enter the directory or read the file, if it cannot be read or written, or if it is not an
    /// authority.
    pub fn open(directory: &Path, validity: Validity) -> Result<Self, AuthorityError> {
        let failed = |message: String| AuthorityError { directory: directory.to_owned(), message };
        private_dir(directory).map_err(|error| failed(error.to_string()))?;
        let bytes = match read_private(&directory.join(FILE), MAX_LEN) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Authority::make(directory, validity, None),
            Err(error) => return Err(failed(error.to_string())),
        };
        // serde's own message could quote a key.
        let garbled =
            |_| failed(format!("{FILE} is garbled: remove it, start the hub again, and copy the new connection files"));
        let kept: Kept = serde_json::from_slice(&bytes).map_err(garbled)?;
        if kept.format != FORMAT {
            return Err(failed(format!("another version of Tryworks wrote it (format {})", kept.format)));
        }
        let mut authority = Authority { directory: directory.to_owned(), validity, kept };
        if now() >= authority.kept.made.midpoint(authority.kept.ends) {
            authority.renew_leaves().map_err(|error| failed(error.to_string()))?;
            authority.keep()?;
        }
        Ok(authority)
    }

    fn make(directory: &Path, validity: Validity, cluster_id: Option<String>) -> Result<Self, AuthorityError> {
        let failed =
            |error: rcgen::Error| AuthorityError { directory: directory.to_owned(), message: error.to_string() };
        let kept = new(validity, cluster_id).map_err(failed)?;
        let authority = Authority { directory: directory.to_owned(), validity, kept };
        authority.keep()?;
        Ok(authority)
    }

    /// Makes a new authority and new certificates; the cluster's id stays. Processes that start from now on cannot use
    /// earlier connection files. Running processes continue until they end.
    ///
    /// # Errors
    /// If the new authority cannot be written; then the old one remains.
    pub fn rotate(&mut self) -> Result<(), AuthorityError> {
        *self = Authority::make(&self.directory, self.validity, Some(self.kept.cluster_id.clone()))?;
        Ok(())
    }

    /// Distinguishes this cluster from others of the same name. Every certificate contains it, and it is not secret.
    pub fn cluster_id(&self) -> &str {
        &self.kept.cluster_id
    }

    /// What a process with this role needs to reach the cluster: certificates, key and the cluster's id.
    pub fn connection(&self, role: Role) -> Connection {
        let Pair { certificate, key } = match role {
            Role::Hub => &self.kept.hub,
            Role::Engine => &self.kept.engine,
            Role::Driver => &self.kept.driver,
        };
        let mut connection = Connection::new(role, &self.kept.authority.certificate, certificate, key);
        connection.cluster_id.clone_from(&self.kept.cluster_id);
        connection
    }

    fn keep(&self) -> Result<(), AuthorityError> {
        let failed = |message: String| AuthorityError { directory: self.directory.clone(), message };
        let text = serde_json::to_vec_pretty(&self.kept).map_err(|error| failed(error.to_string()))?;
        write_private(&self.directory.join(FILE), &text).map_err(|error| failed(error.to_string()))
    }

    fn renew_leaves(&mut self) -> Result<(), rcgen::Error> {
        let key = KeyPair::from_pem(&self.kept.authority.key)?;
        let issuer = Issuer::new(authority_params(&self.kept.cluster_id, self.validity), key);
        for (role, pair) in [
            (Role::Hub, &mut self.kept.hub),
            (Role::Engine, &mut self.kept.engine),
            (Role::Driver, &mut self.kept.driver),
        ] {
            *pair = leaf(&issuer, role, &self.kept.cluster_id, self.validity)?;
        }
        self.kept.made = now();
        self.kept.ends = ends(self.validity);
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("directory", &self.directory)
            .field("cluster_id", &self.kept.cluster_id)
            .finish_non_exhaustive()
    }
}

fn new(validity: Validity, cluster_id: Option<String>) -> Result<Kept, rcgen::Error> {
    let key = KeyPair::generate()?;
    // A key is random enough, and its public half is not secret.
    let random = || key.public_key_raw().iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
    let cluster_id: String = cluster_id.unwrap_or_else(random);
    let params = authority_params(&cluster_id, validity);
    let authority = pair(&params.self_signed(&key)?, &key);
    let issuer = Issuer::new(params, key);
    let [hub, engine, driver] =
        [Role::Hub, Role::Engine, Role::Driver].map(|role| leaf(&issuer, role, &cluster_id, validity));
    Ok(Kept {
        format: FORMAT,
        authority,
        hub: hub?,
        engine: engine?,
        driver: driver?,
        made: now(),
        ends: ends(validity),
        cluster_id,
    })
}

fn authority_params(cluster_id: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("authority", cluster_id);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dates(&mut params, validity.authority);
    params
}

fn leaf(issuer: &Issuer<'_, KeyPair>, role: Role, cluster_id: &str, validity: Validity) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new([role.dns_name().to_owned()])?;
    params.distinguished_name = name(&role.to_string(), cluster_id);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match role {
        // A driver serves no other process.
        Role::Driver => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Role::Hub | Role::Engine => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
    };
    dates(&mut params, validity.leaves);
    let key = KeyPair::generate()?;
    Ok(pair(&params.signed_by(&key, issuer)?, &key))
}

fn name(of: &str, cluster_id: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, format!("Tryworks cluster {cluster_id}"));
    name.push(DnType::CommonName, of);
    name
}

fn dates(params: &mut CertificateParams, good_for: Duration) {
    let begin = SystemTime::now() - BEFORE;
    params.not_before = OffsetDateTime::from(begin);
    params.not_after = OffsetDateTime::from(begin + good_for);
}

fn pair(certificate: &Certificate, key: &KeyPair) -> Pair {
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn ends(validity: Validity) -> u64 {
    now().saturating_add(validity.leaves.as_secs()).saturating_sub(BEFORE.as_secs())
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
