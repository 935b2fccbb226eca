//! Connection files: everything that a driver or an engine needs to reach a cluster, in one file that its user can
//! copy.

use crate::error::LinkError;
use crate::role::Role;
use crate::tls::Credentials;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The version of the format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The most bytes that a connection file may have.
const MAX_LEN: u64 = 1 << 20;

/// Why a connection file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the connection file {}: {message}", path.display())]
pub struct ConnectionError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do. It never contains a part of the file.
    pub message: String,
}

impl ConnectionError {
    fn new(path: &Path, message: impl fmt::Display) -> Self {
        ConnectionError { path: path.to_owned(), message: message.to_string() }
    }
}

/// What a connection file contains. `Debug` does not show its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// The name of the cluster.
    pub cluster: String,
    /// Distinguishes this cluster from others of the same name.
    pub cluster_id: String,
    /// The role of the holder of this file in the cluster.
    pub role: Role,
    /// The directory with the hub's unix sockets, for processes on the same machine.
    pub sockets: PathBuf,
    /// The address of the gateway, for messages from other machines.
    pub gateway: String,
    /// The address of the hub's data port.
    pub data: String,
    /// The certificate of the cluster's authority, in PEM.
    pub authority: String,
    /// The holder's certificate, in PEM.
    pub certificate: String,
    key: String,
}

/// The part that every version of the format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Connection {
    /// A connection with the parts that depend on the role: the certificate and its key, in PEM. All other fields are
    /// empty.
    pub fn new(role: Role, authority: &str, certificate: &str, key: &str) -> Self {
        Connection {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            cluster: String::new(),
            cluster_id: String::new(),
            role,
            sockets: PathBuf::new(),
            gateway: String::new(),
            data: String::new(),
            authority: authority.into(),
            certificate: certificate.into(),
            key: key.into(),
        }
    }

    /// The certificate that the holder shows to others, and the authority that it trusts.
    ///
    /// # Errors
    /// If certificates and key cannot be used, or are not those of its role.
    pub fn credentials(&self) -> Result<Credentials, LinkError> {
        let credentials = Credentials::from_pem(&self.authority, &self.certificate, &self.key)?;
        match credentials.role() == self.role {
            true => Ok(credentials),
            false => Err(LinkError::Credentials {
                message: format!("the file is for a role of {}, its certificate for {}", self.role, credentials.role()),
            }),
        }
    }

    /// Writes the file, for this user only. A process that reads it at the same time sees the old or the new file,
    /// complete.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), ConnectionError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| ConnectionError::new(path, error))?;
        write_private(path, &text).map_err(|error| ConnectionError::new(path, error))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If others can read it, it was written by a newer version, or it is no connection file.
    pub fn read(path: &Path) -> Result<Self, ConnectionError> {
        let bytes = read_private(path, MAX_LEN).map_err(|error| ConnectionError::new(path, error))?;
        Connection::parse(&bytes).map_err(|message| ConnectionError::new(path, message))
    }

    /// Parses the bytes of a connection file, or says what is wrong with them.
    ///
    /// # Errors
    /// A text that contains nothing of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's messages quote the text that they reject, which may be the key. So they are not passed on.
        let garbage = |what: &str, at: &serde_json::Error| {
            format!("{what} (line {}, column {}); copy it again from the cluster", at.line(), at.column())
        };
        let head: Head = serde_json::from_slice(bytes).map_err(|error| garbage("it is no connection file", &error))?;
        if head.format > FORMAT {
            return Err(format!(
                "a newer version of Tryworks wrote it (format {}, this program reads up to {FORMAT}); use that version",
                head.format
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| garbage("something is missing in it or garbled", &error))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("cluster", &self.cluster)
            .field("cluster_id", &self.cluster_id)
            .field("role", &self.role)
            .field("sockets", &self.sockets)
            .field("gateway", &self.gateway)
            .field("data", &self.data)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Writes a file that no other user can read, under another name first.
///
/// # Errors
/// If the file system refuses.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let written = (|| {
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        // The umask may have taken rights from the owner.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Reads a file of at most `most` bytes that belongs to this user or to root, and that no other user can read. Links
/// are refused: their owner could let them lead to another file of this user's.
///
/// # Errors
/// If the file system refuses, others can read or own it, or it is no file of at most that size.
pub fn read_private(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let wrong = |message: String| Err(io::Error::new(io::ErrorKind::InvalidData, message));
    // Without the last flag, opening a pipe would wait for its writer.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, OFlags::RDONLY | flags, Mode::empty()) {
        Err(Errno::LOOP) => return wrong("it is a link; name the file that it leads to".into()),
        opened => File::from(opened?),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return wrong("it is not a file".into());
    }
    if ![geteuid().as_raw(), 0].contains(&meta.uid()) {
        return wrong("it belongs to another user; copy it, and keep the copy to yourself".into());
    }
    if meta.mode() & 0o077 != 0 {
        return wrong(format!("others can read the key in it; chmod 600 {}", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= most => Ok(bytes),
        _ => wrong(format!("it has more than {most} bytes")),
    }
}
