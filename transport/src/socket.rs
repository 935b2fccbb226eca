//! Unix sockets that ZeroMQ may use: their paths fit, and nobody else can enter their directory.

use crate::error::LinkError;
use crate::home::check_private;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use zeromq::SocketOptions;

/// The longest path of a unix socket: the system has 108 bytes for it, one of which ends it.
const MAX_PATH: usize = 107;

/// How long a peer may take to answer ZeroMQ's greeting. The kernel connects to a stopped process, too.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// ZeroMQ reads this much at first, and twice as much again while it comes in faster.
const READ_AT_FIRST: usize = 4 << 10;
const READ_AT_MOST: usize = 256 << 10;

/// The options of our sockets.
pub(crate) fn options() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.connect_timeout(GREETING_TIME).read_buffer(READ_AT_FIRST, READ_AT_MOST, 2);
    options
}

/// The path as ZeroMQ writes it, if somebody listens there.
pub(crate) fn reachable(path: &Path) -> Result<String, LinkError> {
    let endpoint = endpoint(path)?;
    // ZeroMQ itself would go on trying when nobody is there. Who listens sees this one close before its greeting.
    match UnixStream::connect(path) {
        Ok(_) => Ok(endpoint),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Err(LinkError::socket(path, "nobody listens there: is the process that made it still running?"))
        }
        Err(error) => Err(LinkError::socket(path, error)),
    }
}

/// Listens at the path, in the place of a socket that a dead process left.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, LinkError> {
    endpoint(path)?;
    private_directory(path)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(LinkError::socket(path, error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(LinkError::socket(path, "there is a file of that name that is not a socket; remove it"));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(LinkError::socket(path, "another process listens there; stop it first, or use another name"));
        }
        Ok(_) => std::fs::remove_file(path).map_err(|error| LinkError::socket(path, error))?,
    }
    UnixListener::bind(path).map_err(|error| LinkError::socket(path, error))
}

fn endpoint(path: &Path) -> Result<String, LinkError> {
    let Some(text) = path.to_str().filter(|text| !text.contains('\n')) else {
        return Err(LinkError::socket(path, "the path must be UTF-8 in one line"));
    };
    if text.len() > MAX_PATH {
        let message = format!(
            "the path has {} bytes, and that of a socket may have {MAX_PATH}; set TRYWORKS_HOME to a shorter directory",
            text.len()
        );
        return Err(LinkError::socket(path, message));
    }
    Ok(format!("ipc://{text}"))
}

/// ZeroMQ asks nobody who they are, so the directory has to.
fn private_directory(path: &Path) -> Result<(), LinkError> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => return Err(LinkError::socket(path, "the path must name its directory")),
    };
    check_private(directory).map_err(|why| LinkError::socket(path, format!("its directory is not safe: {why}")))
}
